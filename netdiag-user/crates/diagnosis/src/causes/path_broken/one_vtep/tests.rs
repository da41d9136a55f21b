use netdiag_common::hop::{ACK, FlowHop, PLAIN, SYN, VXLAN};

use super::*;
use crate::{
    model::{node::Neighbour, observation::Observation},
    testing::{OVERLAY, UPLINK, at, from_pod, ip, overlay_node, route, tcp, with_facts},
};

const SECOND: u64 = 1_000_000_000;
const FAR: &str = "172.20.2.9";
const THIRD: &str = "172.20.3.0";

/// A third node, whose entry leads where the second one's does, or not; and whether that one's pods are heard.
fn found(alike: bool, heard: bool) -> Vec<Finding> {
    let mut node = overlay_node(1450, 1450, 1500);
    let second = route("172.20.2.0/24", OVERLAY, Some("172.20.2.0"));
    node.routes.retain(|r| r.destination != second.destination);
    node.routes.push(second);
    node.routes
        .push(route("172.20.3.0/24", OVERLAY, Some(THIRD)));
    node.neighbours.retain(|n| n.ifindex != OVERLAY);
    node.fdb.clear();
    let third = if alike { "192.0.2.2" } else { "192.0.2.3" };
    for (hop, last, vtep) in [("172.20.2.0", 2, "192.0.2.2"), (THIRD, 3, third)] {
        let lladdr = vec![2, 0, 0, 0, 7, last];
        node.neighbours.push(Neighbour {
            ifindex: OVERLAY,
            address: ip(hop),
            lladdr: Some(lladdr.clone()),
            failed: false,
            permanent: true,
        });
        node.fdb.push(Fdb {
            ifindex: OVERLAY,
            lladdr,
            vtep: ip(vtep),
        });
    }
    let asked = tcp("172.20.1.5", FAR, 443);
    let syns = |hop: &mut FlowHop| {
        (hop.first, hop.last) = (SECOND, 8 * SECOND);
        (hop.flags, hop.syns) = (SYN, 4);
    };
    let mut flows = vec![
        from_pod(asked, syns),
        at(asked, OVERLAY, true, PLAIN, syns),
        at(asked, UPLINK, true, VXLAN, syns),
    ];
    let asks = tcp("172.20.2.10", "172.20.1.5", 443);
    flows.push(at(asks, OVERLAY, false, PLAIN, syns));
    let answers = tcp("172.20.1.5", "172.20.2.10", 443).reversed();
    let opens = |hop: &mut FlowHop| {
        syns(hop);
        (hop.flags, hop.syns) = (SYN | ACK, 0);
    };
    flows.extend(heard.then(|| at(answers, OVERLAY, false, PLAIN, opens)));
    let observation = Observation {
        now: 12 * SECOND,
        flows,
        ..Observation::default()
    };
    with_facts(&node, &observation, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn two_next_hops_behind_one_vtep_are_told() {
    let all = found(true, false);
    let [finding] = all.as_slice() else {
        panic!("{all:?}");
    };
    for word in ["172.20.2.0 (02:00:00:00:07:02) to 192.0.2.2", THIRD] {
        assert!(finding.summary.contains(word), "{}", finding.summary);
    }
    assert!(found(false, false).is_empty(), "each has its own");
    assert!(found(true, true).is_empty(), "somebody there answers");
}
