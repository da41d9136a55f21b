//! `netdiag path`: one flow's way, hop by hop.
pub mod predict;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use self::predict::Computed;
use super::{
    Usage,
    diagnose::cut_short,
    exit,
    options::{Causes, Global, RecordArgs, Scope, duration},
    session::Session,
    watch::Signals,
};
use crate::{
    diagnosis::{Evaluated, diagnoser::Diagnoser, path, predicted},
    host::probe::{Order, probe},
    model::{
        gather::Want,
        level::Level,
        path::{End, Followed, Outcome, Path, Probe, ProbeKind, Wanted},
    },
    output::{self, Format},
    pipeline::{facts::Facts, since::Since},
};

/// How often the maps are read.
const TICK: Duration = Duration::from_millis(250);
/// How long Services are waited for before a name is called unknown.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub struct PathArgs {
    /// Where it begins: a pod, as [NAMESPACE/]NAME or with its kind as kubectl has it (pod/cart,
    /// deploy/cart, node/worker-1), or an address.
    #[arg(value_name = "SRC")]
    pub source: Wanted,
    /// Where it leads: a pod, a Service (both as SRC, svc/cart) or an address, and its port.
    #[arg(value_name = "DST[:PORT]")]
    pub destination: Wanted,
    /// Send a few packets of netdiag's own from inside the pod, small ones and of full size, and watch
    /// those: icmp, connect (TCP without data), tcp (a segment of zeroes too), udp
    /// [default: icmp, and connect where DST has a port; connect alone to a Service].
    #[arg(long, value_enum, value_name = "KINDS", num_args = 0..=1, require_equals = true)]
    #[arg(value_delimiter = ',')]
    pub probe: Option<Vec<ProbeKind>>,
    #[command(flatten)]
    pub computed: Computed,
    #[command(flatten)]
    pub scope: Scope,
    /// How long to watch: 5s, 2m; with --probe until the probes have ended.
    #[arg(short, long, default_value = "5s", value_parser = duration)]
    pub duration: Duration,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub keep: RecordArgs,
}

impl PathArgs {
    /// Who they are on this node; the error is a sentence.
    fn ends(&self, facts: &Facts<'_>) -> Result<(End, End), String> {
        let ends = path::ends(facts, &self.source, &self.destination)?;
        self.computed.checked(ends)
    }
}

pub async fn run(mut args: PathArgs, global: &Global) -> Result<i32> {
    let ends = [&mut args.source, &mut args.destination];
    name_within(&mut args.scope.only.namespace, ends);
    if args.computed.predict {
        if args.probe.is_some() || args.keep.record.is_some() || args.keep.pcap.is_some() {
            let what =
                "--predict watches and sends nothing: leave --probe, --record and --pcap out";
            return Err(Usage(what.into()).into());
        }
        let mut signals = Signals::catch()?;
        return tokio::select! {
            code = predict::run(&args) => code,
            code = signals.wait() => Ok(code),
        };
    }
    let mut sink = args.keep.sink(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let asked = args.scope.only.asked(&args.scope.iface, &Causes::default());
    let keeping = args.scope.keeping(Level::Full);
    let mut session = Session::open(&args.scope, asked, &args.keep, keeping, global).await?;
    crate::sys::ready::say();
    let watched = watch(&mut session, &args, (&mut signals, &mut sink)).await;
    session.close().await;
    let path = watched?;
    output::path(&mut sink, &path, args.output)?;
    Ok(code(&path))
}

/// `-n` beside a name without a namespace is that name's, as kubectl has it, and chooses no packets: the
/// other end may be elsewhere.
pub fn name_within(namespaces: &mut Vec<String>, ends: [&mut Wanted; 2]) {
    if !ends.iter().any(|end| end.lacks_namespace()) {
        return;
    }
    for end in ends {
        *end = end.clone().within(namespaces);
    }
    namespaces.clear();
}

/// Ends at its time or at a signal: what was seen until then is told.
async fn watch(
    session: &mut Session,
    args: &PathArgs,
    (signals, sink): (&mut Signals, &mut output::Sink),
) -> Result<Path> {
    let begun = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probing = Probing::default();
    let (mut tracked, mut since) = (BTreeSet::new(), None);
    let (mut judge, mut told) = (Diagnoser::default(), None);
    loop {
        let signalled = tokio::select! {
            _ = ticks.tick() => false,
            _ = signals.wait() => true,
        };
        let over = signalled
            || probing
                .over()
                .await?
                .unwrap_or(begun.elapsed() >= args.duration);
        if over {
            // The latest connections too are counted on both sides of their translation.
            session.gather_anew(std::mem::take(&mut tracked)).await;
        }
        let mut observation = session.tick().await?;
        let before = since.get_or_insert_with(|| Since::new(&observation));
        before.leave(&mut observation);
        let rows = session.scene.rows(&observation);
        let facts = session.scene.facts(&rows);
        let ends = args.ends(&facts);
        let sent = args.computed.sent();
        if let Ok(ends) = &ends {
            facts.follow(Followed::between(ends));
            if told.is_none() && (over || predict::is_ready(&facts, ends, &sent)) {
                let all = told.insert(predicted::predicted(&facts, ends, &sent));
                output::predicted(sink, all, args.output)?;
            }
        }
        let Evaluated {
            findings, wants, ..
        } = judge.evaluated(&facts);
        let wants = match ends {
            Err(why) if over || begun.elapsed() >= PATIENCE => return Err(Usage(why).into()),
            Err(_) => BTreeSet::from([Want::Services]),
            Ok(ends) if over => {
                let mut path = path::path(&facts, ends, &session.scene.run, &findings);
                path::conclude(&mut path, probing.probes);
                path.predicted = told.unwrap_or_default();
                if signalled {
                    path.not_checked.push(cut_short(args.duration));
                }
                return Ok(path);
            }
            Ok(ends) => {
                tracked = connections(&ends.0);
                let mut wants = with_own(wants, &tracked);
                // Once: a whole bridge of pods is not read again and again for it.
                if told.is_none() {
                    wants.extend(predicted::wants(&facts, &ends, &sent));
                }
                if let Some(kinds) = args.probe.as_ref().filter(|_| probing.none()) {
                    let path = path::path(&facts, ends, &session.scene.run, &findings);
                    probing.start(order(session, args, &path, kinds)?);
                }
                wants
            }
        };
        session.gather(wants);
    }
}

/// What must be found out beside the readings: what the rules ask for, and what the way needs.
fn with_own(mut wants: BTreeSet<Want>, tracked: &BTreeSet<Want>) -> BTreeSet<Want> {
    wants.insert(Want::Services);
    wants.extend(tracked.iter().cloned());
    wants
}

fn connections(source: &End) -> BTreeSet<Want> {
    let addresses = source.addresses.iter();
    addresses.map(|a| Want::Tracked(*a)).collect()
}

/// Probes that are on their way, and what came of them.
#[derive(Default)]
struct Probing {
    task: Option<tokio::task::JoinHandle<Result<Vec<Probe>>>>,
    ended: Option<Instant>,
    probes: Vec<Probe>,
}

impl Probing {
    fn none(&self) -> bool {
        self.task.is_none() && self.ended.is_none()
    }

    fn start(&mut self, order: Order) {
        self.task = Some(tokio::task::spawn_blocking(move || probe(&order)));
    }

    /// Whether they have ended, long enough ago to be counted; nothing where there are none.
    async fn over(&mut self) -> Result<Option<bool>> {
        if let Some(task) = self.task.take_if(|task| task.is_finished()) {
            self.probes = task.await.context("the probing thread")??;
            self.ended = Some(Instant::now());
        }
        let over = self.ended.map(|at| at.elapsed() >= 2 * TICK);
        Ok(over.or(self.task.as_ref().map(|_| false)))
    }
}

/// Where to send from, and what.
fn order(session: &Session, args: &PathArgs, path: &Path, kinds: &[ProbeKind]) -> Result<Order> {
    let node = &session.scene.node;
    let usage = |text: String| anyhow::Error::from(Usage(text));
    let here = |address: &&IpAddr| {
        node.owns(**address) || node.sides().any(|s| s.addresses.contains(address))
    };
    let (from, to) = (&path.source.addresses, &path.destination.addresses);
    let source = from.iter().find(here).ok_or_else(|| {
        let asked = &path.source.asked;
        usage(format!(
            "--probe sends from a pod of this node or from the node itself: {asked} is neither"
        ))
    })?;
    let same = |a: &&IpAddr| a.is_ipv4() == source.is_ipv4();
    let destination = to
        .iter()
        .find(same)
        .ok_or_else(|| usage("--probe: no address of DST is of SRC's family".into()))?;
    let port = path.destination.port;
    if port.is_none() && kinds.iter().any(|k| *k != ProbeKind::Icmp) {
        return Err(usage(
            "--probe: tcp and udp need DST's port, like 10.0.0.1:80".into(),
        ));
    }
    let side = node.sides().find(|s| s.addresses.contains(source));
    let first = path.request.steps.first().and_then(|s| s.mtu);
    let mtu = side
        .map(|s| s.route_mtu.map_or(s.mtu, |m| m.min(s.mtu)))
        .or(first);
    Ok(Order {
        root: args.scope.place.root.clone(),
        netns: side.map_or(node.netns, |s| s.netns),
        source: *source,
        destination: *destination,
        port,
        full: mtu.context("--probe: no MTU is known on the way")?,
        kinds: match kinds {
            [] if port.is_none() => vec![ProbeKind::Icmp],
            // A Service's address answers by its ports only.
            [] if path.destination.service.is_some() => vec![ProbeKind::Connect],
            [] => vec![ProbeKind::Icmp, ProbeKind::Connect],
            some => some.to_vec(),
        },
    })
}

pub fn code(path: &Path) -> i32 {
    match path.outcome {
        Outcome::Answered => exit::OK,
        Outcome::NoTraffic | Outcome::Unknown => exit::INCOMPLETE,
        _ => exit::FINDINGS,
    }
}
