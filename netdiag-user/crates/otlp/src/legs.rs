//! `netdiag.leg`: each hop of a suspicious flow, with what it counted within the interval.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::{
    flow::FlowKey,
    hop::{IPIP, VXLAN},
};
use opentelemetry::logs::Severity;

use crate::{
    model::{
        flow,
        verdict::{PodRef, PodRole},
    },
    pipeline::facts::{Facts, HopFlow, OuterPair},
    record::{Record, pod_name},
    suspects::{Suspicion, number, suspects},
};

/// Conversations of an interval that are told of, and hops of all of them.
const FLOWS: usize = 100;
const LEGS: usize = 500;

#[derive(Debug, Default)]
pub struct Legs {
    pub records: Vec<Record>,
    /// Hops of suspicious flows that there was no room for.
    pub rest: u64,
    /// Outer addresses of those that were told of, as sent.
    pub outers: Vec<(IpAddr, IpAddr)>,
}

impl Legs {
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut legs = Self::default();
        let suspects = suspects(facts);
        let mut flows: Vec<_> = suspects.iter().collect();
        flows.sort_unstable_by_key(|(flow, why)| (**why, number(flow)));
        let mut told: BTreeSet<u64> = BTreeSet::new();
        for (flow, why) in flows {
            let Some(journey) = facts.journeys().get(flow) else {
                continue;
            };
            let known = told.contains(&number(flow));
            let room = known || told.len() < FLOWS;
            if !room || legs.records.len() + journey.hops.len() > LEGS {
                legs.rest += journey.hops.len() as u64;
                continue;
            }
            told.insert(number(flow));
            for (at, hop) in journey.hops.iter().enumerate() {
                legs.add(facts, hop, *why, at);
            }
        }
        legs
    }

    fn add(&mut self, facts: &Facts<'_>, hop: &HopFlow, why: Suspicion, at: usize) {
        let outer = outer(facts, hop);
        if let Some(outer) = outer {
            self.outers.push((outer.source, outer.destination));
        }
        self.records.push(record(facts, hop, why, at, outer));
    }
}

/// The pair that carries the flow: the one whose latest inner flow it is, else one between the same
/// inner ends, else the only one there is.
fn outer<'a>(facts: &Facts<'a>, hop: &HopFlow) -> Option<&'a OuterPair> {
    let own = |pair: &&OuterPair| {
        (pair.key.ifindex, pair.key.direction, pair.key.carried)
            == (hop.key.ifindex, hop.key.direction, hop.key.carried)
    };
    let (from, to) = flow::ends(hop.flow());
    let near = |pair: &OuterPair| {
        let (source, destination) = flow::ends(&pair.outer.inner);
        match (
            pair.outer.inner == *hop.flow(),
            source == from,
            destination == to,
        ) {
            (true, _, _) => 3,
            (_, true, true) => 2,
            // Behind one outer address are all pods of a node.
            (_, far, _) if !hop.egress() && far => 1,
            (_, _, far) if hop.egress() && far => 1,
            _ => 0,
        }
    };
    let all: Vec<_> = facts.outers.iter().filter(own).collect();
    match &all[..] {
        [one] => Some(one),
        _ => {
            let best = all.into_iter().max_by_key(|pair| near(pair))?;
            (near(best) > 0).then_some(best)
        }
    }
}

fn record(
    facts: &Facts<'_>,
    hop: &HopFlow,
    why: Suspicion,
    at: usize,
    outer: Option<&OuterPair>,
) -> Record {
    let counts = &hop.hop;
    let role = hop.role.map_or("node", |role| role.name());
    let (direction, interface) = (hop.direction(), &hop.interface);
    let body = format!(
        "{} packets at {interface} {direction}: {}",
        counts.packets,
        why.name()
    );
    let time = facts.clock.time(counts.last);
    let (from, to) = flow::ends(hop.flow());
    let record = Record::new("netdiag.leg", Severity::Info, time, body)
        .text("netdiag.suspicion", why.name())
        .number("netdiag.step", at as u64)
        .text("netdiag.hop", role)
        .text("netdiag.direction", direction)
        .text("network.interface.name", interface)
        .number("netdiag.packets", counts.packets)
        .number("netdiag.bytes", counts.bytes)
        .number("netdiag.retransmits", counts.retransmits)
        .number("netdiag.largest", u64::from(counts.largest))
        .time_of("netdiag.first", facts.clock.time(counts.first))
        .text("netdiag.carried", carried(hop.key.carried))
        .text(
            "netdiag.source.pod",
            &name(facts.pod(from, PodRole::Source)),
        )
        .text(
            "netdiag.destination.pod",
            &name(facts.pod(to, PodRole::Destination)),
        );
    let record = ends(record, hop.flow());
    match outer {
        Some(outer) => carrier(record, outer),
        None => record,
    }
}

fn name(pod: Option<PodRef>) -> String {
    let named = pod.filter(|pod| pod.name.is_some());
    named.as_ref().and_then(pod_name).unwrap_or_default()
}

const fn carried(carried: u8) -> &'static str {
    match carried {
        VXLAN => "vxlan",
        IPIP => "ipip",
        _ => "",
    }
}

fn carrier(record: Record, outer: &OuterPair) -> Record {
    let record = record
        .whole("netdiag.outer.source", outer.source.to_string())
        .whole("netdiag.outer.destination", outer.destination.to_string());
    match outer.key.carried {
        VXLAN => record
            .number("netdiag.outer.port", u64::from(outer.key.port))
            .number("netdiag.vni", u64::from(outer.key.vni)),
        _ => record,
    }
}

/// A flow by the names of the semantic conventions.
pub fn ends(record: Record, flow: &FlowKey) -> Record {
    if flow.family == 0 {
        return record;
    }
    let (from, to) = flow::ends(flow);
    let record = record
        .whole("network.transport", flow::protocol(flow.protocol))
        .whole("source.address", from.to_string())
        .whole("destination.address", to.to_string());
    match flow.protocol {
        flow::TCP | flow::UDP => record
            .number("source.port", u64::from(flow.source_port))
            .number("destination.port", u64::from(flow.destination_port)),
        _ => record,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{Outer, OuterKey, PLAIN};

    use super::*;
    use crate::{
        model::{address::to_wire, observation::Observation},
        pipeline::testing::{
            NETFILTER_DROP, POD, UPLINK, at, from_pod, ip, lost, overlay_node, tcp, with_facts,
        },
    };

    fn text(record: &Record, key: &str) -> String {
        let mut found = record.attributes.iter();
        let found = found.find(|(known, _)| *known == key);
        found.map_or_else(String::new, |(_, value)| format!("{value:?}"))
    }

    #[test]
    fn a_dropped_flow_has_each_hop_with_its_carrier_and_a_good_one_none() {
        let node = overlay_node(1450, 1450, 1500);
        let (bad, good) = (
            tcp("10.244.1.7", "10.244.2.9", 80),
            tcp("10.244.1.7", "10.244.2.9", 81),
        );
        let key = OuterKey {
            source: to_wire(ip("192.0.2.1")),
            destination: to_wire(ip("192.0.2.2")),
            ifindex: UPLINK,
            vni: 7,
            port: 8472,
            direction: netdiag_common::hop::EGRESS,
            carried: VXLAN,
            ..OuterKey::default()
        };
        let outer = Outer {
            packets: 20,
            inner: good,
            ..Outer::default()
        };
        let reading = Observation {
            now: 3_000_000_000,
            flows: vec![
                from_pod(bad, |_| ()),
                at(bad, UPLINK, true, VXLAN, |hop| hop.first = 2),
                from_pod(good, |_| ()),
                at(good.reversed(), POD, true, PLAIN, |_| ()),
            ],
            outers: vec![(key, outer)],
            drops: vec![lost(bad, NETFILTER_DROP, UPLINK, 2, 2)],
            ..Observation::default()
        };
        let legs = with_facts(&node, &reading, Legs::of);
        let hops: Vec<_> = legs
            .records
            .iter()
            .map(|it| text(it, "netdiag.hop"))
            .collect();
        assert_eq!(legs.records.len(), 2, "{hops:?}");
        assert!(
            hops[0].contains("pod") && hops[1].contains("uplink"),
            "{hops:?}"
        );
        assert!(text(&legs.records[1], "netdiag.outer.destination").contains("192.0.2.2"));
        assert!(text(&legs.records[1], "netdiag.vni").contains('7'));
        assert_eq!(legs.outers, [(ip("192.0.2.1"), ip("192.0.2.2"))]);
        assert_eq!(legs.rest, 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let node = overlay_node(1450, 1450, 1500);
        let flow = |n: u16| tcp("10.244.1.7", "10.244.2.9", n);
        let all = 1..=(FLOWS as u16 + 7);
        let reading = Observation {
            now: 3_000_000_000,
            flows: all.clone().map(|n| from_pod(flow(n), |_| ())).collect(),
            drops: all
                .map(|n| lost(flow(n), NETFILTER_DROP, UPLINK, 2, 2))
                .collect(),
            ..Observation::default()
        };
        let legs = with_facts(&node, &reading, Legs::of);
        assert_eq!((legs.records.len(), legs.rest), (FLOWS, 7));
    }
}
