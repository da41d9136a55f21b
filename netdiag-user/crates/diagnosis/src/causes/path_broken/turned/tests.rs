use netdiag_common::hop::{ACK, FlowHop, FlowHopKey, PLAIN};

use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        observation::Observation,
        verdict::Confidence,
    },
    testing::{POD, UPLINK, at, ip, link, overlay_node, route, tcp, with_facts},
};

const SECOND: u32 = 9;
const CLIENT: &str = "203.0.113.77";
const POD_ADDRESS: &str = "172.20.1.5";

/// With another uplink, whose router somebody knows or nobody does, and the default route by the first.
fn node(routers: &[&str]) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let second = link(SECOND, "ens6", LinkKind::Physical, 1500).with_address("198.51.100.9/24");
    node.links.push(second);
    let known = routers.iter().map(|router| Neighbour {
        ifindex: SECOND,
        address: ip(router),
        lladdr: Some(vec![2, 0, 0, 0, 0, 9]),
        failed: false,
        permanent: false,
    });
    node.neighbours.extend(known);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    node
}

type Hop = (FlowHopKey, FlowHop);

/// A client that asks a pod by the second uplink, in a connection of that port; whether it acknowledges what it is
/// answered by the first.
fn asks(port: u16, acknowledges: bool) -> Vec<Hop> {
    let mut flow = tcp(CLIENT, POD_ADDRESS, 8080);
    flow.source_port = port;
    let asked = |h: &mut FlowHop| {
        (h.first, h.last, h.syns, h.flags) = (1, 7_000_000_000, 4, 0);
        if acknowledges {
            h.flags |= ACK;
        }
    };
    let answered = |h: &mut FlowHop| (h.first, h.last) = (2, 7_000_000_001);
    vec![
        at(flow, SECOND, false, PLAIN, asked),
        at(flow, POD, true, PLAIN, asked),
        at(flow.reversed(), POD, false, PLAIN, answered),
        at(flow.reversed(), UPLINK, true, PLAIN, answered),
    ]
}

fn judged(node: &Node, flows: Vec<Hop>) -> Option<Finding> {
    let seen = Observation {
        now: 9_000_000_000,
        flows,
        ..Observation::default()
    };
    with_facts(node, &seen, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[]).pop()
    })
}

#[test]
fn an_answer_by_another_uplink_is_led_back() {
    let found = judged(&node(&["198.51.100.1"]), asks(40_000, false)).expect("a finding");
    let told = "203.0.113.77 asks tcp 172.20.1.5:8080 by ens6, and the answers leave by ens5 (route default";
    assert!(found.summary.starts_with(told), "{}", found.summary);
    let commands = [
        "ip route add default via 198.51.100.1 dev ens6 table 100",
        "ip rule add from 172.20.1.5/32 to 203.0.113.77/32 lookup 100",
    ];
    assert_eq!(found.fix.commands, commands);
    assert_eq!(found.confidence, Confidence::Suspected);
}

#[test]
fn no_router_is_guessed() {
    let show = ["ip neighbour show dev ens6"];
    for routers in [&[][..], &["198.51.100.1", "198.51.100.2"]] {
        let found = judged(&node(routers), asks(40_000, false)).expect("a finding");
        assert_eq!(found.fix.commands, show);
    }
}

#[test]
fn where_others_get_through_so_nobody_minds() {
    let mut flows = asks(40_000, false);
    let mut others = asks(40_001, true);
    for (key, _) in &mut others {
        for address in [&mut key.flow.source, &mut key.flow.destination] {
            if *address == crate::model::address::to_wire(ip(CLIENT)) {
                *address = crate::model::address::to_wire(ip("203.0.113.78"));
            }
        }
    }
    flows.extend(others);
    assert!(judged(&node(&[]), flows).is_none());
}

#[test]
fn one_uplink_cannot_be_the_wrong_one() {
    let mut node = node(&[]);
    node.links.retain(|l| l.index != SECOND);
    assert!(judged(&node, asks(40_000, false)).is_none());
}
