use netdiag_common::hop::{FlowHop, PLAIN};

use super::{super::leading::leading_node, *};
use crate::{
    model::{
        gather::{Piece, Want},
        observation::Observation,
    },
    testing::{NETNS, POD, UPLINK, at, died, tcp, with_gathered},
};

fn judged(leads: bool, seen: &Observation) -> Vec<String> {
    let (node, stack) = leading_node(leads);
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
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

/// Others ask the same Service and are answered; both their ends are made others, so that no leg is known.
#[test]
fn an_older_entry_is_told_beside_others_that_are_translated() {
    let mut seen = datagrams(false);
    let mut asked = tcp("172.20.1.5", "10.96.0.10", 53);
    (asked.protocol, asked.source_port) = (UDP, 50_001);
    let often = |h: &mut FlowHop| (h.first, h.last, h.packets) = (2, 5_000_000_000, 9);
    seen.flows.push(at(asked, POD, false, PLAIN, often));
    seen.flows
        .push(at(asked.reversed(), POD, true, PLAIN, often));
    assert_eq!(judged(true, &seen).len(), 1);
    let as_it_is = at(asked, UPLINK, true, PLAIN, often);
    seen.flows.push(as_it_is);
    seen.flows
        .push(at(asked.reversed(), UPLINK, false, PLAIN, often));
    assert_eq!(judged(true, &seen), [""; 0], "who goes as it is lives");
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
