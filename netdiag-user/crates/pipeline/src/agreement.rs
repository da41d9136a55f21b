//! Whether packets go where the walk says. Conversations that succeed are walked: where one passes what the walk says
//! refuses it, twice and with the state read anew between, whatever that step rests on is distrusted, in that namespace
//! alone: there the kernel does something else than netdiag knows.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    way::{Does, Step, Subject, Walk},
};
use netdiag_lang::{english, mark};

use super::{
    conversation::{Conversation, Ways, ends, later, may_be_marked, ways},
    facts::{Facts, HopFlow},
    journey::Journey,
};
use crate::model::{
    flow,
    gather::Want,
    hash::Set,
    text,
    verdict::NotChecked,
    world::{Netns, neighbour::State, station::Station},
};

mod feature;

pub use feature::Feature;

/// Conversations that one reading walks.
const MOST: usize = 200;
/// Flows that are remembered as walked; beyond that all are forgotten, and some are walked again.
const REMEMBERED: usize = 16_384;
/// What is doubted of one namespace but the node's: a pod can make as much of it as it likes.
const OF_ONE: usize = 4;
/// And in all, the node's own first where it is told.
const DOUBTS: usize = 256;
const NAMED: usize = 32;
/// What has not passed again for so long is believed again, ns.
const BELIEVED: u64 = 600_000_000_000;

/// What became of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Agreed,
    Contradicted,
    Unknown,
}

impl Held {
    /// For metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Contradicted => "contradicted",
            Self::Unknown => "unknown",
        }
    }
}

/// Walks by the stations that they went through, or ended at.
pub type Counts = BTreeMap<(Station, Held), u64>;

/// What was seen otherwise than computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It goes nowhere.
    Refused,
    /// It was seen at these links, which are not on its way.
    Elsewhere(Vec<String>),
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When the state was read that the first walk used.
    moment: u64,
    /// When it was seen last.
    seen: u64,
    /// Again, after the state was read anew.
    again: bool,
}

#[derive(Default)]
pub struct Agreement {
    counts: Counts,
    walked: Set<FlowKey>,
    doubts: BTreeMap<Feature, Doubt>,
}

impl Agreement {
    /// Walks what began and was answered since the state was read, and has not been walked yet.
    pub fn reading(&mut self, facts: &Facts<'_>) {
        let now = facts.now;
        self.doubts
            .retain(|_, doubt| now.saturating_sub(doubt.seen) < BELIEVED);
        let own = facts.node.netns;
        if facts.gathered.stack(own).is_none() {
            return;
        }
        let (since, lost) = (facts.gathered.states_since(), lost(facts));
        let new = |j: &Journey<'_>| {
            !self.walked.contains(&j.flow)
                && began_after(j, since)
                && began(facts, j, (since, &lost))
        };
        let mut new = facts.journeys_in_order(new);
        new.truncate(MOST);
        if new.is_empty() {
            return;
        }
        if self.walked.len() + new.len() > REMEMBERED {
            self.walked.clear();
        }
        let world = facts.gathered.world(facts.node);
        let prepared = Prepared::new(&world);
        for journey in new {
            self.walked.insert(journey.flow);
            self.compare(facts, &prepared, journey);
        }
    }

    fn compare(&mut self, facts: &Facts<'_>, prepared: &Prepared<'_>, journey: &Journey<'_>) {
        let of = (Conversation::of(facts, &journey.flow), 0);
        let Some(Ways {
            request,
            all,
            lacks,
        }) = ways(facts, prepared, of)
        else {
            return;
        };
        let mut otherwise = Vec::new();
        for way in &all {
            match seen(facts, prepared, journey, way) {
                Ok(()) => return self.agrees(way),
                Err(why) => otherwise.push((way, why)),
            }
        }
        if lacks {
            return self.count(Station::Link, Held::Unknown);
        }
        // An answer to a question that comes nowhere.
        if all.is_empty() {
            otherwise.push((&request, Otherwise::Refused));
        }
        let ended = otherwise.iter().flat_map(|(way, _)| ends(way));
        let unknown: BTreeSet<Station> = ended
            .filter(|step| matches!(step.does, Does::Unknown(_)))
            .map(|step| step.station)
            .collect();
        let mut begun = otherwise.iter().map(|(way, _)| *way).chain([&request]);
        if unknown.is_empty() && begun.any(|way| may_be_marked(prepared.world, way)) {
            return self.count(Station::Route, Held::Unknown);
        }
        if !unknown.is_empty() {
            unknown.iter().for_each(|at| self.count(*at, Held::Unknown));
            return;
        }
        for (way, why) in &otherwise {
            for step in blamed(facts, journey, (way, why)) {
                if is_learned(step) {
                    self.count(step.station, Held::Unknown);
                    continue;
                }
                self.count(step.station, Held::Contradicted);
                let feature = Feature::of(prepared.world, step);
                let most = match feature.netns == facts.node.netns {
                    true => NAMED,
                    false => OF_ONE,
                };
                // State that nobody read anew since is no second witness, whatever else was.
                let read = facts.gathered.stack(feature.netns);
                let moment = read.map_or(0, |stack| stack.moment);
                self.doubt((feature, most), moment, facts.now);
            }
        }
    }

    fn agrees(&mut self, way: &Walk<'_>) {
        let mut stations = BTreeSet::new();
        passed(way, &mut stations);
        stations.iter().for_each(|at| self.count(*at, Held::Agreed));
    }

    fn count(&mut self, at: Station, held: Held) {
        *self.counts.entry((at, held)).or_default() += 1;
    }

    fn doubt(&mut self, (feature, most): (Feature, usize), moment: u64, now: u64) {
        if let Some(doubt) = self.doubts.get_mut(&feature) {
            doubt.seen = now;
            doubt.again |= moment > doubt.moment;
            return;
        }
        let same = |other: &&Feature| other.netns == feature.netns;
        let of_one = self.doubts.keys().filter(same).count();
        if of_one < most && self.doubts.len() < DOUBTS {
            let doubt = Doubt {
                moment,
                seen: now,
                again: false,
            };
            self.doubts.insert(feature, doubt);
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is not believed any more.
    pub fn distrusted(&self) -> impl Iterator<Item = &Feature> {
        let sure = self.doubts.iter().filter(|(_, doubt)| doubt.again);
        sure.map(|(feature, _)| feature)
    }

    /// For the list of what could not be checked, the node's own first.
    pub fn not_checked(&self, own: Netns) -> Vec<NotChecked> {
        let mut all: Vec<&Feature> = self.distrusted().collect();
        all.sort_by_key(|feature| (feature.netns != own, *feature));
        let left = all.len().saturating_sub(NAMED);
        let row = |feature: &Feature| {
            let what = text::shown(&feature.what);
            let what = match feature.netns == own {
                true => english!("what {what} does with packets"),
                false => {
                    english!("what {what} does in network namespace {}", feature.netns)
                }
            };
            NotChecked::new(
                what,
                mark!("packets go another way than netdiag computes from it"),
            )
        };
        let mut rows: Vec<NotChecked> = all.into_iter().take(NAMED).map(row).collect();
        if left > 0 {
            let what = english!("what {left} more parts of the configuration do with packets");
            rows.push(NotChecked::new(
                what,
                mark!("packets go another way than netdiag computes from it"),
            ));
        }
        rows
    }
}

/// Whose state is worth having, so that what succeeds can be held against it: the node's, and that of the first pods that
/// talk.
pub fn wants(facts: &Facts<'_>) -> BTreeSet<Want> {
    const PODS: usize = 7;
    let mut asked = BTreeSet::from([Want::Stack(facts.node.netns)]);
    let lost = lost(facts);
    for journey in facts.journeys_in_order(|j| answered(facts, j, &lost)) {
        let (source, destination) = flow::ends(&journey.flow);
        let ends = [source, destination].map(|address| facts.pod_side_of(address));
        let ends = ends.into_iter().flatten().map(|side| side.netns);
        asked.extend(ends.filter(|netns| *netns != 0).map(Want::Stack));
        if asked.len() > PODS {
            break;
        }
    }
    asked
}

pub type Lost = Set<FlowKey>;

/// What something of was lost.
pub fn lost(facts: &Facts<'_>) -> Lost {
    facts.losses.iter().map(|loss| *loss.flow()).collect()
}

/// Answered, and sent on or taken by the node itself; so was its other direction, whose way is walked before an
/// answer's, and both since then.
pub fn lives(facts: &Facts<'_>, journey: &Journey<'_>, (since, lost): (u64, &Lost)) -> bool {
    let after = |j: &Journey<'_>| j.hops.last().is_some_and(|hop| hop.hop.last > since);
    let back = facts.journeys().get(&journey.flow.reversed());
    after(journey) && back.is_some_and(after) && answered(facts, journey, lost)
}

fn answered(facts: &Facts<'_>, journey: &Journey<'_>, lost: &Lost) -> bool {
    let flow = &journey.flow;
    let back = flow.reversed();
    let (_, destination) = flow::ends(flow);
    let went_on = journey.hops.last().is_some_and(|hop| hop.egress());
    facts.journeys().contains_key(&back)
        && flow.source != flow.destination
        && !(lost.contains(flow) || lost.contains(&back))
        && (went_on || facts.owns(destination) || facts.legs().translated(flow).is_some())
}

fn began_after(journey: &Journey<'_>, since: u64) -> bool {
    journey
        .hops
        .first()
        .is_some_and(|hop| hop.hop.first > since)
}

/// Whether all of it is of the time since then, and it comes from whom it says: what somebody sends with another's
/// address goes another way than the owner's, and would bear witness against what is the owner's.
fn began(facts: &Facts<'_>, journey: &Journey<'_>, of: (u64, &Lost)) -> bool {
    let (since, _) = of;
    if !lives(facts, journey, of) {
        return false;
    }
    let conversation = Conversation::of(facts, &journey.flow);
    let both = [conversation.first, conversation.answered(facts)];
    both.iter().all(|flow| {
        let journey = facts.journeys().get(flow);
        journey.is_some_and(|j| began_after(j, since) && is_its_own(facts, j))
    })
}

/// Whether who has its source sent it, as far as that is here.
fn is_its_own(facts: &Facts<'_>, journey: &Journey<'_>) -> bool {
    let (source, _) = flow::ends(&journey.flow);
    let Some(hop) = journey.hops.first() else {
        return false;
    };
    if facts.owns(source) {
        return hop.egress();
    }
    let Some(side) = facts.pod_side_of(source) else {
        return true;
    };
    let link = facts.link(hop.key.ifindex);
    let inside = link.is_some_and(|link| link.peer_netns == Some(side.netns));
    !hop.egress() && (inside || side.lower == Some(hop.key.ifindex))
}

/// Whether every link that it was seen at is on its first packet's way or its later ones', and that does not end before.
pub fn seen(
    facts: &Facts<'_>,
    prepared: &Prepared<'_>,
    journey: &Journey<'_>,
    way: &Walk<'_>,
) -> Result<(), Otherwise> {
    if ends(way).iter().all(|step| refuses(step)) {
        return Err(Otherwise::Refused);
    }
    on(facts, journey, &[way]).or_else(|why| {
        let later = later(facts, prepared, Conversation::of(facts, &journey.flow));
        let all: Vec<&Walk<'_>> = std::iter::once(way).chain(&later).collect();
        on(facts, journey, &all).map_err(|_| why)
    })
}

/// Whether every link that it was seen at is on one of these.
pub fn on(facts: &Facts<'_>, journey: &Journey<'_>, ways: &[&Walk<'_>]) -> Result<(), Otherwise> {
    let own = facts.node.netns;
    let each = ways.iter();
    let passed: BTreeSet<_> = each.clone().flat_map(|way| links(way, own)).collect();
    let left: BTreeSet<_> = each.flat_map(|way| left(way, own)).collect();
    let plain = journey.hops.iter().filter(|h| h.plain());
    let at = |h: &HopFlow| (h.key.ifindex, h.egress());
    // Where it left for what nobody read it may come back from.
    let last = plain
        .clone()
        .position(|h| h.egress() && left.contains(&h.key.ifindex));
    let until = last.map_or(usize::MAX, |last| last + 1);
    let missed = plain.take(until).filter(|h| !passed.contains(&at(h)));
    let missed: Vec<String> = missed.map(|h| h.interface.clone()).collect();
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Otherwise::Elsewhere(missed)),
    }
}

/// The devices of a namespace by which it leaves for where nothing is read.
fn left(way: &Walk<'_>, netns: Netns) -> BTreeSet<u32> {
    let here = ends(way).into_iter().filter(|step| step.netns == netns);
    let left = here.filter_map(|step| match step.does {
        Does::Leaves { device } => Some(device),
        _ => None,
    });
    left.collect()
}

pub fn refuses(step: &Step<'_>) -> bool {
    matches!(step.does, Does::Refuses(_))
}

/// The steps that say otherwise: those that refuse it, or the first by which it would leave the node where it was not
/// seen to.
fn blamed<'a, 'w>(
    facts: &Facts<'_>,
    journey: &Journey<'_>,
    (way, why): (&'a Walk<'w>, &Otherwise),
) -> Vec<&'a Step<'w>> {
    match why {
        Otherwise::Refused => ends(way).into_iter().filter(|step| refuses(step)).collect(),
        Otherwise::Elsewhere(_) => {
            let seen_at = |device: u32| {
                let mut hops = journey.hops.iter();
                hops.any(|h| h.egress() && h.key.ifindex == device)
            };
            let unseen = |step: &&Step<'_>| match step.does {
                Does::Sends { device, .. } | Does::Leaves { device } => !seen_at(device),
                _ => false,
            };
            let mut here = way.steps.iter().filter(|s| s.netns == facts.node.netns);
            here.clone()
                .find(unseen)
                .or(here.next_back())
                .into_iter()
                .collect()
        }
    }
}

/// Whether it rests on an entry that the kernel makes anew by itself, with each announcement or frame that it hears: a pod that
/// comes with the address of one that was is no witness against it.
fn is_learned(step: &Step<'_>) -> bool {
    match step.by {
        Some(Subject::Neighbour(entry)) => !matches!(entry.state, State::Permanent | State::NoArp),
        Some(Subject::Forwarding(entry)) => !(entry.is_static || entry.sticky || entry.local),
        _ => false,
    }
}

fn passed(way: &Walk<'_>, stations: &mut BTreeSet<Station>) {
    for step in &way.steps {
        stations.insert(step.station);
        match &step.does {
            Does::Chooses(all) => all.iter().for_each(|(_, way)| passed(way, stations)),
            Does::Copies(all) => all.iter().for_each(|way| passed(way, stations)),
            _ => {}
        }
    }
}

/// Devices of a namespace that a walk goes out by (`true`) and comes in at.
fn links(walk: &Walk<'_>, netns: Netns) -> BTreeSet<(u32, bool)> {
    let mut all = BTreeSet::new();
    for step in &walk.steps {
        let here = step.netns == netns;
        match &step.does {
            Does::Sends { device, .. } if here => drop(all.insert((*device, true))),
            Does::Comes { device } if here => drop(all.insert((*device, false))),
            Does::Chooses(branches) => {
                all.extend(branches.iter().flat_map(|(_, branch)| links(branch, netns)));
            }
            Does::Copies(copies) => all.extend(copies.iter().flat_map(|copy| links(copy, netns))),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests;
