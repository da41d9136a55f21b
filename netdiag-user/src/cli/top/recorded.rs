//! A recording: all of it is judged first, and then looked at in any order of time.
use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use netdiag_lang::t;

use super::{keyboard::Keyboard, screen::Screen};
use crate::{
    cli::{
        options::Global,
        replay::{allowance::Guard, player::Player},
        watch::Signals,
    },
    pipeline::asked::Asked,
    top::{App, Budget, History, Lens, Source, Ways},
};

pub async fn run(file: &Path, asked: &Asked, global: &Global) -> Result<i32> {
    let mut app = read(file, asked, global)?;
    let mut signals = Signals::catch()?;
    let mut screen = Screen::open()?;
    let mut keyboard = Keyboard::open();
    screen.draw(&mut app)?;
    loop {
        tokio::select! {
            biased;
            code = signals.wait() => return Ok(code),
            event = keyboard.next() => {
                if let Some(code) = keyboard.act(event, &mut app, &mut screen)? {
                    return Ok(code);
                }
            }
            () = screen.room() => screen.draw(&mut app)?,
        }
    }
}

fn read(file: &Path, asked: &Asked, global: &Global) -> Result<App> {
    let _guard = Guard::over(&[file.to_owned()]);
    let mut app = App::new(History::recording(Budget::RECORDING), Source::Recording);
    let mut player = Player::open(file, asked)?;
    let mut lens = Lens::default();
    let mut progress = Progress::new(global);
    loop {
        let before = app.history.last().cloned();
        let mut kept = None;
        let goes_on = player.look(|look| {
            kept = Some(lens.read(look, &Ways::All, before.as_deref()));
        })?;
        kept.into_iter().for_each(|reading| app.push(reading));
        if !goes_on {
            break;
        }
        progress.show(app.history.came());
    }
    progress.clear();
    app.not_shown = player.not_shown();
    if let Some(trouble) = player.trouble() {
        app.notice = Some(trouble);
    }
    Ok(app)
}

/// A line on a terminal for whoever waits long.
struct Progress {
    on: bool,
    told: Instant,
    shown: bool,
}

impl Progress {
    const OFTEN: Duration = Duration::from_millis(500);

    fn new(global: &Global) -> Self {
        Self {
            on: std::io::stderr().is_terminal() && !global.quiet,
            told: Instant::now(),
            shown: false,
        }
    }

    fn show(&mut self, readings: usize) {
        if self.on && self.told.elapsed() >= Self::OFTEN {
            self.told = Instant::now();
            self.shown = true;
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[2K{}",
                t!("judging reading {readings}")
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
