//! What the kernel dropped, held against the computed way of its packets: they end where it did, or lacked room there, or
//! should have gone on.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    packet::{ICMP, ICMP6},
    way::{Does, How, Step, Subject, Walk},
};

use super::{
    agreement::{Feature, on},
    conversation::{Conversation, Ways, ends, may_be_marked, ways},
    facts::{Facts, Loss},
    spent::spent,
};
use crate::model::{
    flow::ends as ends_of_flow,
    reason::by_place,
    world::{Netns, ruleset::Rule, station::Station},
};

/// Stations that no walk knows yet.
const LATER: [Station; 3] = [Station::Program, Station::Xfrm, Station::Queue];

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference<'w> {
    /// These ways end where the kernel dropped it, as the state says; `alone` where there are no others.
    Same { ends: Vec<Step<'w>>, alone: bool },
    /// It passes as computed, at a station whose resource was spent there: its counter moved.
    Spent(Station),
    /// It died at a station that is not walked, or where nothing tells which it is.
    NotModelled,
    /// Nobody can tell whether the state says so.
    Unknown(Untold<'w>),
    /// The state says that its ways end elsewhere.
    Otherwise(Vec<Step<'w>>),
}

/// Why nobody can.
#[derive(Clone, Debug, PartialEq)]
pub enum Untold<'w> {
    /// Nobody knows where the conversation began.
    Beginning,
    /// It answers what came to where nothing was read.
    Elsewhere,
    /// A step of which something is not known.
    At(Box<Step<'w>>),
}

impl Facts<'_> {
    /// The one step at which all that is known of its ways ends, as the kernel ended it: of a neighbour that did not
    /// answer, where whoever has that address may not. Nothing where it was seen further on, where others are seen to
    /// pass that step, or where something of its sender is not known that rules ask for.
    pub fn dead_end(&self, loss: &Loss) -> Option<Step<'_>> {
        let prepared = self.prepared();
        let (difference, ways) = compared(self, prepared, loss);
        let (Difference::Same { ends, alone: true }, Some(ways)) = (difference, ways) else {
            return None;
        };
        let all: Vec<&Walk<'_>> = ways.all.iter().collect();
        let journey = self.journeys().get(loss.flow());
        let beyond = journey.is_some_and(|journey| on(self, journey, &all).is_err());
        if beyond || may_be_marked(prepared.world, &ways.request) {
            return None;
        }
        let ends = ends.into_iter().map(|end| match end.does {
            Does::Refuses(How::NoNeighbour(next)) => silent(&all, next),
            _ => Some(end),
        });
        self.one_end(ends.collect::<Option<_>>()?)
    }

    /// The one step at which a question ends that nobody answers and of which no drop was seen; where it comes to whom it
    /// is for, the one at which his answer does. Nothing where it was seen elsewhere than on its way, where others are
    /// seen to pass that step, or where something of its sender is not known that rules ask for.
    pub fn silent_end(&self, asked: &FlowKey) -> Option<SilentEnd<'_>> {
        let prepared = self.prepared();
        let question = Conversation::of(self, asked);
        if question.answer {
            return None;
        }
        let there = ways(self, prepared, (question, 0))?;
        let request = &there.request;
        let sent = self.legs().translated(&question.first);
        let flows = [Some(question.first), sent.map(|(flow, _)| flow)];
        let mut seen = flows.iter().flatten();
        let on_it = |flow: &FlowKey| {
            let journey = self.journeys().get(flow);
            journey.is_none_or(|journey| on(self, journey, &[request]).is_ok())
        };
        if !seen.all(on_it) || may_be_marked(prepared.world, request) {
            return None;
        }
        let came = ends(request);
        let answered = came.iter().all(|step| step.does == Does::Delivers);
        let back = match answered {
            true => ways(self, prepared, (question.its_answer(), 0)),
            false => None,
        };
        // Who answers may mark what he sends, too.
        let marked = |way: &Walk<'_>| may_be_marked(prepared.world, way);
        let way = match &back {
            Some(back) if back.lacks || back.all.iter().any(marked) => return None,
            Some(back) => back.all.iter().flat_map(ends).collect(),
            None => came,
        };
        let refused = |step: &&Step<'_>| matches!(step.does, Does::Refuses(_)) && has_counted(step);
        if !way.iter().all(refused) {
            return None;
        }
        let step = self.one_end(way.into_iter().cloned().collect())?;
        Some(SilentEnd { step, answered })
    }

    /// Where all of them are one that nobody is seen to pass.
    fn one_end<'w>(&'w self, ends: Vec<Step<'w>>) -> Option<Step<'w>> {
        let world = self.prepared().world;
        let feature = |step: &Step<'_>| Feature::of(world, step);
        let first = ends.first()?.clone();
        let feature_of_first = feature(&first);
        let one = ends.iter().all(|step| feature(step) == feature_of_first);
        let believed = !self.distrusted.contains(&feature_of_first);
        (one && believed).then_some(first)
    }
}

/// Where a question ends, or the answer to one that `answered` says comes to whom it is for.
pub struct SilentEnd<'w> {
    pub step: Step<'w>,
    pub answered: bool,
}

/// Where the question for a neighbour ends, if it does at one step.
fn silent<'w>(ways: &[&Walk<'w>], target: IpAddr) -> Option<Step<'w>> {
    let steps = ways.iter().flat_map(|way| &way.silent);
    let mut steps = steps.filter(|step| step.packet.destination == target);
    let first = steps.next()?;
    let same = |step: &Step<'w>| (step.netns, &step.does) == (first.netns, &first.does);
    steps.all(same).then(|| first.clone())
}

/// Of packets that one kernel dropped.
pub fn of<'w>(facts: &Facts<'_>, prepared: &'w Prepared<'w>, loss: &Loss) -> Difference<'w> {
    compared(facts, prepared, loss).0
}

/// The same with its ways, where they are known.
fn compared<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    loss: &Loss,
) -> (Difference<'w>, Option<Ways<'w>>) {
    let stations = by_place::stations(&loss.reason, &loss.location);
    if is_beyond(facts, loss, stations) {
        return (Difference::NotModelled, None);
    }
    let of = (Conversation::of(facts, loss.flow()), loss.dropped.largest);
    let Some(ways) = ways(facts, prepared, of) else {
        return (Difference::Unknown(Untold::Beginning), None);
    };
    let netns = died_in(facts, loss);
    let anew = is_rerouted(facts, loss);
    let (_, sent) = ends_of_flow(&of.0.first);
    // What its loopback sends elsewhere no first look-up lets out: there it was for this node itself.
    let looped = ends_of_flow(loss.flow()).0.is_loopback();
    let as_seen = |step: &&Step<'_>| {
        let turned = step.packet.destination != sent || looped;
        let led = anew && step.station == Station::Route && turned;
        let at = stations.contains(&step.station) || led;
        at && stops(step, netns)
    };
    let all: Vec<&Step<'w>> = ways.all.iter().flat_map(ends).collect();
    let seen: Vec<Step<'w>> = all.iter().copied().filter(as_seen).cloned().collect();
    let difference = match seen.is_empty() {
        true => otherwise(facts, (prepared, &ways), (netns, stations)),
        false => Difference::Same {
            alone: !ways.lacks && seen.len() == all.len(),
            ends: seen,
        },
    };
    (difference, Some(ways))
}

/// None of its ways ends there.
fn otherwise<'w>(
    facts: &Facts<'_>,
    (prepared, ways): (&'w Prepared<'w>, &Ways<'w>),
    (netns, stations): (Netns, &[Station]),
) -> Difference<'w> {
    if ways.lacks {
        return Difference::Unknown(Untold::Elsewhere);
    }
    let all: Vec<&Step<'w>> = match ways.all.is_empty() {
        // That of a question that came nowhere.
        true => ends(&ways.request),
        false => ways.all.iter().flat_map(ends).collect(),
    };
    let untold = |step: &&&Step<'w>| matches!(step.does, Does::Unknown(_));
    if let Some(step) = all.iter().find(untold) {
        return Difference::Unknown(Untold::At(Box::new((*step).clone())));
    }
    let goes_on = |step: &&Step<'w>| matches!(step.does, Does::Delivers | Does::Leaves { .. });
    let passes = !ways.all.is_empty() && all.iter().any(goes_on);
    // It left for a namespace that nobody read, and died there.
    if passes && !prepared.world.stacks.contains_key(&netns) {
        return Difference::NotModelled;
    }
    let spent = |at: &&Station| passes && spent(facts, netns, **at) > 0;
    match stations.iter().find(spent) {
        Some(at) => Difference::Spent(*at),
        None => Difference::Otherwise(all.into_iter().cloned().collect()),
    }
}

/// Whether no walk can be held against it.
fn is_beyond(facts: &Facts<'_>, loss: &Loss, stations: &[Station]) -> bool {
    let flow = loss.flow();
    // Nor of an error what it is about.
    let icmp = [ICMP, ICMP6].contains(&flow.protocol) && flow.source_port == 0;
    let error = icmp && stations == [Station::Hook];
    // What a tunnel's packet carries is not known of one that came in.
    let in_tunnel = stations == [Station::Encap] && facts.journeys().get(flow).is_none();
    stations.iter().all(|at| LATER.contains(at)) || error || in_tunnel
}

/// Whether it may be one of this node's own that a hook led elsewhere, and that no way takes as it is now: the hook drops it
/// (`ip_route_me_harder`).
pub fn is_rerouted(facts: &Facts<'_>, loss: &Loss) -> bool {
    let (source, _) = ends_of_flow(loss.flow());
    let own = facts.owns(source) || source.is_loopback();
    own && loss.reason == "NETFILTER_DROP" && loss.is_beside("nf_hook_slow")
}

/// The namespace in which it was dropped.
pub fn died_in(facts: &Facts<'_>, loss: &Loss) -> Netns {
    match loss.key.netns {
        0 => facts.node.netns,
        netns => netns,
    }
}

/// Whether a way ends there. Which sockets there are nobody read: it has to come that far.
fn stops(step: &Step<'_>, netns: Netns) -> bool {
    let refuses = matches!(step.does, Does::Refuses(_));
    let ends = match step.station {
        Station::Socket => refuses || matches!(step.does, Does::Delivers),
        _ => refuses && has_counted(step),
    };
    ends && step.netns == netns
}

/// Of a rule that counts: whether it did.
fn has_counted(step: &Step<'_>) -> bool {
    match step.by {
        Some(Subject::Filter(filter)) => filter.rule.and_then(Rule::packets) != Some(0),
        _ => true,
    }
}
