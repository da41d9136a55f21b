use std::sync::Arc;

use netdiag_common::hop::{FlowHop, PLAIN};

use super::*;
use crate::{
    model::{
        gather::{Piece, Want},
        node::{LOCAL, LinkKind, Node, Route, RouteKind},
        observation::Observation,
        verdict::Confidence,
        world::{Known, Stack, device::Mac, of_node, ruleset::Ruleset},
    },
    testing::{NETNS, POD, POD_NETNS, UPLINK, at, link, overlay_node, route, tcp, with_gathered},
};

const ETH0: u32 = 2;

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links[2].link = Some(ETH0);
    let on = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    node.sysctls.push(on);
    let out = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(out);
    node
}

/// That of the pod, with these routes beside the one to its gateway.
fn pod(routes: Vec<Route>) -> Node {
    let mut eth0 = link(ETH0, "eth0", LinkKind::Veth, 1450).with_address("172.20.1.5/32");
    eth0 = eth0.with_peer(NETNS);
    eth0.link = Some(POD);
    let mut own = route("172.20.1.5/32", ETH0, None);
    (own.table, own.kind) = (LOCAL, RouteKind::Local);
    Node {
        netns: POD_NETNS,
        links: vec![
            link(1, "lo", LinkKind::Loopback, 65_536).with_address("127.0.0.1/8"),
            eth0,
        ],
        routes: [own, route("169.254.1.1/32", ETH0, None)]
            .into_iter()
            .chain(routes)
            .collect(),
        ..Node::default()
    }
}

fn state(node: &Node) -> Stack {
    let mut stack = of_node::stack(node);
    stack.ruleset = Known::Is(Arc::new(Ruleset::default()));
    if let Known::Is(devices) = &mut stack.devices {
        for (index, device) in devices {
            let last = u8::try_from(*index).expect("a small number");
            device.mac = Some(Mac([2, 0, 0, 0, node.netns as u8, last]));
        }
    }
    stack
}

/// Somebody outside asks the pod four times in seven seconds.
fn judged(routes: Vec<Route>) -> Vec<Finding> {
    judged_on(&node(), routes)
}

fn judged_on(node: &Node, routes: Vec<Route>) -> Vec<Finding> {
    let flow = tcp("203.0.113.77", "172.20.1.5", 8080);
    let asked = |h: &mut FlowHop| (h.first, h.last, h.syns) = (1, 7_000_000_000, 4);
    let seen = Observation {
        now: 9_000_000_000,
        flows: vec![
            at(flow, UPLINK, false, PLAIN, asked),
            at(flow, POD, true, PLAIN, asked),
        ],
        ..Observation::default()
    };
    let pod = pod(routes);
    let pieces = [(NETNS, state(node)), (POD_NETNS, state(&pod))]
        .map(|(netns, stack)| (Want::Stack(netns), Ok(Piece::Stack(Box::new(stack)))));
    with_gathered(node, &seen, pieces, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn an_answer_that_no_route_takes_is_named() {
    let found = judged(Vec::new());
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let told = "the pod 172.20.1.5 has no route to 203.0.113.77; so nothing that tcp 172.20.1.5:8080 answers";
    assert!(one.summary.starts_with(told), "{}", one.summary);
    assert_eq!(one.confidence, Confidence::Confirmed);
}

#[test]
fn a_pod_without_a_default_route_gets_that_of_others() {
    let mut node = node();
    let gateway = "169.254.1.1".parse().expect("an address");
    let near = || ("169.254.1.1/32".parse().expect("a prefix"), None);
    let mut other = node.pod_sides[0].clone();
    other.netns += 7;
    other.addresses.clear();
    other.ways = vec![
        near(),
        ("0.0.0.0/0".parse().expect("a prefix"), Some(gateway)),
    ];
    node.pod_sides.push(other);
    node.pod_sides[0].ways = vec![near()];
    let found = judged_on(&node, Vec::new());
    let told = "the pod 172.20.1.5 has no default route; so nothing";
    assert!(found[0].summary.starts_with(told), "{found:?}");
    let add = "ip netns exec cni-1 ip route add default via 169.254.1.1";
    assert_eq!(found[0].fix.commands, [add]);
}

#[test]
fn a_route_that_refuses_the_answer_is_named() {
    let mut hole = route("203.0.113.0/24", ETH0, None);
    (hole.kind, hole.oif) = (RouteKind::Refusing, None);
    let way = route("0.0.0.0/0", ETH0, Some("169.254.1.1"));
    let found = judged(vec![way, hole]);
    assert!(found[0].summary.contains("203.0.113.0/24"), "{found:?}");
}

#[test]
fn where_the_answer_has_a_way_nothing_is_told() {
    let found = judged(vec![route("0.0.0.0/0", ETH0, Some("169.254.1.1"))]);
    assert!(found.is_empty(), "{found:?}");
}
