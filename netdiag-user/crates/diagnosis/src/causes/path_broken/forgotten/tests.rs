use std::sync::Arc;

use netdiag_common::hop::{FlowHop, PLAIN};

use super::*;
use crate::{
    model::{
        gather::{Piece, Want},
        netfilter::Family,
        node::{Neighbour, Node},
        observation::Observation,
        world::{
            Known, Stack,
            device::Mac,
            of_node,
            ruleset::{
                BaseChain, Bytes, Chain, ChainKind, Data, Expression, Hook, Nat, NatKind, Reg,
                Rule, Ruleset, Table,
            },
        },
    },
    testing::{NETNS, POD, UPLINK, at, died, ip, overlay_node, route, tcp, with_gathered},
};

/// Whatever begins is led to a host beside this node, or nothing is translated.
fn rules(leads: bool) -> Ruleset {
    let to = Data::Value(Bytes::from(vec![192, 0, 2, 9]));
    let nat = Nat {
        kind: NatKind::Destination,
        family: Family::Ip,
        addresses: Some((Reg(16), Reg(16))),
        ports: None,
        flags: 1,
    };
    let rule = Rule {
        handle: 4,
        expressions: vec![Expression::Sets(to, Reg(16)), Expression::Nat(nat)],
        comment: None,
    };
    let chain = Chain {
        name: "pre".into(),
        handle: 1,
        base: Some(BaseChain {
            hook: Hook::Prerouting,
            priority: -100,
            kind: ChainKind::Nat,
            accepts: true,
            devices: Vec::new(),
        }),
        rules: leads.then_some(rule).into_iter().collect(),
    };
    let table = Table {
        family: Family::Ip,
        name: "nat".into(),
        legacy: false,
        dormant: false,
        chains: vec![chain],
        sets: Vec::new(),
    };
    Ruleset {
        tables: vec![table],
        ..Ruleset::default()
    }
}

fn state(node: &Node, leads: bool) -> Stack {
    let mut stack = of_node::stack(node);
    stack.ruleset = Known::Is(Arc::new(rules(leads)));
    if let Known::Is(devices) = &mut stack.devices {
        for (index, device) in devices {
            let last = u8::try_from(*index).expect("a small number");
            device.mac = Some(Mac([2, 0, 0, 0, 1, last]));
        }
    }
    stack
}

fn judged(leads: bool, seen: &Observation) -> Vec<String> {
    let mut node = overlay_node(1450, 1450, 1500);
    let on = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    node.sysctls.push(on);
    let out = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(out);
    node.neighbours
        .extend(["192.0.2.9", "192.0.2.254"].map(|address| Neighbour {
            ifindex: UPLINK,
            address: ip(address),
            lladdr: Some(vec![2, 0, 0, 0, 9, 9]),
            failed: false,
            permanent: true,
        }));
    let stack = Box::new(state(&node, leads));
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(stack)))];
    with_gathered(&node, seen, pieces, |facts| {
        let found = evaluate(facts).into_iter();
        found.map(|f| f.summary).collect()
    })
}

/// Datagrams of a pod that leave as they are.
fn datagrams(answered: bool) -> Observation {
    let mut flow = tcp("172.20.1.5", "10.96.0.10", 53);
    flow.protocol = UDP;
    let asks = |h: &mut FlowHop| (h.first, h.last, h.packets) = (1, 5_000_000_000, 9);
    let mut flows = vec![
        at(flow, POD, false, PLAIN, asks),
        at(flow, UPLINK, true, PLAIN, asks),
    ];
    flows.extend(answered.then(|| at(flow.reversed(), UPLINK, false, PLAIN, asks)));
    Observation {
        now: 6_000_000_000,
        flows,
        ..Observation::default()
    }
}

#[test]
fn datagrams_that_the_rules_would_translate_go_by_an_older_entry() {
    let told = judged(true, &datagrams(false));
    assert_eq!(told.len(), 1);
    let end =
        "9 packets from 172.20.1.5 to udp 10.96.0.10:53 leave by ens5 untranslated, unanswered";
    assert!(told[0].ends_with(end), "{}", told[0]);
    assert_eq!(
        judged(false, &datagrams(false)),
        [""; 0],
        "no rule is for them"
    );
    assert_eq!(judged(true, &datagrams(true)), [""; 0], "they are answered");
}

/// Segments of an open connection that this node has no socket for; of one that begins.
fn segments(flags: u32) -> Observation {
    let flow = tcp("172.20.1.5", "192.0.2.1", 443);
    let mut lost = died(flow, ("NO_SOCKET", "tcp_v4_rcv"), POD, 5);
    (lost.0.netns, lost.1.tcp_flags) = (NETNS, flags);
    (lost.1.first, lost.1.last) = (1, 5_000_000_000);
    let came = |h: &mut FlowHop| (h.first, h.last, h.packets) = (1, 5_000_000_000, 5);
    Observation {
        now: 6_000_000_000,
        flows: vec![at(flow, POD, false, PLAIN, came)],
        drops: vec![lost],
        ..Observation::default()
    }
}

#[test]
fn data_of_a_connection_that_is_not_led_on_any_more_ends_here() {
    const DATA: u32 = 0x18;
    let told = judged(true, &segments(DATA));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].ends_with("5 packets from 172.20.1.5 to tcp 192.0.2.1:443 end at this node itself, which resets them"),
        "{}",
        told[0]
    );
    assert_eq!(
        judged(false, &segments(DATA)),
        [""; 0],
        "nobody leads it on"
    );
    assert_eq!(judged(true, &segments(SYN)), [""; 0], "it begins");
    assert_eq!(judged(true, &segments(RST)), [""; 0], "it is over");
}
