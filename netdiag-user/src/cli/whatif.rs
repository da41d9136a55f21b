//! `netdiag whatif`: what a change would do to the conversations of this node, before anybody makes it.
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Usage, exit,
    options::{Causes, Global, RecordArgs, Scope, SelectionArgs, duration},
    replay::{allowance, player::Player},
    session::Session,
    watch::Signals,
};
use crate::{
    diagnosis::{
        diagnoser::Diagnoser,
        whatif::{NotDone, whatif},
    },
    model::{foretold::Foretold, level::Level, observation::Observation},
    output::{self, Format},
    pipeline::scene::Scene,
    sys::ready,
};

/// How often the maps are read.
const TICK: Duration = Duration::from_millis(250);

#[derive(Args, Debug)]
pub struct WhatifArgs {
    /// A recording that `diagnose --record FILE` made; without one this node is watched.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What would be done, as one types it; several, each in quotes. It changes what was read of the node,
    /// through which the conversations that were seen are walked, there and back.
    ///
    /// Understood: ip route, rule, neighbour, address, link set, xfrm policy delete; bridge link set, fdb,
    /// vlan add; sysctl -w; nft and iptables for tables, chains and rules of addresses, ports, protocols,
    /// interfaces, marks and states; each within `ip netns exec NAME` of a pod, too. Whatever else is in a
    /// command refuses it.
    #[arg(last = true, required = true, value_name = "COMMANDS")]
    pub commands: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    /// How long to watch: 5s, 2m.
    #[arg(short, long, default_value = "5s", value_parser = duration)]
    pub duration: Duration,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

pub async fn run(args: WhatifArgs, global: &Global) -> Result<i32> {
    let commands = commands(&args.commands)?;
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let foretold = match &args.file {
        Some(file) => recorded(file, &commands)?,
        None => watched(&args, &commands, global).await?,
    };
    output::foretold(&mut sink, &foretold, args.output)?;
    Ok(code(&foretold))
}

/// Each word is a command where the first one is more than a word.
fn commands(typed: &[String]) -> Result<Vec<Vec<String>>> {
    let several = typed
        .first()
        .is_some_and(|first| first.contains(char::is_whitespace));
    if !several {
        return Ok(vec![typed.to_vec()]);
    }
    typed.iter().map(split).collect()
}

/// The words of one.
pub fn split(line: &String) -> Result<Vec<String>> {
    let words = shlex::split(line).filter(|words| !words.is_empty());
    words.ok_or_else(|| Usage(format!("'{line}' has a quote that does not end")).into())
}

pub fn not_done(NotDone { command, why }: NotDone) -> anyhow::Error {
    anyhow!(Usage(format!("{command}: {why}")))
}

fn recorded(file: &PathBuf, commands: &[Vec<String>]) -> Result<Foretold> {
    allowance::guard(std::slice::from_ref(file), true);
    let asked = SelectionArgs::default().asked(&[], &Causes::default());
    let one = Player::open(file, &asked)?.play(None)?;
    foretold(&one.scene, &one.last, commands)
}

/// What is seen until the time is over, or a signal comes.
async fn watched(args: &WhatifArgs, commands: &[Vec<String>], global: &Global) -> Result<Foretold> {
    let mut signals = Signals::catch()?;
    let asked = args.scope.only.asked(&args.scope.iface, &Causes::default());
    let keeping = args.scope.keeping(Level::Full);
    let nothing = RecordArgs::default();
    let mut session = Session::open(&args.scope, asked, &nothing, keeping, global).await?;
    ready::say();
    let seen = watch(&mut session, args.duration, &mut signals).await;
    let told = seen.and_then(|seen| foretold(&session.scene, &seen, commands));
    session.close().await;
    told
}

async fn watch(
    session: &mut Session,
    wanted: Duration,
    signals: &mut Signals,
) -> Result<Observation> {
    let begun = Instant::now();
    let mut judge = Diagnoser::keeping_states(true);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let signalled = tokio::select! {
            _ = ticks.tick() => false,
            _ = signals.wait() => true,
        };
        let observation = session.tick().await?;
        if signalled || begun.elapsed() >= wanted {
            return Ok(observation);
        }
        let judged = judge.findings(&session.scene, &observation);
        session.gather(judged.wants);
    }
}

fn foretold(scene: &Scene, seen: &Observation, commands: &[Vec<String>]) -> Result<Foretold> {
    let rows = scene.rows(seen);
    let done = whatif(&scene.facts(&rows), commands);
    done.map_err(not_done)
}

fn code(foretold: &Foretold) -> i32 {
    match foretold {
        Foretold { die: 1.., .. } => exit::FINDINGS,
        // Nobody can tell of any of them.
        Foretold {
            live: 0,
            unchanged: 0,
            ..
        } => exit::INCOMPLETE,
        _ => exit::OK,
    }
}
