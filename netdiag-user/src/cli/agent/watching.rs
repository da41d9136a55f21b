//! Going round: read, count, judge, forget.
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::sleep;

use super::{events::Noticing, export::Export, round::Rounds, settings::Settings};
use crate::{
    agent::{
        history::History,
        page::Page,
        standing::{News, Stands},
        window::Window,
    },
    cli::{session::Session, watch::Signals},
    diagnosis::diagnoser::Diagnoser,
    model::{gather::Want, observation::Observation},
    pipeline::facts::Facts,
};

/// How often the tables are looked at; where nothing happens, every fourth time.
const TICK: Duration = Duration::from_secs(1);
/// The same where much is added to them: what the kernel evicts should have been read before.
const BUSY: Duration = Duration::from_millis(250);
/// Rows that are much: so many added to since the reading before.
const MUCH: usize = 1024;
/// Rows of a view that the rules may take one pause more for.
const CROWDED: usize = 8192;
/// The rules are asked this often, where their view is not crowded.
const JUDGE: Duration = Duration::from_secs(2);
/// What netdiag itself costs is looked up this often.
const COST: Duration = Duration::from_secs(15);
/// Readings in a row that may fail: netlink is busy now and then.
const FAILURES: u32 = 10;

struct Watching<'a> {
    page: &'a Page,
    window: Window,
    history: Option<History>,
    export: Export,
    noticing: Noticing,
    judge: Diagnoser,
    judged: Option<Instant>,
    costed: Option<Instant>,
    /// What the rules asked for since the view's beginning was moved.
    wanted: BTreeSet<Want>,
    failures: u32,
    tick: Duration,
    /// From one judgement to the next.
    pause: Duration,
}

/// Goes on until a signal.
pub async fn watch(
    session: &mut Session,
    settings: &Settings,
    history: Option<History>,
    page: &Page,
    signals: &mut Signals,
) -> Result<()> {
    // Half of the time is the view's, half a finding stands beyond it.
    let window = Window::new(settings.resolve_after / 2, &session.scene);
    let node = session.scene.node.name.clone();
    let noticing = Noticing::open(settings.events, session.place(), &node).await?;
    let root = &session.place().root;
    let export = Export::open(settings.otlp.as_ref(), root, &session.scene, page)?;
    let mut watching = Watching {
        page,
        window,
        history,
        noticing,
        export,
        judge: Diagnoser::default(),
        judged: None,
        costed: None,
        wanted: BTreeSet::new(),
        failures: 0,
        tick: TICK,
        pause: JUDGE,
    };
    let mut rounds = Rounds::begin(settings.canary).await;
    watching.introduce(session);
    loop {
        tokio::select! {
            biased;
            _ = signals.wait() => {
                watching.close(session).await;
                return Ok(());
            }
            () = sleep(watching.tick) => {}
        }
        if let Some(rounds) = &mut rounds {
            let mut sight = page.state().sight;
            rounds.tick(session, &mut sight).await?;
            page.state().sight = sight;
        }
        let went = watching.round(session).await;
        watching.tolerate(went)?;
        watching.show_health(session);
    }
}

impl Watching<'_> {
    fn introduce(&self, session: &Session) {
        let mut state = self.page.state();
        let node = &session.scene.node;
        state.build[1].clone_from(&node.kernel);
        state.build[2].clone_from(&node.name);
    }

    fn show_health(&self, session: &Session) {
        let mut state = self.page.state();
        state.hooks = session.scene.run.hooks;
        state.blind = session.blind();
        state.alive = Some(Instant::now());
    }

    /// A reading that fails is tried again; many in a row are the end.
    fn tolerate(&mut self, went: Result<()>) -> Result<()> {
        match went {
            Ok(()) => self.failures = 0,
            Err(error) if self.failures >= FAILURES => return Err(error),
            Err(error) => {
                self.failures += 1;
                log::warn!("a reading failed: {error:#}");
            }
        }
        Ok(())
    }

    async fn round(&mut self, session: &mut Session) -> Result<()> {
        if session.rests()? {
            return Ok(());
        }
        let mut reading = session.tick().await?;
        self.keep(session, &mut reading);
        {
            let mut state = self.page.state();
            let export = &mut self.export;
            let also = |facts: &Facts<'_>| export.read(facts);
            self.tick = match state.meter.read(&session.scene, &reading, also) {
                MUCH.. => BUSY,
                _ => TICK,
            };
            state.losses.read(&reading);
        }
        if due(&mut self.costed, COST) {
            self.page.state().cost = session.cost();
        }
        self.export.due(&session.scene, &reading, self.page);
        self.slide(session, &reading)?;
        if due(&mut self.judged, self.pause) {
            let view = self.window.view(&reading);
            // In a storm it takes megabytes, and so does judging.
            drop(reading);
            self.judge(session, &view);
        }
        Ok(())
    }

    /// A disk that is full ends the history for a minute, and nothing else.
    fn keep(&mut self, session: &Session, reading: &mut Observation) {
        if let Some(history) = &mut self.history
            && let Err(error) = history.put(&session.scene, reading)
        {
            log::warn!("the history has a gap: {error:#}");
        }
    }

    async fn close(self, session: &Session) {
        self.export.close(&session.scene, self.page).await;
        if let Some(Err(error)) = self.history.map(History::close) {
            log::warn!("the history has no end: {error:#}");
        }
    }

    /// Moves the view's beginning along where it is time to, and forgets what came before.
    fn slide(&mut self, session: &mut Session, reading: &Observation) -> Result<()> {
        if !self.window.slide(reading, &mut session.scene) {
            return Ok(());
        }
        let gone = session.forget(reading, self.window.since())?;
        self.window.forget(&gone);
        self.page.state().meter.forget(&gone);
        self.export.forget(&gone);
        session.keep_answers(&self.wanted);
        self.wanted.clear();
        if self.page.state().standing.is_empty() {
            // When it named what is long withdrawn is nobody's concern.
            self.judge.begin_anew();
        }
        Ok(())
    }

    fn judge(&mut self, session: &mut Session, view: &Observation) {
        let crowds = (view.flows.len() + view.drops.len()) / CROWDED;
        self.pause = JUDGE * u32::try_from(1 + crowds).unwrap_or(u32::MAX);
        let judged = self.judge.findings(&session.scene, view);
        let news = self
            .page
            .state()
            .standing
            .found(Instant::now(), &judged.findings);
        news.iter().for_each(tell);
        self.export.news(&session.scene, view.now, &news);
        self.noticing.news(&news, Instant::now());
        self.page.state().noticed = self.noticing.counts();
        self.page
            .state()
            .agreement
            .clone_from(self.judge.agreement().counts());
        self.wanted.extend(judged.wants.iter().cloned());
        session.gather(judged.wants);
    }
}

/// Whether it is time again.
fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

fn tell(news: &News) {
    let of = |it: &Stands| {
        let it = &it.finding;
        format!("{} ({:?}, {:?})", it.cause, it.severity, it.confidence).to_lowercase()
    };
    match news {
        News::Named(it) | News::Changed(it) => {
            log::warn!("finding: {}: {}", of(it), it.finding.summary);
        }
        // Nothing is withdrawn: the same fault is known better.
        News::Renamed(it) => {
            log::warn!("finding: {}: {}", of(&it.now), it.now.finding.summary);
        }
        News::Spread(_) => {}
        News::Withdrawn(it) => log::warn!("withdrawn: {}", of(it)),
    }
}
