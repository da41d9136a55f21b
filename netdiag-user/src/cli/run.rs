//! `netdiag run`: the live trace.
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    exit,
    options::{Format, Global, Scope, duration},
    session::Session,
    watch::Signals,
};
use crate::{
    causes,
    model::{
        event::{Detail, LiveEvent},
        observation::Observation,
    },
    output,
    pipeline::{
        deltas::{self, Deltas},
        facts::Facts,
        verdict::{self, Naming},
    },
};

/// How often the maps are read: what happens is told within this time.
const TICK: Duration = Duration::from_millis(250);
/// How often `stats` is told.
const STATS: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub scope: Scope,
    /// Ends after this time [default: on Ctrl-C].
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
}

pub async fn run(args: RunArgs, global: &Global) -> Result<i32> {
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let mut session = Session::open(&args.scope, global).await?;
    super::diagnose::say_ready();
    let traced = trace(&mut session, &args, &mut sink, &mut signals).await;
    session.close().await;
    traced?;
    Ok(exit::OK)
}

async fn trace(
    session: &mut Session,
    args: &RunArgs,
    sink: &mut output::Sink,
    signals: &mut Signals,
) -> Result<()> {
    let begun = Instant::now();
    let mut live = output::Live::new(args.output);
    let (mut deltas, mut naming) = (Deltas::default(), Naming::default());
    let mut told = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    live.begin(sink, &session.node, session.hooks())?;
    loop {
        let signalled = tokio::select! {
            _ = ticks.tick() => false,
            _ = signals.wait() => true,
        };
        let ending = signalled || args.duration.is_some_and(|d| begun.elapsed() >= d);
        let observation = session.tick().await?;
        let changes = std::mem::take(&mut session.link_changes);
        let facts = session.facts(&observation);
        let findings = verdict::findings(&facts, &mut naming);
        let wants = causes::wants(&facts);
        let mut events = links(&facts, changes);
        events.extend(deltas.events(&facts, &observation, &findings));
        if ending || told.elapsed() >= STATS {
            told = Instant::now();
            events.push(stats(&facts, &observation, session.hooks()));
        }
        live.events(sink, events)?;
        if ending {
            let verdict = verdict::verdict(&facts, &observation, session.run(), &mut naming);
            return live.end(sink, &verdict);
        }
        session.gather(wants);
    }
}

fn links(facts: &Facts<'_>, changes: Vec<(String, &'static str)>) -> Vec<LiveEvent> {
    let event = |(name, change)| {
        let mut event = deltas::bare(facts, 1, Detail::Link { change });
        event.interface = Some(name);
        event
    };
    changes.into_iter().map(event).collect()
}

fn stats(facts: &Facts<'_>, observation: &Observation, hooks: u64) -> LiveEvent {
    let detail = Detail::Stats {
        hooks,
        lost: observation.lost(),
        overflowed_flows: observation.evicted_flows,
        foreign: observation.counter(netdiag_common::config::counter::FOREIGN),
        hops: deltas::hop_totals(facts),
    };
    deltas::bare(facts, 1, detail)
}
