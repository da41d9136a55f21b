//! This node as it is now.
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use super::{TopArgs, keyboard::Keyboard, screen::Screen};
use crate::{
    cli::{
        options::{Global, RecordArgs},
        run::LEVEL,
        session::Session,
        watch::Signals,
    },
    diagnosis::diagnoser::Diagnoser,
    pipeline::asked::Asked,
    top::{App, Budget, History, Lens, Source},
};

/// How often the maps are read, where they do not hold very much.
const TICK: Duration = Duration::from_millis(250);

pub async fn run(args: &TopArgs, asked: Asked, global: &Global) -> Result<i32> {
    let mut signals = Signals::catch()?;
    let keeping = args.scope.keeping(LEVEL);
    let nothing = RecordArgs::default();
    let mut session = Session::open(&args.scope, asked, &nothing, keeping, global).await?;
    crate::sys::ready::say();
    let watched = watch(&mut session, args, &mut signals).await;
    session.close().await;
    watched
}

async fn watch(session: &mut Session, args: &TopArgs, signals: &mut Signals) -> Result<i32> {
    let mut view = View::new(args.interval);
    let mut screen = Screen::open()?;
    let mut keyboard = Keyboard::open();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    screen.draw(&mut view.app)?;
    loop {
        tokio::select! {
            biased;
            code = signals.wait() => return Ok(code),
            event = keyboard.next() => {
                let ended = keyboard.act(event, &mut view.app, &mut screen)?;
                if let Some(code) = ended {
                    return Ok(code);
                }
            }
            () = screen.room() => screen.draw(&mut view.app)?,
            _ = ticks.tick() => {
                if !session.rests()? && view.read(session).await? {
                    screen.draw(&mut view.app)?;
                }
            }
        }
    }
}

/// What is seen of the node, a reading after the other.
struct View {
    app: App,
    judge: Diagnoser,
    lens: Lens,
    interval: Duration,
    shown: Option<Instant>,
}

impl View {
    fn new(interval: Duration) -> Self {
        Self {
            app: App::new(History::live(Budget::LIVE), Source::Live),
            judge: Diagnoser::default(),
            lens: Lens::default(),
            interval,
            shown: None,
        }
    }

    /// Reads, and judges what is to be shown; false where it is too early for that.
    async fn read(&mut self, session: &mut Session) -> Result<bool> {
        let observation = session.tick().await?;
        // A timer may come a moment early.
        let early = |shown: Instant| shown.elapsed() + TICK / 4 < self.interval;
        if self.shown.is_some_and(early) {
            return Ok(false);
        }
        self.shown = Some(Instant::now());
        let before = self.app.history.last().cloned();
        let (ways, lens) = (self.app.ways(), &mut self.lens);
        let (wants, reading) = self.judge.looked(&session.scene, &observation, |look| {
            lens.read(look, &ways, before.as_deref())
        });
        self.app.push(reading);
        session.gather(wants);
        Ok(true)
    }
}
