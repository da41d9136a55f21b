//! Flows that something is wrong with: dropped, refused, unanswered, retransmitted.
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use netdiag_common::{flow::FlowKey, hop::FlowHop};

use crate::{
    model::flow::UDP,
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::Facts,
    },
};

/// Why, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspicion {
    Dropped,
    Refused,
    Unanswered,
    Retransmitted,
}

impl Suspicion {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Retransmitted => "retransmitted",
        }
    }
}

/// By flow; with each of them stand its answers, and what the node's translation made of it.
pub fn suspects(facts: &Facts<'_>) -> BTreeMap<FlowKey, Suspicion> {
    let mut all = BTreeMap::new();
    for loss in facts.losses.iter().filter(|it| !it.harmless) {
        note(&mut all, loss.flow(), Suspicion::Dropped);
    }
    for attempts in facts.attempts() {
        for tried in attempts.tries.iter() {
            if let Some(why) = came_to(facts, tried) {
                note(&mut all, &tried.flow, why);
            }
        }
    }
    for hop in facts.flows.iter().filter(|it| is_lossy(&it.hop)) {
        note(&mut all, hop.flow(), Suspicion::Retransmitted);
    }
    with_legs(facts, all)
}

/// Every network loses some: a long flow is suspicious where it is more than one in a hundred.
fn is_lossy(hop: &FlowHop) -> bool {
    let lossy = hop.retransmits > 0 && hop.retransmits.saturating_mul(100) >= hop.packets;
    lossy && (hop.retransmits >= 3 || hop.packets < 10)
}

fn came_to(facts: &Facts<'_>, tried: &Connection<'_>) -> Option<Suspicion> {
    match tried.outcome {
        Outcome::Refused => Some(Suspicion::Refused),
        // Most datagrams ask for no answer; questions do.
        Outcome::Unanswered if tried.flow.protocol == UDP => asks(facts, &tried.flow),
        Outcome::Unanswered => Some(Suspicion::Unanswered),
        Outcome::Accepted | Outcome::Pending => None,
    }
}

fn asks(facts: &Facts<'_>, flow: &FlowKey) -> Option<Suspicion> {
    let asked = |key| crate::model::dns::flow(key) == *flow;
    let asked = facts.dns.iter().any(|it| asked(&it.key));
    asked.then_some(Suspicion::Unanswered)
}

fn note(all: &mut BTreeMap<FlowKey, Suspicion>, flow: &FlowKey, why: Suspicion) {
    // What was no IP, or stands for many.
    if flow.family == 0 {
        return;
    }
    let known = all.entry(*flow).or_insert(why);
    *known = why.min(*known);
}

fn with_legs(
    facts: &Facts<'_>,
    mut all: BTreeMap<FlowKey, Suspicion>,
) -> BTreeMap<FlowKey, Suspicion> {
    let known: Vec<_> = all.iter().map(|(flow, why)| (*flow, *why)).collect();
    for (flow, why) in known {
        let pair = facts.legs().pair(&flow);
        let legs = pair.map_or([flow, flow], |(asked, sent, _)| [asked, sent]);
        for leg in legs {
            note(&mut all, &leg, why);
            note(&mut all, &leg.reversed(), why);
        }
    }
    all
}

/// A number of the conversation, the same on each node: where there is no room for all, every node
/// tells of the same ones.
pub fn number(flow: &FlowKey) -> u64 {
    let both = (*flow).min(flow.reversed());
    BuildHasherDefault::<DefaultHasher>::default().hash_one(both)
}
