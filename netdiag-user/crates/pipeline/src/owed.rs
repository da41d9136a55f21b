//! What the rules make of a conversation's first packet: whoever goes another way than that is known to connection tracking
//! by an older entry, or not at all any more.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    connection::Tracked,
    packet::Packet,
    way::{Does, Step, Walk},
};

use super::{
    conversation::{Conversation, ends, ends_of, may_be_marked, ways},
    facts::Facts,
    taker::{Taker, taker},
};
use crate::model::{flow, gather::Whom, netfilter::Chain, world::Netns};

/// A translation, and the namespace whose rules make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translates {
    pub netns: Netns,
    /// To somebody else than it was sent to; else in another's name alone.
    pub destination: bool,
}

/// Why what leaves has its own source still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// A rule that asks for whom it is for keeps it from those that translate.
    By(Taker, Whom),
    /// It is of no connection; the rule that sees to that, where there is one alone.
    Untracked(Option<(Chain, u64)>),
    /// No rule translates it.
    Nobody,
}

impl Facts<'_> {
    /// Where the rules lead a flow's first packet, as all its ways come to their ends; nothing where one is not known.
    pub fn led_to(&self, sent: &FlowKey) -> Option<BTreeSet<IpAddr>> {
        let first = self.first_packet(sent)?;
        Some(ended(&first).into_iter().map(|(_, to)| to).collect())
    }

    /// Why the rules let a flow's first packet leave as it was sent, whatever they make of others; nothing where one of its
    /// ways leads elsewhere.
    pub fn stays_as_sent(&self, sent: &FlowKey) -> Option<Spared> {
        let same = |step: &&Step<'_>| {
            let leaves = matches!(step.does, Does::Leaves { .. });
            leaves && now(&step.packet) == flow::ends(sent)
        };
        let first = self.first_packet(sent)?;
        let ended = ends(&first);
        if !ended.iter().all(same) {
            return None;
        }
        let netns = self.node.netns;
        let untracked = |step: &&Step<'_>| step.packet.tracked == Tracked::Untracked;
        if ended.iter().all(untracked) {
            return Some(Spared::Untracked(self.untracking(netns)));
        }
        let here = first.spared.iter().rev().filter(|(at, _)| *at == netns);
        // One that goes by marks and states is no exception for somebody.
        let mut by = here.filter_map(|(_, filter)| {
            Some(Spared::By(
                taker(*filter, false),
                filter.asks().destinations?,
            ))
        });
        Some(by.next().unwrap_or(Spared::Nobody))
    }

    /// The translation of a flow's first packet, where each of its ways has one and the flow itself is as it was sent.
    pub fn translates(&self, sent: &FlowKey) -> Option<Translates> {
        let first = self.first_packet(sent)?;
        let ended = ended(&first);
        let (source, to) = flow::ends(sent);
        let destination = ended.iter().all(|now| now.1 != to);
        let changed = destination || ended.iter().all(|now| now.0 != source);
        let netns = first_changed(&first, (source, to))?;
        changed.then_some(Translates { netns, destination })
    }

    /// Its way, as far as each of its ends is known.
    fn first_packet(&self, sent: &FlowKey) -> Option<Walk<'_>> {
        let prepared = self.prepared();
        let conversation = Conversation {
            first: *sent,
            answer: false,
        };
        let request = ways(self, prepared, (conversation, 0))?.request;
        let is_known = |step: &&Step<'_>| !matches!(step.does, Does::Unknown(_));
        let ended = ends(&request);
        let known = !ended.is_empty() && ended.iter().all(is_known);
        (known && !may_be_marked(prepared.world, &request)).then_some(request)
    }
}

/// Source and destination at each of its ends. What a tunnel carries keeps its own: no rule gave it the tunnel's.
fn ended(walk: &Walk<'_>) -> Vec<(IpAddr, IpAddr)> {
    let each = ends_of(walk).into_iter();
    each.map(|(branch, step)| now(branch.innermost(&step.packet)))
        .collect()
}

fn now(packet: &Packet) -> (IpAddr, IpAddr) {
    (packet.source, packet.destination)
}

/// Where it was another's first.
fn first_changed(walk: &Walk<'_>, sent: (IpAddr, IpAddr)) -> Option<Netns> {
    walk.steps.iter().find_map(|step| match &step.does {
        Does::Chooses(branches) => branches
            .iter()
            .find_map(|(_, branch)| first_changed(branch, sent)),
        Does::Copies(copies) => copies.iter().find_map(|copy| first_changed(copy, sent)),
        _ => (now(walk.innermost(&step.packet)) != sent).then_some(step.netns),
    })
}
