use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, FlowHop, PLAIN, SYN},
};

use super::{super::leading::leading_node, *};
use crate::{
    model::observation::Observation,
    testing::{POD, UPLINK, at, tcp, with_facts},
};

const SECOND: u64 = 1_000_000_000;

/// Of sixteen connections by that many next hops some repeat their SYN.
fn found(next_hops: usize, lost: u16) -> Vec<Finding> {
    let (mut node, _) = leading_node(true);
    let default = node.routes.iter().position(|r| r.destination.length == 0);
    let default = node.routes[default.expect("a default route")].clone();
    for n in 1..next_hops {
        let mut another = default.clone();
        let gateway = format!("192.0.2.{}", 200 + n);
        another.gateway = Some(crate::testing::ip(&gateway));
        node.routes.push(another);
    }
    let mut flows = Vec::new();
    for n in 0..16 {
        let flow = FlowKey {
            source_port: 40_000 + n,
            ..tcp("172.20.1.5", "203.0.113.77", 443)
        };
        let began = u64::from(n) * SECOND;
        let asks = |h: &mut FlowHop| {
            (h.first, h.last, h.flags) = (began + 1, began + SECOND, SYN | ACK);
            h.syns = 1 + u32::from(n < lost);
        };
        let answers = |h: &mut FlowHop| {
            (h.first, h.last, h.flags) = (began + 2, began + SECOND, SYN | ACK);
        };
        flows.push(at(flow, POD, false, PLAIN, asks));
        flows.push(at(flow, UPLINK, true, PLAIN, asks));
        flows.push(at(flow.reversed(), UPLINK, false, PLAIN, answers));
    }
    let seen = Observation {
        now: 30 * SECOND,
        flows,
        ..Observation::default()
    };
    with_facts(&node, &seen, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn one_of_several_next_hops_that_sends_nothing_on_is_suspected() {
    let all = found(2, 8);
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    let told = "8 of 16 times what 172.20.1.5 asks tcp 203.0.113.77:443 is lost behind";
    assert!(one.summary.starts_with(told), "{}", one.summary);
    assert!(one.summary.contains("192.0.2.201"), "{}", one.summary);
}

#[test]
fn one_next_hop_alone_or_what_is_lost_by_chance_is_none_of_it() {
    assert!(found(1, 8).is_empty(), "a server that is busy");
    assert!(found(2, 2).is_empty(), "by chance");
    assert!(found(2, 16).is_empty(), "all of them");
}
