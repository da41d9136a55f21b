//! One flow over its hops: where it came in, where it was last seen, what it lost on the way.
use std::collections::HashMap;

use netdiag_common::flow::FlowKey;

use super::facts::{Facts, HopFlow};
use crate::model::{flow, roles::Role, verdict::FlowRef};

/// A flow's counts, hop by hop, in the order in which its first packet passed.
pub struct Journey<'a> {
    pub flow: FlowKey,
    pub hops: Vec<&'a HopFlow>,
}

impl Journey<'_> {
    /// Somebody outside the node's stack sent it as it is: no translation made it.
    pub fn came_in(&self) -> bool {
        came_in(&self.hops)
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
    let outer = |role| matches!(role, Some(Role::Pod | Role::Tunnel | Role::Uplink));
    let first = hops.first();
    first.is_some_and(|h| !h.egress() && outer(h.role))
}

/// By the inner flow where one is encapsulated, so that a journey goes through the tunnel
/// without a break.
pub type Journeys<'a> = HashMap<FlowKey, Journey<'a>>;

impl<'a> Facts<'a> {
    /// Journeys of all flows.
    pub fn journeys(&self) -> &Journeys<'a> {
        self.journeys.get_or_init(|| journeys(self.flows))
    }

    /// Some of them by their first packet: the map's own order differs from run to run, and whoever
    /// takes the first that fits must take the same again.
    pub fn journeys_in_order(&self, wanted: impl Fn(&Journey<'a>) -> bool) -> Vec<&Journey<'a>> {
        let mut all: Vec<_> = self.journeys().values().filter(|j| wanted(j)).collect();
        all.sort_unstable_by_key(|j| (j.hops.first().map(|h| h.hop.first), j.flow));
        all
    }
}

fn journeys(flows: &[HopFlow]) -> Journeys<'_> {
    let mut journeys = Journeys::new();
    for hop in flows {
        let new = || Journey {
            flow: *hop.flow(),
            hops: Vec::new(),
        };
        journeys
            .entry(*hop.flow())
            .or_insert_with(new)
            .hops
            .push(hop);
    }
    for journey in journeys.values_mut() {
        journey.hops.sort_by_key(|h| h.hop.first);
    }
    journeys
}
