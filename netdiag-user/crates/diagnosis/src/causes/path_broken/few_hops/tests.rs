use netdiag_common::hop::FlowHop;

use super::*;
use crate::{
    model::{
        gather::Piece,
        observation::Observation,
        world::{Known, Stack, conf::Settings},
    },
    testing::{POD, POD_NETNS, UPLINK, at, died, overlay_node, tcp, with_gathered},
};

/// What is found where a pod's packets end at this node for their hops, of which its namespace gives so many.
fn found(hops: u8, place: (&'static str, &'static str)) -> Vec<Finding> {
    let flow = tcp("172.20.1.5", "203.0.113.77", 443);
    let asked = |h: &mut FlowHop| (h.first, h.last, h.syns) = (1, 7_000_000_000, 6);
    let seen = Observation {
        now: 9_000_000_000,
        flows: vec![at(flow, POD, false, 0, asked)],
        drops: vec![died(flow, place, UPLINK, 6)],
        ..Observation::default()
    };
    let stack = Stack {
        settings: Known::Is(Settings {
            default_ttl: hops,
            ..Settings::default()
        }),
        ..Stack::default()
    };
    let pieces = [(Want::Stack(POD_NETNS), Ok(Piece::Stack(Box::new(stack))))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &seen, pieces, |facts| {
        assert_eq!(wants(facts).is_empty(), place.1 != "ip_forward");
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

const USED_UP: (&str, &str) = ("NOT_SPECIFIED", "ip_forward");

#[test]
fn a_pod_whose_packets_have_one_hop_is_told() {
    let all = found(1, USED_UP);
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    let told = "net.ipv4.ip_default_ttl of its namespace is 1";
    assert!(one.summary.contains(told), "{}", one.summary);
    let set = "sysctl -w net.ipv4.ip_default_ttl=64";
    assert!(one.fix.commands[0].text().ends_with(set));
}

#[test]
fn as_many_hops_as_others_have_end_in_a_circle() {
    assert!(found(64, USED_UP).is_empty());
    assert!(found(1, ("NETFILTER_DROP", "nft_do_chain")).is_empty());
}
