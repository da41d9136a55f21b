use netdiag_common::hop::{FlowHop, PLAIN};

use super::*;
use crate::{
    model::{node::Node, observation::Observation},
    testing::{OVERLAY, POD, at, ip, overlay_node, tcp, with_facts},
};

/// A pod asks another node's six times in seven seconds; what the tunnel takes comes back by it, or does not.
fn judged(vtep: &str, back: bool) -> Vec<Finding> {
    let mut node: Node = overlay_node(1450, 1450, 1500);
    node.fdb[0].vtep = ip(vtep);
    let flow = tcp("172.20.1.5", "172.20.2.9", 80);
    let asked = |first: u64| {
        move |h: &mut FlowHop| (h.first, h.last, h.syns, h.flags) = (first, 7_000_000_000, 6, 0)
    };
    let mut flows = vec![
        at(flow, POD, false, PLAIN, asked(1)),
        at(flow, OVERLAY, true, PLAIN, asked(2)),
    ];
    flows.extend(back.then(|| at(flow, OVERLAY, false, PLAIN, asked(3))));
    let seen = Observation {
        now: 9_000_000_000,
        flows,
        ..Observation::default()
    };
    with_facts(&node, &seen, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn an_end_that_is_this_very_node_sends_it_back() {
    let found = judged("192.0.2.1", true);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let told = "vxlan.calico sends what is for 02:00:00:00:00:02 to 192.0.2.1, which is an address of this very node";
    assert!(one.summary.starts_with(told), "{}", one.summary);
    let address = ip("192.0.2.1");
    assert_eq!(one.subject, Some(Subject::Vtep { address }));
    assert!(judged("192.0.2.1", false).is_empty(), "nothing came back");
    assert!(judged("192.0.2.2", true).is_empty(), "another node's");
}
