use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, FlowHop, PLAIN, SYN},
};

use super::*;
use crate::{
    model::observation::Observation,
    testing::{UPLINK, at, overlay_node, tcp, with_facts},
};

const FAR: &str = "203.0.113.7";

/// A connection of the node's to `FAR`: bytes of its largest segment, and how often it repeated itself.
fn connection(port: u16, largest: u32, retransmits: u64) -> Vec<(hop::FlowHopKey, FlowHop)> {
    let flow = FlowKey {
        source_port: port,
        ..tcp("192.0.2.1", FAR, 443)
    };
    let sent = |h: &mut FlowHop| {
        (h.first, h.last, h.progress) = (1, 4_000_000_000, 2);
        (h.largest, h.retransmits) = (largest, retransmits);
        (h.packets, h.payload, h.flags) = (12, u64::from(largest) * 10, SYN);
    };
    let heard = |h: &mut FlowHop| {
        (h.first, h.last, h.flags) = (1, 3, SYN | ACK);
    };
    vec![
        at(flow, UPLINK, true, PLAIN, sent),
        at(flow.reversed(), UPLINK, false, PLAIN, heard),
    ]
}

fn told(connections: &[(u32, u64)]) -> Vec<String> {
    let all = connections.iter().zip(40_000..);
    let flows = all.flat_map(|((largest, again), port)| connection(port, *largest, *again));
    let seen = Observation {
        now: 9_000_000_000,
        flows: flows.collect(),
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    with_facts(&node, &seen, |facts| {
        let found = evaluate(facts, &Symptoms::of(facts), &[]).into_iter();
        found.map(|f| f.summary).collect()
    })
}

#[test]
fn large_segments_that_nobody_acknowledges_while_small_ones_are_name_the_size() {
    let told = told(&[(1500, 4), (1500, 3), (1500, 4), (300, 0)]);
    assert_eq!(told.len(), 1);
    for word in ["1500 bytes", FAR, "3 connections"] {
        assert!(told[0].contains(word), "{}", told[0]);
    }
}

#[test]
fn where_as_large_ones_get_through_it_is_not_the_size() {
    assert_eq!(told(&[(1500, 4), (1500, 3), (1500, 4), (1500, 0)]), [""; 0]);
}

#[test]
fn two_may_have_lost_their_packets_otherwise_and_small_ones_fit_everywhere() {
    assert_eq!(told(&[(1500, 4), (1500, 3)]), [""; 0]);
    assert_eq!(told(&[(600, 4), (600, 3), (600, 4)]), [""; 0]);
}
