//! One flow over its hops: where it came in, where it was last seen, what it lost on the way.
use std::rc::Rc;

use netdiag_common::flow::FlowKey;

use super::facts::{Facts, HopFlow};
use crate::model::{flow, hash::Map, roles::Role, verdict::FlowRef};

/// A flow's counts, hop by hop, in the order in which its first packet passed.
pub struct Journey<'a> {
    pub flow: FlowKey,
    /// Shared with the tries that it is part of.
    pub hops: Rc<[&'a HopFlow]>,
}

impl Journey<'_> {
    /// Somebody outside the node's stack sent it as it is: no translation made it.
    pub fn came_in(&self) -> bool {
        came_in(&self.hops)
    }

    /// It left the node's stack as it is: no translation made another flow of it.
    pub fn went_on(&self) -> bool {
        self.hops.iter().any(|h| h.egress() && outer(h.role))
    }

    /// Packets that came in: those of the first hop.
    pub fn packets(&self) -> u64 {
        self.hops
            .first()
            .map_or(0, |h| h.hop.packets.saturating_sub(h.hop.later_fragments))
    }

    /// Retransmits as the hop shows them that saw most of them.
    pub fn retransmits(&self) -> u64 {
        self.hops
            .iter()
            .map(|h| h.hop.retransmits)
            .max()
            .unwrap_or(0)
    }

    /// The hop that its packets reached last.
    pub fn last_seen_at(&self) -> Option<&str> {
        self.hops.last().map(|h| h.interface.as_str())
    }

    /// Retransmits without any new data between them, at the hop that counts most.
    pub fn stalled(&self) -> u32 {
        self.hops.iter().map(|h| h.hop.stalled).max().unwrap_or(0)
    }

    pub fn refer(&self) -> FlowRef {
        let (source, destination) = flow::endpoints(&self.flow);
        FlowRef {
            protocol: flow::protocol(self.flow.protocol),
            source,
            destination,
            packets: self.packets(),
            retransmits: self.retransmits(),
            last_seen_at: self.last_seen_at().map(str::to_owned),
            ..FlowRef::default()
        }
    }
}

/// The same of hops in the order in which they were passed.
pub fn came_in(hops: &[&HopFlow]) -> bool {
    let first = hops.first();
    first.is_some_and(|h| !h.egress() && outer(h.role))
}

fn outer(role: Option<Role>) -> bool {
    matches!(role, Some(Role::Pod | Role::Tunnel | Role::Uplink))
}

/// By the inner flow where one is encapsulated, so that a journey goes through the tunnel
/// without a break.
pub type Journeys<'a> = Map<FlowKey, Journey<'a>>;

impl<'a> Facts<'a> {
    /// Journeys of all flows.
    pub fn journeys(&self) -> &Journeys<'a> {
        self.journeys.get_or_init(|| journeys(self.flows))
    }

    /// Some of them by their first packet: the map's own order differs from run to run, and whoever
    /// takes the first that fits must take the same again.
    pub fn journeys_in_order(&self, wanted: impl Fn(&Journey<'a>) -> bool) -> Vec<&Journey<'a>> {
        let all = self.journeys().values().filter(|j| wanted(j));
        let mut all: Vec<_> = all
            .map(|j| (j.hops.first().map(|h| h.hop.first), j))
            .collect();
        all.sort_unstable_by(|(one, a), (other, b)| (one, &a.flow).cmp(&(other, &b.flow)));
        all.into_iter().map(|(_, journey)| journey).collect()
    }
}

fn journeys<'a>(flows: &'a [HopFlow]) -> Journeys<'a> {
    let mut numbers: Map<&FlowKey, usize> = Map::default();
    let mut hops: Vec<(usize, &HopFlow)> = Vec::with_capacity(flows.len());
    for hop in flows {
        let next = numbers.len();
        hops.push((*numbers.entry(hop.flow()).or_insert(next), hop));
    }
    // Those of one flow that came at once stay in their order.
    hops.sort_by_key(|(number, hop)| (*number, hop.hop.first));
    let same = hops.chunk_by(|(one, _), (other, _)| one == other);
    let journey = |hops: &[(usize, &'a HopFlow)]| {
        let hops: Rc<[_]> = hops.iter().map(|(_, hop)| *hop).collect();
        let flow = *hops.first()?.flow();
        Some((flow, Journey { flow, hops }))
    };
    same.filter_map(journey).collect()
}
