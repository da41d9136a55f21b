use netdiag_common::hop::{FlowHop, FlowHopKey, PLAIN};

use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        observation::Observation,
    },
    testing::{POD, UPLINK, at, link, overlay_node, route, tcp, with_facts},
};

const SECOND: u32 = 9;
const SERVER: &str = "203.0.113.77";

type Hop = (FlowHopKey, FlowHop);

/// The pod asks that server six times in seven seconds, by that link; with an answer or without one.
fn asks(server: &str, by: u32, answered: bool) -> Vec<Hop> {
    let flow = tcp("172.20.1.5", server, 443);
    let asked = |h: &mut FlowHop| (h.first, h.last, h.syns) = (1, 7_000_000_000, 6);
    let mut hops = vec![
        at(flow, POD, false, PLAIN, asked),
        at(flow, by, true, PLAIN, asked),
    ];
    if answered {
        let back = |h: &mut FlowHop| (h.first, h.last) = (2, 7_000_000_001);
        hops.push(at(flow.reversed(), by, false, PLAIN, back));
        hops.push(at(flow.reversed(), POD, true, PLAIN, back));
    }
    hops
}

fn judged(node: &Node, flows: Vec<Vec<Hop>>) -> Vec<Finding> {
    let seen = Observation {
        now: 9_000_000_000,
        flows: flows.concat(),
        ..Observation::default()
    };
    with_facts(node, &seen, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

/// A default route of the uplink's, and a second link with a route of its own.
fn node(to: &str, router: Option<&str>, metric: u32) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let kind = match router {
        Some(_) => LinkKind::Physical,
        None => LinkKind::Other("tun".into()),
    };
    let mut second = link(SECOND, "stor0", kind, 1500);
    second.ethernet = router.is_some();
    node.links.push(second);
    let mut first = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    first.metric = 200;
    let mut other = route(to, SECOND, router);
    other.metric = metric;
    node.routes.extend([first, other]);
    node
}

#[test]
fn a_default_route_by_which_nobody_answers_is_told_with_the_one_behind_it() {
    let beside = asks("192.0.2.80", UPLINK, true);
    let asked = vec![asks(SERVER, SECOND, false), beside.clone()];
    let two = node("0.0.0.0/0", Some("198.51.100.1"), 100);
    let found = judged(&two, asked);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let told = "as the route default via 198.51.100.1 dev stor0 metric 100 says, where nobody answers anybody: 6 times; without it, it would go by default via 192.0.2.254 dev ens5 metric 200";
    assert!(one.summary.contains(told), "{}", one.summary);
    let lone = vec![asks(SERVER, SECOND, false)];
    assert!(
        judged(&two, lone).is_empty(),
        "the other one is good for nothing"
    );
    let answered = vec![
        beside,
        asks(SERVER, SECOND, false),
        asks("203.0.113.9", SECOND, true),
    ];
    let node = node("0.0.0.0/0", Some("198.51.100.1"), 100);
    assert!(judged(&node, answered).is_empty(), "somebody answers there");
}

#[test]
fn a_network_that_a_program_takes_is_told_where_the_wider_route_works() {
    let node = node("203.0.112.0/20", None, 0);
    let taken = asks(SERVER, SECOND, false);
    let works = asks("198.51.100.80", UPLINK, true);
    let found = judged(&node, vec![taken.clone(), works]);
    assert_eq!(found.len(), 1, "{found:?}");
    let told = "as the route 203.0.112.0/20 dev stor0 says";
    assert!(found[0].summary.contains(told), "{}", found[0].summary);
    assert!(
        judged(&node, vec![taken]).is_empty(),
        "nothing is known of the other"
    );
}

#[test]
fn the_only_way_hides_none() {
    let mut node = node("0.0.0.0/0", Some("198.51.100.1"), 100);
    node.routes.retain(|r| r.metric != 200);
    assert!(judged(&node, vec![asks(SERVER, SECOND, false)]).is_empty());
}
