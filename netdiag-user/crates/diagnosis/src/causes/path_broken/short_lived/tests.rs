use std::sync::Arc;

use netdiag_common::hop::{FlowHop, INGRESS, IcmpError, IcmpErrorKey, PLAIN};

use super::{
    super::leading::{leading_node, state},
    *,
};
use crate::{
    model::{
        address::to_wire,
        gather::Piece,
        observation::Observation,
        world::{
            Known,
            ruleset::{Bytes, Reg},
        },
    },
    testing::{NETNS, POD, UPLINK, at, ip, tcp, with_gathered},
};

/// What is found where the router says that hops are used up, and the node's one rule writes that byte of the header.
fn found(says: &str, offset: u32) -> Vec<Finding> {
    let (node, _) = leading_node(true);
    let mut stack = state(&node, true);
    if let Known::Is(rules) = &mut stack.ruleset {
        let rules = Arc::make_mut(rules);
        // As `ip ttl set 1` is: the protocol beside it stays.
        let masks = Expression::Masks {
            from: Reg(16),
            to: Reg(16),
            mask: Bytes::from(vec![0, 0xff]),
            xor: Bytes::from(vec![1, 0]),
        };
        let store = Expression::Store(
            Store::Payload {
                base: Base::Network,
                offset,
                length: 2,
            },
            Reg(16),
        );
        rules.tables[0].chains[0].rules[0].expressions = vec![masks, store];
    }
    let flow = tcp("172.20.1.5", "203.0.113.77", 443);
    let asked = |h: &mut FlowHop| (h.first, h.last, h.syns) = (1, 7_000_000_000, 6);
    let error = IcmpErrorKey {
        about: flow,
        sender: to_wire(ip(says)),
        ifindex: UPLINK,
        direction: INGRESS,
        kind: 11,
        ..IcmpErrorKey::default()
    };
    let seen = Observation {
        now: 9_000_000_000,
        flows: vec![
            at(flow, POD, false, PLAIN, asked),
            at(flow, UPLINK, true, PLAIN, asked),
        ],
        icmp_errors: vec![(error, IcmpError::default())],
        ..Observation::default()
    };
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
    with_gathered(&node, &seen, pieces, |facts| {
        let gateway = says == "192.0.2.254";
        assert_eq!(wants(facts).is_some(), gateway);
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn a_rule_that_writes_the_hops_is_told_where_the_next_hop_has_none_left() {
    let all = found("192.0.2.254", 8);
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    let told = "dies at the next hop 192.0.2.254";
    assert!(one.summary.contains(told), "{}", one.summary);
    let last = one.fix.commands.last().expect("a command");
    assert_eq!(last.text(), "nft delete rule ip nat pre handle 4");
}

#[test]
fn a_hop_farther_away_or_another_byte_is_none_of_it() {
    assert!(found("198.51.100.9", 8).is_empty(), "a loop out there");
    assert!(found("192.0.2.254", 16).is_empty());
}
