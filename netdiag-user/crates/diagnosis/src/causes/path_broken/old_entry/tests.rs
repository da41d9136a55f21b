use netdiag_common::hop::{FlowHop, PLAIN};

use super::{super::leading::leading_node, *};
use crate::{
    model::{
        gather::{Piece, Tracked, Tuple, Want},
        observation::Observation,
    },
    testing::{NETNS, POD, POD_NETNS, UPLINK, at, died, ip, tcp, with_gathered},
};

const CLIENT: &str = "172.20.1.5";
const SERVICE: &str = "10.96.7.7";

fn tuple(source: (&str, u16), destination: (&str, u16)) -> Tuple {
    Tuple {
        source: (ip(source.0), source.1),
        destination: (ip(destination.0), destination.1),
        protocol: TCP,
    }
}

/// The pod's connection to a Service is led to `backend`, and that is lost so.
fn judged(leads: bool, backend: &str, place: (&str, &str), answer: bool) -> Vec<String> {
    let asked = tcp(CLIENT, SERVICE, 80);
    let sent = tcp(CLIENT, backend, 8080);
    let lost = if answer { sent.reversed() } else { sent };
    let mut lost = died(lost, place, POD, 5);
    (lost.1.first, lost.1.last) = (1, 5_000_000_000);
    (lost.0.netns, lost.1.tcp_flags) = match answer {
        true => (POD_NETNS, 0x18),
        false => (NETNS, 2),
    };
    let asks = |h: &mut FlowHop| (h.first, h.last, h.packets, h.syns) = (1, 5_000_000_000, 5, 5);
    let seen = Observation {
        now: 6_000_000_000,
        flows: vec![at(asked, POD, false, PLAIN, asks)],
        drops: vec![lost],
        ..Observation::default()
    };
    let client = (CLIENT, asked.source_port);
    let entry = Tracked {
        asked: tuple(client, (SERVICE, 80)),
        answered: tuple((backend, 8080), client),
    };
    let (node, stack) = leading_node(leads);
    let pieces = [
        (Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack)))),
        (Want::Tracked(ip(CLIENT)), Ok(Piece::Tracked(vec![entry]))),
    ];
    with_gathered(&node, &seen, pieces, |facts| {
        let found = evaluate(facts).into_iter();
        found.map(|f| f.summary).collect()
    })
}

const UNHEARD: (&str, &str) = ("NEIGH_FAILED", "neigh_invalidate");
const UNKNOWN: (&str, &str) = ("NO_SOCKET", "tcp_v4_rcv");

#[test]
fn an_entry_that_leads_to_who_is_gone_is_told_where_the_rules_lead_to_others() {
    let told = judged(true, "192.0.2.77", UNHEARD, false);
    assert_eq!(told.len(), 1, "{told:?}");
    let what = "connection tracking still leads connections to tcp 10.96.7.7:80 to 192.0.2.77, who does not answer, though the rules lead new ones to 192.0.2.9";
    assert!(told[0].starts_with(what), "{}", told[0]);
    let same = judged(true, "192.0.2.9", UNHEARD, false);
    assert_eq!(same, [""; 0], "the rules lead there still");
    let none = judged(false, "192.0.2.77", UNHEARD, false);
    assert_eq!(none, [""; 0], "the rules lead nowhere");
}

#[test]
fn an_answer_that_comes_as_it_is_was_not_translated_back() {
    let told = judged(true, "192.0.2.9", UNKNOWN, true);
    assert_eq!(told.len(), 1, "{told:?}");
    let what = "segments of 192.0.2.9 reach 172.20.1.5 as they are, who asked 10.96.7.7:80";
    assert!(told[0].starts_with(what), "{}", told[0]);
}

/// The pod's connection to a Service is led out to `backend`, which answers nothing.
fn beyond_here(leads: bool, backend: &str) -> Vec<String> {
    let asked = tcp(CLIENT, SERVICE, 80);
    let sent = tcp(CLIENT, backend, 8080);
    let asks = |h: &mut FlowHop| {
        (h.first, h.last, h.packets, h.syns) = (1, 5_000_000_000, 5, 5);
    };
    let seen = Observation {
        now: 6_000_000_000,
        flows: vec![
            at(asked, POD, false, PLAIN, asks),
            at(sent, UPLINK, true, PLAIN, asks),
        ],
        ..Observation::default()
    };
    let client = (CLIENT, asked.source_port);
    let entry = Tracked {
        asked: tuple(client, (SERVICE, 80)),
        answered: tuple((backend, 8080), client),
    };
    let (node, stack) = leading_node(leads);
    let pieces = [
        (Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack)))),
        (Want::Tracked(ip(CLIENT)), Ok(Piece::Tracked(vec![entry]))),
    ];
    with_gathered(&node, &seen, pieces, |facts| {
        let found = beyond(facts, &Symptoms::of(facts), &[]).into_iter();
        found.map(|f| f.summary).collect()
    })
}

#[test]
fn an_entry_that_leads_beyond_to_who_is_gone_is_told_as_well() {
    let told = beyond_here(true, "192.0.2.77");
    assert_eq!(told.len(), 1, "{told:?}");
    let what = "connection tracking still leads connections to tcp 10.96.7.7:80 to 192.0.2.77";
    assert!(told[0].starts_with(what), "{}", told[0]);
    assert_eq!(beyond_here(true, "192.0.2.9"), [""; 0], "as the rules are");
    assert_eq!(beyond_here(false, "192.0.2.77"), [""; 0]);
}
