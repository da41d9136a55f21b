use std::sync::Arc;

use super::*;
use crate::{
    model::{
        gather::Piece,
        node::{LOCAL, LinkKind, Node, RouteKind},
        observation::Observation,
        verdict::Subject,
        world::{Known, Stack, device::Mac, of_node, ruleset::Ruleset},
    },
    pipeline::agreement::Feature,
    testing::{
        NETNS, POD, died, from_pod, ip, link, overlay_node, route, tcp, with_doubts, with_open,
    },
};

const CLIENT: &str = "172.20.1.5";
const SERVER: &str = "172.20.2.9";

/// With that pod's address on its loopback, too.
fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let lo = link(1, "lo", LinkKind::Loopback, 65_536).with_address("127.0.0.1/8");
    node.links.push(lo.with_address("172.20.1.5/32"));
    let mut local = route("172.20.1.5/32", 1, None);
    (local.table, local.kind) = (LOCAL, RouteKind::Local);
    node.routes.push(local);
    forwarding(node)
}

fn forwarding(mut node: Node) -> Node {
    let on = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    node.sysctls.push(on);
    node
}

fn state(node: &Node) -> Stack {
    let mut stack = of_node::stack(node);
    stack.ruleset = Known::Is(Arc::new(Ruleset::default()));
    if let Known::Is(devices) = &mut stack.devices {
        devices.get_mut(&POD).expect("the pod's link").mac = Some(Mac([2, 0, 0, 0, 0, 1]));
    }
    stack
}

/// Packets of the pod's that die there, for so long.
fn seen(place: (&str, &str), seconds: u64) -> Observation {
    let flow = tcp(CLIENT, SERVER, 443);
    let mut lost = died(flow, place, POD, 5);
    lost.1.tcp_flags = 2;
    lost.1.last = lost.1.first + seconds * 1_000_000_000;
    Observation {
        now: lost.1.last + 1,
        drops: vec![lost],
        flows: vec![from_pod(flow, |_| ())],
        ..Observation::default()
    }
}

const FORGED: (&str, &str) = ("IP_LOCAL_SOURCE", "ip_rcv_finish_core");

fn judged(node: &Node, seen: &Observation, doubts: &[Feature]) -> Vec<Finding> {
    let piece = Ok(Piece::Stack(Box::new(state(node))));
    with_doubts(node, seen, [(Want::Stack(NETNS), piece)], doubts, |facts| {
        let mut all = Vec::new();
        evaluate(facts, &Symptoms::of(facts), &mut all);
        all
    })
}

#[test]
fn a_pods_address_on_the_node_is_named_with_what_takes_it_away() {
    let found = judged(&node(), &seen(FORGED, 3), &[]);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let address = ip(CLIENT);
    assert_eq!(one.subject, Some(Subject::Address { address }));
    assert_eq!(one.fix.commands, ["ip address del 172.20.1.5/32 dev lo"]);
    assert!(one.summary.contains("on lo"), "{}", one.summary);
}

#[test]
fn what_dies_elsewhere_or_is_over_at_once_is_not() {
    let none = |seen: &Observation| judged(&node(), seen, &[]).is_empty();
    assert!(none(&seen(FORGED, 1)), "a second");
    assert!(none(&seen(("NOT_SPECIFIED", "ip_error"), 3)), "a route");
    let usual = forwarding(overlay_node(1450, 1450, 1500));
    let elsewhere = judged(&usual, &seen(FORGED, 3), &[]);
    assert!(elsewhere.is_empty(), "the state says that it passes");
}

#[test]
fn what_others_pass_is_not_believed() {
    let (node, seen) = (node(), seen(FORGED, 3));
    let piece = Ok(Piece::Stack(Box::new(state(&node))));
    let pieces = [(Want::Stack(NETNS), piece)];
    let feature = with_doubts(&node, &seen, pieces, &[], |facts| {
        let step = facts.dead_end(&facts.losses[0]).expect("a step");
        Feature::of(facts.prepared().world, &step)
    });
    assert!(judged(&node, &seen, &[feature]).is_empty());
}

#[test]
fn what_another_finding_explains_is_left_to_it() {
    let node = node();
    let piece = Ok(Piece::Stack(Box::new(state(&node))));
    let (seen, pieces) = (seen(FORGED, 3), [(Want::Stack(NETNS), piece)]);
    let found = with_doubts(&node, &seen, pieces, &[], |facts| {
        let mut named = Vec::new();
        evaluate(facts, &Symptoms::of(facts), &mut named);
        named[0].cause = "rp-filter-drop".into();
        evaluate(facts, &Symptoms::of(facts), &mut named);
        named.len()
    });
    assert_eq!(found, 1);
}

#[test]
fn without_the_state_it_is_asked_for() {
    let (node, seen) = (node(), seen(FORGED, 3));
    let open = [Want::Stack(NETNS)];
    let asked = with_open(&node, &seen, [], &open, |facts| {
        needs(facts, &Symptoms::of(facts), &[])
    });
    let wants: Vec<_> = asked.iter().filter_map(|need| need.query.want()).collect();
    assert_eq!(wants, [&Want::Stack(NETNS)]);
    assert_eq!(asked[0].sufferers.len(), 1);
}
