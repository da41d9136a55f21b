use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, FlowHop, PLAIN, RST, SYN},
};

use super::*;
use crate::{
    model::{
        gather::{Piece, Want},
        node::{LinkKind, Node},
        observation::Observation,
    },
    testing::{NETNS, POD, at, from_pod, ip, link, listener, overlay_node, tcp, with_gathered},
};

const SECOND: u64 = 1_000_000_000;
const VIP: &str = "198.51.100.12";

fn node(holder: LinkKind) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links
        .push(link(90, "x0", holder, 1500).with_address("198.51.100.12/32"));
    node
}

fn told(node: &Node, served: bool) -> Option<String> {
    asked(node, served, 6, |facts| Some(evaluate(facts)?.summary))
}

/// A pod asks so often, once a second, and is refused by the node.
fn asked<T>(
    node: &Node,
    served: bool,
    tries: u16,
    judge: impl FnOnce(&Facts<'_>) -> Option<T>,
) -> Option<T> {
    let mut seen = Observation {
        now: 60 * SECOND,
        ..Observation::default()
    };
    for n in 0..tries {
        let flow = FlowKey {
            source_port: 50_000 + n,
            ..tcp("172.20.1.5", VIP, 80)
        };
        let time = SECOND * u64::from(n + 1);
        let note = |flags: u32, time| {
            move |hop: &mut FlowHop| {
                (hop.first, hop.last, hop.flags) = (time, time, flags);
                hop.syns = u32::from(flags == SYN);
            }
        };
        seen.flows.push(from_pod(flow, note(SYN, time)));
        let back = note(RST | ACK, time + 1);
        seen.flows.push(at(flow.reversed(), POD, true, PLAIN, back));
    }
    let sockets = served.then(|| listener("0.0.0.0", 80));
    let piece = Piece::Listeners(sockets.into_iter().collect());
    let known = [(Want::Listeners(NETNS), Ok(piece))];
    with_gathered(node, &seen, known, judge)
}

#[test]
fn an_address_that_was_left_on_lo_is_told_with_its_link() {
    assert_eq!(
        told(&node(LinkKind::Loopback), false).as_deref(),
        Some(
            "nothing on this node listens on port 80 of 198.51.100.12, its own address on x0: 6 connections refused"
        )
    );
    assert!(told(&node(LinkKind::Other("dummy".into())), false).is_some());
    assert_eq!(told(&node(LinkKind::Loopback), true), None, "served");
}

#[test]
fn a_port_of_a_nic_that_is_tried_for_long_is_known_to_be_closed() {
    let told = |tries| {
        asked(&node(LinkKind::Physical), false, tries, |facts| {
            Some(closed(facts)?.severity)
        })
    };
    assert_eq!(told(6), None);
    assert_eq!(told(12), Some(Severity::Info));
}

#[test]
fn a_closed_port_of_a_nic_and_a_pods_own_address_are_other_matters() {
    assert_eq!(told(&node(LinkKind::Physical), false), None);
    let mut twice = node(LinkKind::Loopback);
    twice.pod_sides[0].addresses.push(ip(VIP));
    assert_eq!(told(&twice, false), None);
}
