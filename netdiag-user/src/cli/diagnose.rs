//! `netdiag diagnose`: watch, audit, verdict.
mod progress;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use netdiag_lang::{english, mark};
use tokio::time::{MissedTickBehavior, interval};

use self::progress::{Now, Progress};
use super::{
    exit,
    options::{Causes, Global, RecordArgs, Scope, duration},
    session::Session,
    watch::Signals,
};
use crate::{
    diagnosis::{FlowWay, diagnoser::Diagnoser},
    model::level::Level,
    model::verdict::{Confidence, Finding, NotChecked, Outcome, Severity, Verdict},
    output::{self, Format},
    sys::ready,
};

/// What was asked for in the last moment is waited for so long: a healthy node whose last lookup
/// was under way is not one of which nothing can be told.
const CLOSING: Duration = Duration::from_secs(2);

/// How often the maps are read, where they do not hold very much.
const TICK: Duration = Duration::from_millis(250);

#[derive(Args, Debug)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub causes: Causes,
    /// How long to watch: 15s, 2m, 1h.
    #[arg(short, long, default_value = "15s", value_parser = duration)]
    pub duration: Duration,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub keep: RecordArgs,
    /// Where the ways of its roots' flows go, for whoever shows the verdict in its place.
    #[arg(long, hide = true, value_name = "FILE")]
    pub ways: Option<std::path::PathBuf>,
    /// End as soon as the same confirmed findings have stood for so many seconds.
    #[arg(long, hide = true, value_name = "SECONDS", value_parser = duration)]
    pub until_stable: Option<Duration>,
}

pub async fn run(args: DiagnoseArgs, global: &Global) -> Result<i32> {
    let mut sink = args.keep.sink(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let asked = args.scope.only.asked(&args.scope.iface, &args.causes);
    let keeping = args.scope.keeping(Level::Full);
    let mut session = Session::open(&args.scope, asked, &args.keep, keeping, global).await?;
    ready::say();
    let watched = watch(&mut session, &args, global, &mut signals).await;
    session.close().await;
    match watched? {
        Ended::Verdict(verdict, ways) => {
            if let Some(file) = &args.ways {
                output::Sink::open(Some(file))?.write(&output::json(&ways)?)?;
            }
            output::verdict(&mut sink, &verdict, &ways, args.output)?;
            Ok(code(&verdict))
        }
        Ended::Signal(code) => Ok(code),
    }
}

enum Ended {
    Verdict(Box<Verdict>, Vec<FlowWay>),
    Signal(i32),
}

async fn watch(
    session: &mut Session,
    args: &DiagnoseArgs,
    global: &Global,
    signals: &mut Signals,
) -> Result<Ended> {
    let begun = Instant::now();
    let mut judge = Diagnoser::keeping_states(session.records());
    let mut stable = Stable::default();
    let mut progress = Progress::new(global);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = false;
    loop {
        let signalled = tokio::select! {
            biased;
            code = signals.wait() => Some(code),
            _ = ticks.tick() => None,
        };
        // Who ends it early wants to know what was seen so far, as of ping and tcpdump.
        if let (Some(code), false) = (signalled, looked) {
            return Ok(Ended::Signal(code));
        }
        let ending = signalled.is_some() || begun.elapsed() >= args.duration;
        if !ending && session.rests()? {
            continue;
        }
        looked = true;
        let observation = session.tick().await?;
        let judged = judge.findings(&session.scene, &observation);
        // What is still being found out may tell another cause.
        let waits_for = judged.wants.iter();
        let waits_for = waits_for.filter(|want| !session.scene.gathered.has(want));
        let now = Now {
            elapsed: begun.elapsed(),
            left: args.duration.saturating_sub(begun.elapsed()),
            observation: &observation,
            findings: &judged.findings,
            dropped: judged.dropped,
            waits_for: waits_for.collect(),
        };
        progress.show(&now);
        let answered = now.waits_for.is_empty();
        let settled = args
            .until_stable
            .is_some_and(|wanted| stable.since(&judged.findings) >= wanted)
            && answered;
        let over = ending
            && (signalled.is_some() || answered || begun.elapsed() >= args.duration + CLOSING);
        if over || settled {
            progress.clear();
            if signalled.is_some() {
                let rest = cut_short(args.duration);
                session.scene.run.not_checked.push(rest);
            }
            session.close_accounts();
            let verdict = judge.verdict(&session.scene, &observation);
            let ways = Diagnoser::ways(&session.scene, &observation, &verdict.findings);
            return Ok(Ended::Verdict(Box::new(verdict), ways));
        }
        session.gather(judged.wants);
    }
}

/// What a signal took from the time that was asked for.
pub fn cut_short(wanted: Duration) -> NotChecked {
    let what = english!("the rest of the {} s", wanted.as_secs_f64());
    NotChecked::new(what, mark!("a signal ended the run"))
}

pub fn code(verdict: &Verdict) -> i32 {
    let bad = verdict.findings.iter().any(|f| f.severity > Severity::Info);
    match (bad, verdict.verdict) {
        (true, _) => exit::FINDINGS,
        (false, Outcome::Incomplete) => exit::INCOMPLETE,
        (false, _) => exit::OK,
    }
}

/// How long the same findings have stood, one of them confirmed at least.
#[derive(Default)]
struct Stable {
    state: Vec<(String, Severity, Confidence)>,
    since: Option<Instant>,
}

impl Stable {
    fn since(&mut self, findings: &[Finding]) -> Duration {
        let state: Vec<_> = findings
            .iter()
            .map(|f| (f.cause.clone(), f.severity, f.confidence))
            .collect();
        let confirmed = findings
            .iter()
            .any(|f| f.confidence == Confidence::Confirmed);
        if state != self.state || !confirmed {
            self.state = state;
            self.since = confirmed.then(Instant::now);
        }
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
