//! What the node translates, or was to translate.
use super::*;
use crate::model::source_nat::{Leaving, SourceNat};

/// Datagrams of a pod's that left as they are, where a rule was to translate them or none was.
fn untranslated(rule: Option<&str>) -> Vec<bool> {
    let flow = FlowKey {
        protocol: UDP,
        ..tcp("172.20.1.5", WORLD, 514)
    };
    let sent = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.packets) = (SECOND, 8 * SECOND, 9);
    };
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![from_pod(flow, sent), at(flow, UPLINK, true, PLAIN, sent)],
        ..Observation::default()
    };
    let leaving = Leaving {
        source: ip("172.20.1.5"),
        destination: ip(WORLD),
        link: "ens5".into(),
    };
    let nat = SourceNat {
        rule: rule.map(Into::into),
        ..SourceNat::default()
    };
    let want = Want::SourceNat(leaving);
    let pieces = [(want.clone(), Ok(Piece::SourceNat(nat)))];
    with_gathered(&node(), &observation, pieces, |facts| {
        assert!(
            wants(facts, &Symptoms::of(facts)).contains(&want),
            "{:?}",
            wants(facts, &Symptoms::of(facts))
        );
        let told = Symptoms::of(facts).unexplained(facts, &[]);
        told.iter().map(|u| u.here).collect()
    })
}

#[test]
fn datagrams_that_a_rule_was_to_translate_are_told() {
    let masquerade = "ip saddr 172.20.1.0/24 oifname \"ens5\" masquerade";
    assert_eq!(untranslated(Some(masquerade)), [true]);
    assert!(untranslated(None).is_empty(), "syslog wants no answer");
}

/// Two tries of a pod's of which one never leaves, while packets of the node's to that port die.
fn clashes(dies_as: &str) -> bool {
    let tries = |port| FlowKey {
        source_port: port,
        ..flow(WORLD)
    };
    let (dead, alive) = (tries(40_001), tries(40_002));
    let answer = alive.reversed();
    let open = |hop: &mut FlowHop| {
        (hop.first, hop.last) = (9 * SECOND, 9 * SECOND);
        (hop.syns, hop.flags) = (1, SYN | ACK);
    };
    let flows = vec![
        from_pod(dead, asks(1)),
        from_pod(alive, open),
        at(alive, UPLINK, true, PLAIN, open),
        at(answer, UPLINK, false, PLAIN, open),
        at(answer, POD, true, PLAIN, open),
    ];
    let mut lost = died(
        tcp(dies_as, WORLD, 443),
        ("NETFILTER_DROP", "nf_hook_slow"),
        UPLINK,
        4,
    );
    (lost.1.first, lost.1.last) = (2 * SECOND, 8 * SECOND);
    let observation = Observation {
        now: 15 * SECOND,
        flows,
        drops: vec![lost],
        ..Observation::default()
    };
    with_facts(&node(), &observation, |facts| {
        let told = Symptoms::of(facts).unexplained(facts, &[]);
        told.iter().any(|u| u.here && u.what.contains("172.20.1.5"))
    })
}

#[test]
fn what_dies_as_it_is_translated_is_told_beside_what_gets_through() {
    assert!(clashes("192.0.2.1"), "by the node's own address");
    assert!(!clashes("192.0.2.77"), "somebody else's");
}

/// Behind a masquerade the node's own socket gets what the pod did not ask.
#[test]
fn stray_answers_to_what_was_masqueraded_are_told() {
    let udp = |from, to| FlowKey {
        protocol: UDP,
        destination_port: 1812,
        ..tcp(from, to, 1812)
    };
    let sent = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.packets) = (SECOND, 8 * SECOND, 4);
    };
    let later = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.packets) = (SECOND + 9, 8 * SECOND + 9, 4);
    };
    let stray = udp("192.0.2.1", "198.51.100.8").reversed();
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![
            from_pod(udp("172.20.1.5", WORLD), sent),
            at(udp("192.0.2.1", WORLD), UPLINK, true, PLAIN, later),
        ],
        drops: vec![died(stray, ("NO_SOCKET", "__udp4_lib_rcv"), UPLINK, 4)],
        ..Observation::default()
    };
    let told = with_facts(&node(), &observation, |facts| {
        Symptoms::of(facts).unexplained(facts, &[])
    });
    let line = told.iter().map(|u| u.why.as_str()).collect::<String>();
    assert!(line.contains("come from 198.51.100.8"), "{told:?}");
}

/// A TCP traceroute: one SYN of it was to come no farther, and came last.
#[test]
fn a_probe_that_was_to_end_here_hides_no_way_of_the_others() {
    let tried = |port| FlowKey {
        source_port: port,
        ..flow(WORLD)
    };
    let later = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.syns, hop.flags) = (9 * SECOND, 9 * SECOND, 1, SYN);
    };
    let told = |expired: bool| {
        let lost = died(tried(40_002), ("NOT_SPECIFIED", "ip_forward"), POD, 1);
        let observation = Observation {
            now: 15 * SECOND,
            flows: vec![
                from_pod(tried(40_001), asks(1)),
                at(tried(40_001), UPLINK, true, PLAIN, asks(2)),
                from_pod(tried(40_002), later),
            ],
            drops: expired.then_some(lost).into_iter().collect(),
            ..Observation::default()
        };
        with_facts(&node(), &observation, |facts| {
            ours(&Symptoms::of(facts).unexplained(facts, &[]))
        })
    };
    assert!(!told(true));
    assert!(told(false), "the last one went nowhere");
}
