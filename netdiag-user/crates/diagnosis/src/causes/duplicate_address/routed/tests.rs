use netdiag_common::hop::{FlowHop, PLAIN};

use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        observation::Observation,
    },
    testing::{POD, at, link, overlay_node, tcp, with_facts},
};

const OTHER: u32 = 77;
const OTHER_NETNS: u32 = 4_026_999_777;

/// A second pod with the address of the first, to which the node's route does not lead.
fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let second = link(OTHER, "cali2", LinkKind::Veth, 1450).with_peer(OTHER_NETNS);
    node.links.push(second);
    let mut side = node.pod_sides[0].clone();
    side.netns = OTHER_NETNS;
    node.pod_sides.push(side);
    node
}

fn told(node: &Node, by: u32) -> Vec<Finding> {
    let asks = |h: &mut FlowHop| (h.first, h.last, h.packets) = (1, 5_000_000_000, 9);
    let flow = tcp("172.20.1.5", "172.20.2.9", 443);
    let seen = Observation {
        now: 6_000_000_000,
        flows: vec![at(flow, by, false, PLAIN, asks)],
        ..Observation::default()
    };
    with_facts(node, &seen, evaluate)
}

#[test]
fn the_one_that_sends_and_the_one_that_gets_are_named() {
    let found = told(&node(), OTHER);
    assert_eq!(found.len(), 1);
    let summary = &found[0].summary;
    assert!(
        summary.contains("the one behind cali2 sends with it (9 packets)"),
        "{summary}"
    );
    assert!(summary.ends_with("to the one behind cali1"), "{summary}");
}

#[test]
fn who_is_led_to_may_send() {
    assert!(told(&node(), POD).is_empty(), "the other one says nothing");
    assert!(told(&overlay_node(1450, 1450, 1500), POD).is_empty());
}
