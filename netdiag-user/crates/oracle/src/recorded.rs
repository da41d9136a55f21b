//! What a recording says of packets that died, held against their computed ways: each has to end at the station
//! where the kernel dropped it.
use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    packet::{Decided, Frame, Packet, Sender, Start},
    walk,
    way::{Does, Step, Walk},
};
use netdiag_model::{
    flow,
    observation::Observation,
    reason::by_place,
    world::{End, Netns, World, device::Mac, station::Station},
};
use netdiag_pipeline::{
    facts::{Facts, Loss},
    scene::Scene,
};
use netdiag_recording::Replay;

/// Fewer packets may have died of what was otherwise a moment before.
const PATTERN: u64 = 3;
/// Stations that no walk knows yet.
const LATER: [Station; 5] = [
    Station::Program,
    Station::Hook,
    Station::Xfrm,
    Station::Queue,
    Station::Socket,
];

/// What became of the comparison of one lost flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Agrees,
    Contradicts,
    Unknown,
    /// It died at a station that is not walked yet, or where nothing tells which it is.
    NotModelled,
}

#[derive(Default)]
pub struct Report {
    pub counts: BTreeMap<Held, u64>,
    pub lines: Vec<String>,
}

/// Reads one to its end.
pub fn held(path: &Path) -> Result<Report> {
    let mut replay = Replay::open(path)?;
    let mut last = None;
    while let Some(observation) = replay.tick() {
        last = Some(observation);
    }
    match last {
        Some(observation) => Ok(compare(&replay.scene, &observation)),
        None => bail!("there is no reading in {}", path.display()),
    }
}

fn compare(scene: &Scene, observation: &Observation) -> Report {
    let rows = scene.rows(observation);
    let facts = scene.facts(&rows);
    let world = scene.gathered.world(&scene.node);
    let prepared = Prepared::new(&world);
    let mut report = Report::default();
    let lost = facts.losses.iter();
    let lost = lost.filter(|l| !l.harmless && l.dropped.packets >= PATTERN && l.flow().family != 0);
    for loss in lost {
        let (held, line) = one(&facts, &prepared, loss);
        *report.counts.entry(held).or_default() += 1;
        report.lines.extend(line);
    }
    report
}

fn one(facts: &Facts<'_>, prepared: &Prepared<'_>, loss: &Loss) -> (Held, Option<String>) {
    let stations = by_place::stations(&loss.reason, &loss.location);
    let told = |held, what: String| {
        let (source, destination) = flow::endpoints(loss.flow());
        let at = format!("{} in {} of {}", loss.reason, loss.location, loss.key.netns);
        let line = format!("{held:?}: {source} to {destination} died of {at}; {what}");
        (held, Some(line))
    };
    if stations.is_empty() || stations.iter().all(|at| LATER.contains(at)) {
        return (Held::NotModelled, None);
    }
    let Some(start) = start(facts, prepared.world, loss) else {
        return told(Held::Unknown, "where it began is not read".into());
    };
    let way = walk(prepared, start, packet(facts, loss));
    let ends = ends(&way);
    let as_seen = |step: &&Step<'_>| {
        stations.contains(&step.station) && step.netns == loss.key.netns && refuses(step)
    };
    if ends.iter().any(as_seen) {
        return (Held::Agrees, None);
    }
    let unknown = ends.iter().find_map(|step| match &step.does {
        Does::Unknown(why) => Some(why),
        _ => None,
    });
    match unknown {
        Some(why) => told(Held::Unknown, format!("{why:?}")),
        None => {
            let ends = ends
                .iter()
                .map(|s| format!("{:?} in {}: {:?}", s.station, s.netns, s.does));
            told(Held::Contradicts, ends.collect::<Vec<_>>().join(", "))
        }
    }
}

fn refuses(step: &Step<'_>) -> bool {
    matches!(step.does, Does::Refuses(_))
}

/// The last steps of all its branches.
fn ends<'a, 'w>(walk: &'a Walk<'w>) -> Vec<&'a Step<'w>> {
    let mut all = Vec::new();
    for step in &walk.steps {
        match &step.does {
            Does::Chooses(branches) => {
                branches
                    .iter()
                    .for_each(|(_, branch)| all.extend(ends(branch)));
            }
            Does::Copies(copies) => copies.iter().for_each(|copy| all.extend(ends(copy))),
            Does::Refuses(_) | Does::Delivers | Does::Leaves { .. } | Does::Unknown(_) => {
                all.push(step);
            }
            _ => {}
        }
    }
    all
}

/// Where the flow was met first: at a link that it came in by, else in the namespace that has its source.
fn start(facts: &Facts<'_>, world: &World, loss: &Loss) -> Option<Start> {
    let known = |flow: &FlowKey| facts.journeys().get(flow).map(|j| j.hops.clone());
    // What translation made came in as what it was made of.
    let origin = facts.legs().origin(loss.flow()).map(|(first, _)| first);
    let hops = origin
        .as_ref()
        .and_then(known)
        .or_else(|| known(loss.flow()));
    let inside = sender(facts, loss);
    let came = hops
        .as_deref()
        .and_then(|hops| hops.iter().find(|h| !h.egress()));
    let came = came.filter(|_| inside.is_none_or(|netns| !world.stacks.contains_key(&netns)));
    match came {
        Some(hop) => {
            let end = End {
                netns: facts.node.netns,
                index: hop.key.ifindex,
            };
            let to = world.device(end)?.mac.unwrap_or(Mac::BROADCAST);
            Some(Start::Device(end, Frame { from: None, to }))
        }
        None => Some(Start::Socket(Sender {
            netns: inside?,
            device: None,
            uid: 0,
            any_source: false,
        })),
    }
}

fn sender(facts: &Facts<'_>, loss: &Loss) -> Option<Netns> {
    let (source, _) = flow::ends(loss.flow());
    match facts.owns(source) {
        true => Some(facts.node.netns),
        false => facts.pod_side_of(source).map(|side| side.netns),
    }
}

fn packet(facts: &Facts<'_>, loss: &Loss) -> Packet {
    let flow = loss.flow();
    let (source, destination) = flow::ends(flow);
    let largest = facts.journeys().get(flow).into_iter();
    let largest = largest
        .flat_map(|j| j.hops.iter())
        .map(|h| h.hop.largest)
        .max();
    Packet {
        source,
        destination,
        protocol: flow.protocol,
        sport: flow.source_port,
        dport: flow.destination_port,
        tos: 0,
        ttl: 64,
        size: largest.unwrap_or(0).max(loss.dropped.largest).max(60),
        df: true,
        segment: None,
        pieces: None,
        mark: 0,
        carries: None,
        iif: None,
        decided: Decided::No,
    }
}

/// One line for each that was not as computed, and what all came to.
pub fn report(paths: &[std::path::PathBuf]) -> Result<bool> {
    let mut all: BTreeMap<Held, u64> = BTreeMap::new();
    for path in paths {
        let report = held(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        crate::say(format_args!("{name}: {:?}", report.counts));
        for line in &report.lines {
            crate::say(format_args!("  {line}"));
        }
        for (held, count) in report.counts {
            *all.entry(held).or_default() += count;
        }
    }
    crate::say(format_args!("{} recordings: {all:?}", paths.len()));
    Ok(!all.contains_key(&Held::Contradicts))
}
