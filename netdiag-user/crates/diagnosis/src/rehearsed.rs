//! What a recorded node that is stood up again has to show: its conversations, which of them lived, and who answered
//! beyond it.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_common::{flow::FlowKey, hop};

use crate::{
    model::{
        flow::{self, TCP, UDP},
        roles::Role,
    },
    pipeline::{facts::Facts, tried::End},
    shared::asked::asked,
};

/// Those of one client with one port of a server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// One of them, as it was asked for: whoever translated it.
    pub flow: FlowKey,
    pub fate: Fate,
    /// As computed it gets through, as far as what was read tells; nothing where that cannot be told.
    pub arrives: Option<bool>,
}

/// What became of them: where something came back, and none of it was lost, one lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lived,
    Died,
    /// Some of each.
    Both,
}

/// So many of them at most.
pub fn conversations(facts: &Facts<'_>, most: usize) -> Vec<Conversation> {
    let mut alike: BTreeMap<FlowKey, Conversation> = BTreeMap::new();
    for (flow, asked) in asked(facts, |_| true, usize::MAX) {
        let key = FlowKey {
            source_port: 0,
            // An echo's identifier is no port.
            destination_port: match flow.protocol {
                TCP | UDP => flow.destination_port,
                _ => 0,
            },
            ..flow
        };
        if alike.len() >= most && !alike.contains_key(&key) {
            continue;
        }
        let fate = fate(facts, &flow);
        let end = || facts.end_in(facts.prepared(), (&flow, asked.largest));
        let known = alike.entry(key).or_insert_with(|| Conversation {
            flow,
            fate,
            arrives: arrives(end().as_ref()),
        });
        if known.fate != fate {
            known.fate = Fate::Both;
        }
    }
    alike.into_values().collect()
}

fn fate(facts: &Facts<'_>, flow: &FlowKey) -> Fate {
    let both = [*flow, flow.reversed()];
    let mut losses = facts.losses.iter().filter(|loss| !loss.harmless);
    let lost = losses.any(|loss| both.contains(loss.flow()));
    let taken = flow.protocol != TCP || acknowledged(facts, flow);
    match facts.is_answered(flow) && taken && !lost {
        true => Fate::Lived,
        false => Fate::Died,
    }
}

/// Whoever asked took the answer: one that comes from another address is reset.
fn acknowledged(facts: &Facts<'_>, flow: &FlowKey) -> bool {
    let journey = facts.journeys().get(flow);
    let mut hops = journey.into_iter().flat_map(|journey| journey.hops.iter());
    hops.any(|hop| hop.hop.flags & hop::ACK != 0)
}

/// By which device of the node's it came, where it is not this node's own: a tunnel's before what carries that.
fn came(facts: &Facts<'_>, flow: &FlowKey) -> Option<u32> {
    let journey = facts.journeys().get(flow)?;
    let mut hops = journey.hops.iter().filter(|hop| !hop.egress());
    let tunnel = hops.clone().find(|hop| hop.role == Some(Role::Tunnel));
    tunnel.or_else(|| hops.next()).map(|hop| hop.key.ifindex)
}

fn arrives(end: Option<&End<'_>>) -> Option<bool> {
    match end? {
        End::Arrives { .. } => Some(true),
        End::Stops { .. } => Some(false),
        End::Untold(_) => None,
    }
}

/// Who answered beyond the node, and whom.
#[derive(Default)]
pub struct Beyond {
    pub answers: BTreeSet<IpAddr>,
    /// Of those who asked there by these addresses of theirs, whoever got no answer.
    pub unanswered: BTreeSet<(IpAddr, IpAddr)>,
    pub answered: BTreeSet<(IpAddr, IpAddr)>,
    /// By which device of the node's others came.
    pub came: BTreeMap<IpAddr, u32>,
}

/// The ends of conversations that nobody here has; who was silent although all of it got out answers nobody.
pub fn beyond(facts: &Facts<'_>, all: &[Conversation]) -> Beyond {
    let here = |address: &IpAddr| facts.owns(*address) || facts.pod_side_of(*address).is_some();
    let mut beyond = Beyond::default();
    for one in all {
        let translated = facts.legs().translated(&one.flow).map(|(leg, _)| leg);
        let (from, to) = flow::ends(&translated.unwrap_or(one.flow));
        let (first, _) = flow::ends(&one.flow);
        let lived = one.fate != Fate::Died;
        let left = lived || one.arrives != Some(false);
        for other in [first, from].into_iter().filter(|it| !here(it)) {
            beyond.answers.insert(other);
            let came = came(facts, &one.flow);
            beyond.came.extend(came.map(|device| (other, device)));
            if lived {
                // Who asked from there has a way back to who answered.
                beyond.answered.insert((to, other));
            }
        }
        if here(&to) {
            continue;
        }
        match (lived, left) {
            (true, _) => beyond.answered.insert((from, to)),
            (false, true) => beyond.unanswered.insert((from, to)),
            // It died here: whoever mends that finds somebody.
            (false, false) => beyond.answers.insert(to),
        };
    }
    let answered: BTreeSet<IpAddr> = beyond.answered.iter().map(|(_, to)| *to).collect();
    beyond.answers.extend(answered);
    beyond
}
