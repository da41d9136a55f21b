use netdiag_common::{
    flow::FlowKey,
    hop::{FlowHop, PLAIN},
};

use super::*;
use crate::{
    model::{flow::UDP, observation::Observation},
    testing::{POD, UPLINK, at, died, overlay_node, route, tcp, with_facts},
};

const SECOND: u64 = 1_000_000_000;
const SERVER: &str = "198.51.100.7";

fn udp(to: &str) -> FlowKey {
    FlowKey {
        protocol: UDP,
        ..tcp("172.20.1.5", to, 1812)
    }
}

/// What is found where that address answers what the pod asks.
fn found(answers: &str) -> Vec<Finding> {
    let sent = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.packets) = (SECOND, 8 * SECOND, 4);
    };
    let out = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes.push(out);
    let refused = ("NO_SOCKET", "__udp4_lib_rcv");
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![
            at(udp(SERVER), POD, false, PLAIN, sent),
            at(udp(SERVER), UPLINK, true, PLAIN, sent),
        ],
        drops: vec![died(udp(answers).reversed(), refused, POD, 4)],
        ..Observation::default()
    };
    with_facts(&node, &observation, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn an_answer_of_another_address_is_told_with_both() {
    let all = found("198.51.100.8");
    let [one] = all.as_slice() else {
        panic!("one finding: {all:?}");
    };
    assert!(
        one.summary.contains("come from 198.51.100.8"),
        "{}",
        one.summary
    );
    let server = Subject::Address {
        address: SERVER.parse().expect("an address"),
    };
    assert_eq!(one.subject.as_ref(), Some(&server));
    assert_eq!(one.evidence[0].packets, Some(4));
}

#[test]
fn what_the_server_itself_answers_is_none() {
    assert!(found(SERVER).is_empty());
}
