//! `netdiag run`: the live trace.
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    exit,
    options::{Causes, Global, RecordArgs, Scope, duration},
    session::Session,
    watch::Signals,
};
use crate::{
    diagnosis::diagnoser::Diagnoser,
    model::level::Level,
    output::{self, Format},
};

/// How often the maps are read: what happens is told within this time, or within one to two and
/// a half seconds where they hold very much.
const TICK: Duration = Duration::from_millis(250);

/// Unless another is asked for.
pub const LEVEL: Level = Level::Flows;

#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub causes: Causes,
    /// Ends after this time [default: on Ctrl-C].
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub keep: RecordArgs,
}

pub async fn run(args: RunArgs, global: &Global) -> Result<i32> {
    let mut sink = args.keep.sink(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let asked = args.scope.only.asked(&args.scope.iface, &args.causes);
    let keeping = args.scope.keeping(LEVEL);
    let mut session = Session::open(&args.scope, asked, &args.keep, keeping, global).await?;
    crate::sys::ready::say();
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
    let mut judge = Diagnoser::keeping_states(session.records());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    live.begin(sink, &session.scene.node, session.scene.run.hooks)?;
    loop {
        let signalled = tokio::select! {
            _ = ticks.tick() => false,
            _ = signals.wait() => true,
        };
        let ending = signalled || args.duration.is_some_and(|d| begun.elapsed() >= d);
        if !ending && session.rests()? {
            continue;
        }
        let observation = session.tick().await?;
        let mut told = Ok(());
        let judged = judge.told(&session.scene, &observation, &mut |event| {
            if told.is_ok() {
                told = live.event(sink, event);
            }
        });
        told.and_then(|()| live.moment(sink))?;
        if ending {
            live.events(sink, judge.closing(&session.scene, &observation))?;
            session.close_accounts();
            return live.end(sink, &judge.verdict(&session.scene, &observation));
        }
        session.gather(judged.wants);
    }
}
