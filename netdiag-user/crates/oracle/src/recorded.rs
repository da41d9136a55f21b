//! What a recording says of packets, held against their computed ways: those of what died have to end at the
//! station where the kernel dropped it, those of what was answered have to pass where they were seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    way::{Does, How, Step, Walk},
};
use netdiag_model::{flow, observation::Observation, text, world::station::Station};
use netdiag_pipeline::{
    agreement::{self, Otherwise},
    conversation::{Conversation, Ways, ends, may_be_marked, ways},
    difference::{self, Difference, Untold},
    facts::{Facts, Loss},
    journey::Journey,
    scene::Scene,
    spent::spent,
};
use netdiag_recording::Replay;

use crate::told;

/// Conversations that live are walked up to so many.
const LIVING: usize = 200;
/// What became of the comparison of one lost flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Agrees,
    /// It passes as computed, at a station whose resource was spent there: its counter moved.
    Spent,
    Contradicts,
    Unknown,
    /// It died at a station that is not walked yet, or where nothing tells which it is.
    NotModelled,
}

impl Held {
    const ALL: [(Self, &str); 5] = [
        (Self::Agrees, "as computed"),
        (Self::Spent, "out of room"),
        (Self::Contradicts, "otherwise"),
        (Self::Unknown, "unknown"),
        (Self::NotModelled, "not modelled"),
    ];
}

type Line = (Held, Option<String>);

/// What was walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    Dead,
    /// It did not fit somewhere.
    Large,
    /// It was sent again and again, nothing came back, and nobody here dropped it.
    Silent,
    Living,
}

impl Of {
    const ALL: [(Self, &str); 4] = [
        (Self::Dead, "died"),
        (Self::Large, "did not fit"),
        (Self::Silent, "unanswered"),
        (Self::Living, "lived"),
    ];
}

#[derive(Default)]
pub struct Report {
    pub counts: BTreeMap<(Of, Held), u64>,
    pub lines: Vec<String>,
}

impl Report {
    fn count(&mut self, of: Of, (held, line): Line) {
        *self.counts.entry((of, held)).or_default() += 1;
        self.lines.extend(line);
    }

    fn of(&self, of: Of, held: Held) -> u64 {
        self.counts.get(&(of, held)).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_default() += count;
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (of, word) in Of::ALL {
            let counts = Held::ALL.map(|(held, word)| (self.of(of, held), word));
            let some = counts.iter().filter(|(count, _)| *count > 0);
            let some: Vec<String> = some.map(|(count, how)| format!("{count} {how}")).collect();
            if !some.is_empty() {
                write!(f, "  {word}: {}", some.join(", "))?;
            }
        }
        match self.counts.is_empty() {
            true => write!(f, "  nothing to hold a way against"),
            false => Ok(()),
        }
    }
}

/// Reads one to its end.
fn held(path: &Path, tell: bool) -> Result<Report> {
    let mut replay = Replay::open(path)?;
    let mut last = None;
    while let Some(observation) = replay.tick() {
        last = Some(observation);
    }
    match last {
        Some(observation) => Ok(compare(&replay.scene, &observation, tell)),
        None => bail!("there is no reading in {}", path.display()),
    }
}

fn compare(scene: &Scene, observation: &Observation, tell: bool) -> Report {
    let rows = scene.rows(observation);
    let facts = scene.facts(&rows);
    let world = scene.gathered.world(&scene.node);
    let prepared = Prepared::new(&world);
    let mut report = Report::default();
    let lost = facts.losses.iter();
    let lost = lost.filter(|l| !l.harmless && l.flow().family != 0);
    let died = lost.map(|loss| died(&facts, &prepared, loss));
    let since = world
        .stacks
        .get(&facts.node.netns)
        .map(|stack| stack.moment);
    let lost = agreement::lost(&facts);
    let lives = facts.journeys_in_order(|j| {
        since.is_some_and(|since| agreement::lives(&facts, j, (since, &lost)))
    });
    let lives = lives.into_iter();
    let arrived = lives.take(LIVING).map(|j| arrived(&facts, &prepared, j));
    died.for_each(|line| report.count(Of::Dead, line));
    if tell {
        let lost = facts.losses.iter().filter(|l| !l.harmless);
        lost.for_each(|loss| report.lines.extend(told(&facts, &prepared, loss)));
    }
    arrived.for_each(|line| report.count(Of::Living, line));
    let large = facts
        .flows
        .iter()
        .filter(|h| h.plain() && h.hop.oversize > 0);
    let large: BTreeMap<&FlowKey, u32> =
        large.map(|h| (h.flow(), h.hop.oversize_largest)).collect();
    for (flow, largest) in large {
        report.count(Of::Large, did_not_fit(&facts, &prepared, (flow, largest)));
    }
    let silent = facts.retransmits.iter().map(|(key, _)| &key.flow);
    let silent: BTreeSet<&FlowKey> = silent.filter(|flow| is_silent(&facts, flow)).collect();
    for flow in silent {
        report.count(Of::Silent, is_lost(&facts, &prepared, flow));
    }
    report
}

/// Whether it is refused for its size, or cut, or leaves for where it may be.
fn did_not_fit(facts: &Facts<'_>, prepared: &Prepared<'_>, of: (&FlowKey, u32)) -> Line {
    let (flow, largest) = of;
    let of = (Conversation::of(facts, flow), largest);
    walked(facts, prepared, of, |way, ends| {
        let refused =
            |step: &&Step<'_>| matches!(step.does, Does::Refuses(How::TooBig(_) | How::PeerMtu(_)));
        let fits = !ends.iter().any(refused) && !is_cut(way);
        let stays = !ends.iter().any(leaves);
        match fits && stays {
            true => Err("it did not fit".into()),
            false => Ok(()),
        }
    })
}

fn is_cut(way: &Walk<'_>) -> bool {
    way.steps.iter().any(|step| {
        step.packet.pieces.is_some()
            || match &step.does {
                Does::Chooses(all) => all.iter().any(|(_, way)| is_cut(way)),
                Does::Copies(all) => all.iter().any(is_cut),
                _ => false,
            }
    })
}

fn arrives(step: &&Step<'_>) -> bool {
    matches!(step.does, Does::Delivers)
}

fn leaves(step: &&Step<'_>) -> bool {
    matches!(step.does, Does::Leaves { .. })
}

fn is_silent(facts: &Facts<'_>, flow: &FlowKey) -> bool {
    let back = flow.reversed();
    let lost = facts
        .losses
        .iter()
        .any(|l| [flow, &back].contains(&l.flow()));
    !lost && !facts.journeys().contains_key(&back) && is_plain(facts, flow)
}

/// Whether it does not arrive, or its answer does not, or what is read of the world ends before.
fn is_lost(facts: &Facts<'_>, prepared: &Prepared<'_>, flow: &FlowKey) -> Line {
    let lost = |answer| {
        let first = *flow;
        walked(
            facts,
            prepared,
            (Conversation { first, answer }, 0),
            |_, ends| match ends.iter().any(arrives) {
                true => Err("nobody answers, and an answer would arrive".into()),
                false => Ok(()),
            },
        )
    };
    match lost(false) {
        (Held::Contradicts, _) => match lost(true) {
            (Held::Contradicts, _) if is_full(facts, prepared, flow) => (Held::Spent, None),
            otherwise => otherwise,
        },
        otherwise => otherwise,
    }
}

/// Whether who takes it had no room.
fn is_full(facts: &Facts<'_>, prepared: &Prepared<'_>, flow: &FlowKey) -> bool {
    let first = *flow;
    let of = Conversation {
        first,
        answer: false,
    };
    let way = ways(facts, prepared, (of, 0));
    way.is_some_and(|way| {
        let ends = ends(&way.request);
        let mut arrived = ends.iter().filter(|step| arrives(step));
        arrived.any(|step| spent(facts, step.netns, Station::Socket) > 0)
    })
}

/// Whether it ended where it died.
fn died<'w>(facts: &Facts<'_>, prepared: &'w Prepared<'w>, loss: &Loss) -> Line {
    let what = || {
        let netns = difference::died_in(facts, loss);
        format!("died of {} in {} of {netns}", loss.reason, loss.location)
    };
    let told = |held: Held, why: String| {
        let conversation = Conversation::of(facts, loss.flow());
        (
            held,
            Some(format!("{}; {}", line(held, conversation, &why), what())),
        )
    };
    match difference::of(facts, prepared, loss) {
        Difference::Same { .. } => (Held::Agrees, None),
        Difference::Spent(_) => (Held::Spent, None),
        Difference::NotModelled => (Held::NotModelled, None),
        Difference::Unknown(Untold::Beginning) => (Held::Unknown, None),
        Difference::Unknown(Untold::Elsewhere) => told(Held::Unknown, ELSEWHERE.into()),
        Difference::Unknown(Untold::At(step)) => told(Held::Unknown, untold(&step)),
        Difference::Otherwise(ends) => told(Held::Contradicts, ended(ends.iter())),
    }
}

/// The way of what died, whole.
fn told(facts: &Facts<'_>, prepared: &Prepared<'_>, loss: &Loss) -> Vec<String> {
    let (source, destination) = flow::endpoints(loss.flow());
    let of = (Conversation::of(facts, loss.flow()), loss.dropped.largest);
    let mut lines = vec![format!("{source} to {destination}")];
    let Some(ways) = ways(facts, prepared, of) else {
        return lines;
    };
    lines.extend(told::lines(facts.node, prepared.world, &ways.request, 1));
    for answer in ways.all.iter().filter(|_| of.0.answer) {
        lines.push("  answered:".to_owned());
        lines.extend(told::lines(facts.node, prepared.world, answer, 1));
    }
    lines
}

fn is_plain(facts: &Facts<'_>, flow: &FlowKey) -> bool {
    let legs = facts.legs();
    let translated = legs.pair(flow).is_some() || legs.pair(&flow.reversed()).is_some();
    !translated && flow.source != flow.destination
}

/// Whether every link that it was seen at is on its way, and that does not end before.
fn arrived(facts: &Facts<'_>, prepared: &Prepared<'_>, journey: &Journey<'_>) -> Line {
    let of = (Conversation::of(facts, &journey.flow), 0);
    let (held, line) = walked(facts, prepared, of, |way, _| {
        agreement::seen(facts, prepared, journey, way).map_err(|otherwise| match otherwise {
            Otherwise::Refused => "it lives".into(),
            Otherwise::Elsewhere(missed) => format!("it lives, seen at {}", missed.join(", ")),
        })
    });
    let request = ways(facts, prepared, of).map(|ways| ways.request);
    let marked = request.is_some_and(|way| may_be_marked(prepared.world, &way));
    match held == Held::Contradicts && marked {
        true => (
            Held::Unknown,
            line.map(|line| line.replacen("Contradicts", "Unknown", 1) + "; a socket may mark it"),
        ),
        false => (held, line),
    }
}

/// Computes a way and holds it against what was seen; the error says what that is.
fn walked<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    of: (Conversation, u32),
    held: impl Fn(&Walk<'w>, &[&Step<'w>]) -> Result<(), String>,
) -> Line {
    let told = |held: Held, why: String| (held, Some(line(held, of.0, &why)));
    let Some(Ways {
        request,
        all,
        lacks,
    }) = ways(facts, prepared, of)
    else {
        return (Held::Unknown, None);
    };
    let each: Vec<Vec<&Step<'w>>> = all.iter().map(ends).collect();
    let told_of = all.iter().zip(&each).map(|(way, ends)| held(way, ends));
    let seen = match told_of.reduce(Result::or) {
        Some(Ok(())) => return (Held::Agrees, None),
        _ if lacks => return told(Held::Unknown, ELSEWHERE.into()),
        Some(Err(seen)) => seen,
        None => "its question comes nowhere".into(),
    };
    // That of a question that came nowhere.
    let ends: Vec<&Step<'w>> = match all.is_empty() {
        true => ends(&request),
        false => each.into_iter().flatten().collect(),
    };
    let unknown = |step: &&&Step<'w>| matches!(step.does, Does::Unknown(_));
    match ends.iter().find(unknown) {
        Some(step) => told(Held::Unknown, untold(step)),
        None => told(
            Held::Contradicts,
            format!("{}; {seen}", ended(ends.into_iter())),
        ),
    }
}

/// What was told of a conversation.
fn line(held: Held, conversation: Conversation, why: &str) -> String {
    let (source, destination) = flow::endpoints(&conversation.first);
    let what = match conversation.answer {
        true => "the answer to ",
        false => "",
    };
    format!("{held:?}: {what}{source} to {destination}: {why}")
}

/// Of what answers something that came to where nothing was read.
const ELSEWHERE: &str = "its answer begins elsewhere";

fn untold(step: &Step<'_>) -> String {
    let why = match &step.does {
        Does::Unknown(why) => format!("{why:?}"),
        does => format!("{does:?}"),
    };
    match told::by(step) {
        None => why,
        Some(by) => format!("{why}, by {by}"),
    }
}

fn ended<'a, 'w: 'a>(ends: impl Iterator<Item = &'a Step<'w>>) -> String {
    let end = |s: &Step<'_>| format!("{:?} in {}: {:?}", s.station, s.netns, s.does);
    let ends: Vec<String> = ends.map(end).collect();
    ends.join(", ")
}

/// Tells of each that was not as computed. Good where there is none, and in each incident, by the beginning of
/// its recordings' names, something died as computed, or lived where nothing fails.
pub fn report(paths: &[PathBuf], tell: bool, living: bool) -> Result<bool> {
    let mut incidents: BTreeMap<String, Report> = BTreeMap::new();
    for path in paths {
        let report = held(path, tell)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let incident = name.split('.').next().unwrap_or_default().to_owned();
        incidents.entry(incident).or_default().add(&report);
        if !report.lines.is_empty() {
            crate::say(format_args!("{name}:"));
        }
        for line in &report.lines {
            // Devices are called what somebody called them.
            crate::say(format_args!("  {}", text::shown(line)));
        }
    }
    let (mut all, mut good) = (Report::default(), true);
    for (name, report) in &incidents {
        crate::say(format_args!("{name:24}{report}"));
        all.add(report);
        let expected = match living {
            true => [Of::Living].as_slice(),
            false => &[Of::Dead, Of::Large, Of::Silent],
        };
        let as_told = |of: &Of| report.of(*of, Held::Agrees) + report.of(*of, Held::Spent) > 0;
        good &= expected.iter().any(as_told);
    }
    crate::say(format_args!("{} recordings{all}", paths.len()));
    let otherwise = Of::ALL.map(|(of, _)| all.of(of, Held::Contradicts));
    Ok(good && otherwise.iter().all(|count| *count == 0))
}
