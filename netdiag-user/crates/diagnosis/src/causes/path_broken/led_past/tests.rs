use netdiag_common::hop::{ACK, FlowHop, PLAIN, SYN};

use super::{super::leading::leading_node, *};
use crate::{
    model::observation::Observation,
    testing::{UPLINK, at, tcp, with_facts},
};

const SECOND: u64 = 1_000_000_000;
const CLIENT: &str = "192.0.2.50";
const BACKEND: &str = "192.0.2.85";

fn found(source: &str, answered: bool) -> Vec<Finding> {
    found_beside(source, answered, false)
}

/// Asked for three times, and led on by the link, as `source`; whether the backend answers that, and whether another one
/// does, to whom a second connection is led.
fn found_beside(source: &str, answered: bool, other: bool) -> Vec<Finding> {
    let asked = tcp(CLIENT, "192.0.2.1", 30_080);
    let led = tcp(source, BACKEND, 80);
    let syns = |hop: &mut FlowHop| {
        (hop.flags, hop.syns, hop.packets) = (SYN, 4, 4);
        (hop.first, hop.last) = (SECOND, 8 * SECOND);
    };
    let mut flows = vec![
        at(asked, UPLINK, false, PLAIN, syns),
        at(led, UPLINK, true, PLAIN, |hop| {
            syns(hop);
            hop.first += 1;
        }),
    ];
    let back = [(led, false), (asked, true)];
    let back = back.map(|(flow, out)| at(flow.reversed(), UPLINK, out, PLAIN, syns));
    flows.extend(back.into_iter().filter(|_| answered));
    let mut second = [asked, tcp(CLIENT, "192.0.2.86", 80)];
    second.iter_mut().for_each(|flow| flow.source_port = 50_009);
    let [asked, led] = second;
    let lives = [
        (asked, false),
        (led, true),
        (led.reversed(), false),
        (asked.reversed(), true),
    ];
    let lives = lives.map(|(flow, out)| {
        at(flow, UPLINK, out, PLAIN, |hop| {
            syns(hop);
            hop.flags |= ACK;
            hop.first += if flow == asked { 0 } else { 1 };
        })
    });
    flows.extend(lives.into_iter().filter(|_| other));
    let observation = Observation {
        now: 12 * SECOND,
        flows,
        ..Observation::default()
    };
    let (node, _) = leading_node(false);
    with_facts(&node, &observation, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn who_is_led_on_with_the_clients_own_source_answers_past_this_node() {
    let all = found(CLIENT, false);
    let [finding] = all.as_slice() else {
        panic!("{all:?}");
    };
    for word in [BACKEND, "with the client's own address"] {
        assert!(finding.summary.contains(word), "{}", finding.summary);
    }
    assert_eq!(
        finding
            .fix
            .commands
            .last()
            .map(ToString::to_string)
            .as_deref(),
        Some(
            "nft add rule ip led-on postrouting ip daddr 192.0.2.85 tcp dport 80 ct status dnat masquerade"
        )
    );
}

#[test]
fn what_is_answered_by_this_node_or_masqueraded_is_healthy() {
    assert!(found(CLIENT, true).is_empty());
    assert!(found("192.0.2.1", false).is_empty());
    assert!(
        found_beside(CLIENT, false, true).is_empty(),
        "one of several is dead"
    );
}
