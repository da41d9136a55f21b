use netdiag_common::hop::{ACK, FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, RST, SYN, VXLAN};

use super::*;
use crate::{
    model::{
        address::to_wire,
        gather::{Piece, Tracked, Tuple, Want},
        observation::Observation,
        path::{Answer, Course, Followed, Outcome, Probe, ProbeKind, Wanted, Way},
        services::{Engine, Service, Services},
    },
    testing::{
        NETFILTER_DROP, OVERLAY, POD, UPLINK, at, died, ip, lost, overlay_node, tcp, with_facts,
        with_gathered,
    },
};

mod translated;

fn path(facts: &Facts<'_>, ends: (End, End), run: &Run) -> Path {
    path_with(facts, ends, &BTreeSet::new(), run)
}

fn path_with(facts: &Facts<'_>, ends: (End, End), legs: &BTreeSet<FlowKey>, run: &Run) -> Path {
    facts.follow(Followed::between(&ends));
    let findings = crate::findings(facts);
    super::path_with(facts, ends, legs, run, &findings)
}

const SERVER: &str = "172.20.2.9:80";
const SECOND: u64 = 1_000_000_000;

fn seen(first: u64, flags: u32) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last, hop.flags) = (first, first, flags);
        (hop.largest, hop.syns) = (60, 1);
    }
}

fn asked() -> FlowKey {
    tcp("172.20.1.5", "172.20.2.9", 80)
}

fn out() -> Vec<(FlowHopKey, FlowHop)> {
    vec![
        at(asked(), POD, false, 0, seen(1, SYN)),
        at(asked(), OVERLAY, true, 0, seen(2, SYN)),
        at(asked(), UPLINK, true, VXLAN, seen(3, SYN)),
    ]
}

fn back(flags: u32) -> Vec<(FlowHopKey, FlowHop)> {
    let flow = asked().reversed();
    vec![
        at(flow, UPLINK, false, VXLAN, seen(4, flags)),
        at(flow, OVERLAY, false, 0, seen(5, flags)),
        at(flow, POD, true, 0, seen(6, flags)),
    ]
}

fn between(to: &str, observation: Observation) -> Path {
    let observation = Observation {
        now: 60 * SECOND,
        ..observation
    };
    let node = overlay_node(1450, 1450, 1500);
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    with_facts(&node, &observation, |facts| {
        let ends = ends(facts, &wanted("172.20.1.5"), &wanted(to)).expect("both ends");
        path(facts, ends, &Run::default())
    })
}

fn of(flows: Vec<(FlowHopKey, FlowHop)>) -> Path {
    let observation = Observation {
        flows,
        ..Observation::default()
    };
    between(SERVER, observation)
}

fn hops(way: &Way) -> Vec<(&str, Course)> {
    way.steps
        .iter()
        .map(|s| (s.interface.as_str(), s.course))
        .collect()
}

#[test]
fn an_answered_flow_is_told_hop_by_hop() {
    let path = of([out(), back(SYN | ACK)].concat());
    assert_eq!(path.outcome, Outcome::Answered);
    let there = ["cali1", "vxlan.calico", "ens5"].map(|name| (name, Course::Expected));
    assert_eq!(hops(&path.request), there);
    let steps = &path.request.steps;
    assert_eq!(steps[2].latency, Some(1e-9));
    assert_eq!((steps[0].fits, steps[2].fits), (Some(1450), Some(1450)));
    assert_eq!(path.reply.steps[0].interface, "ens5");
}

#[test]
fn silence_is_told_with_the_last_hop() {
    let path = of(out());
    assert_eq!(
        (path.outcome, path.at.as_deref()),
        (Outcome::Silent, Some("ens5"))
    );
    let path = of(out()[..1].to_vec());
    assert_eq!(
        (path.outcome, path.at.as_deref()),
        (Outcome::Silent, Some("cali1"))
    );
    assert!(
        path.summary.contains("never at vxlan.calico"),
        "{}",
        path.summary
    );
    assert_eq!(hops(&path.request)[2], ("ens5", Course::NotSeen));
}

#[test]
fn a_drop_is_told_with_its_reason() {
    let mut observation = Observation {
        flows: out()[..1].to_vec(),
        ..Observation::default()
    };
    observation.drops = vec![lost(asked(), NETFILTER_DROP, POD, 7, 0)];
    let path = between(SERVER, observation);
    assert_eq!(
        (path.outcome, path.at.as_deref()),
        (Outcome::Dropped, Some("cali1"))
    );
    assert_eq!(
        path.request.fates[0].reason.as_deref(),
        Some("NETFILTER_DROP")
    );
}

/// Whoever closes first is still sent what was under way.
#[test]
fn what_comes_for_a_closed_socket_is_no_loss() {
    let late = |flags| {
        let mut asks = out();
        asks.iter_mut().for_each(|(_, hop)| hop.flags |= flags);
        let observation = Observation {
            flows: [asks, back(SYN | ACK)].concat(),
            drops: vec![died(
                asked().reversed(),
                ("NO_SOCKET", "tcp_v4_rcv"),
                POD,
                7,
            )],
            ..Observation::default()
        };
        between(SERVER, observation).outcome
    };
    assert_eq!(late(ACK), Outcome::Answered);
    assert_ne!(late(0), Outcome::Answered, "its answer is not taken");
}

#[test]
fn a_reset_is_a_refusal() {
    let mut answer = back(RST | ACK);
    for (_, hop) in &mut answer {
        hop.resets = 1;
    }
    let path = of([out(), answer].concat());
    assert_eq!(path.outcome, Outcome::Refused);
}

#[test]
fn one_port_that_refuses_is_no_loss() {
    let other = tcp("172.20.1.5", "172.20.2.9", 81);
    let refused = [out(), back(RST | ACK)].concat().into_iter();
    let refused = refused.map(|(mut key, mut hop)| {
        let answers = key.flow == asked().reversed();
        key.flow = if answers { other.reversed() } else { other };
        hop.resets = u32::from(answers);
        (key, hop)
    });
    let mut flows = [out(), back(SYN | ACK)].concat();
    flows.extend(refused);
    let observation = Observation {
        flows,
        ..Observation::default()
    };
    let path = between("172.20.2.9", observation);
    let came = (path.outcome, path.answered, path.flows);
    assert_eq!(came, (Outcome::PartlyRefused, 1, 2));
    let text = &path.request.fates[0].text;
    assert!(
        text.starts_with("1 connection refused (RST) at port 81,"),
        "{text}"
    );
}

#[test]
fn a_stall_ends_where_the_largest_packets_were_last_seen() {
    let mut flows = [out(), back(SYN | ACK)].concat();
    for (_, hop) in &mut flows[..2] {
        (hop.largest, hop.stalled, hop.retransmits) = (1450, 3, 3);
    }
    let path = of(flows);
    assert_eq!(
        (path.outcome, path.at.as_deref()),
        (Outcome::Lossy, Some("vxlan.calico"))
    );
}

#[test]
fn what_goes_where_no_route_leads_is_marked() {
    let other = at(asked(), UPLINK, true, 0, seen(2, SYN));
    let path = of(vec![out()[0], other]);
    assert!(hops(&path.request).contains(&("ens5", Course::Unexpected)));
    assert!(hops(&path.request).contains(&("vxlan.calico", Course::NotSeen)));
}

#[test]
fn other_flows_are_not_counted() {
    let path = between(
        "172.20.2.9:81",
        Observation {
            flows: out(),
            ..Observation::default()
        },
    );
    assert_eq!((path.outcome, path.flows), (Outcome::NoTraffic, 0));
    assert!(
        path.request
            .steps
            .iter()
            .all(|s| s.course == Course::NotSeen)
    );
}

/// An error about the requests, seen at a link.
fn error(about: FlowKey, sender: &str, ifindex: u32, direction: u8) -> (IcmpErrorKey, IcmpError) {
    let key = IcmpErrorKey {
        about,
        sender: to_wire(ip(sender)),
        ifindex,
        direction,
        kind: 3,
        code: 1,
        padding: 0,
    };
    let error = IcmpError {
        packets: 3,
        ..IcmpError::default()
    };
    (key, error)
}

#[test]
fn an_error_from_outside_is_told_with_the_link_that_it_came_by() {
    let other = FlowKey {
        source_port: asked().source_port + 1,
        ..asked()
    };
    let observation = Observation {
        flows: vec![out()[0], at(other, POD, false, 0, seen(1, SYN))],
        icmp_errors: vec![
            error(asked(), "192.0.2.254", POD, 1),
            error(asked(), "192.0.2.254", UPLINK, 0),
            error(other, "192.0.2.254", UPLINK, 0),
        ],
        ..Observation::default()
    };
    let path = between(SERVER, observation);
    let came = (path.outcome, path.at.as_deref());
    assert_eq!(came, (Outcome::Unreachable, Some("ens5")));
    let [error] = &path.request.fates[..] else {
        panic!("{:?}", path.request.fates);
    };
    assert_eq!(
        error.packets, 6,
        "of two connections, each seen at two hops or one"
    );
}

#[test]
fn a_silent_udp_server_is_no_loss() {
    let datagrams = |port: u16| {
        let flow = FlowKey {
            protocol: 17,
            ..tcp("172.20.1.5", "172.20.2.9", port)
        };
        let mut flows = out();
        for (key, hop) in &mut flows {
            (key.flow, hop.syns, hop.flags) = (flow, 0, 0);
        }
        flows
    };
    let outcome = |flows, port: u16| {
        let observation = Observation {
            flows,
            ..Observation::default()
        };
        between(&format!("172.20.2.9:{port}"), observation).outcome
    };
    assert_eq!(outcome(datagrams(514), 514), Outcome::Unknown);
    assert_eq!(outcome(datagrams(53), 53), Outcome::Silent);
    assert_eq!(outcome(datagrams(514)[..2].to_vec(), 514), Outcome::Silent);
}

#[test]
fn lost_packets_of_full_size_change_the_conclusion() {
    let probe = |bytes, answered| Probe {
        kind: ProbeKind::Icmp,
        bytes: Some(bytes),
        sent: 3,
        answered,
        answer: Answer::Timeout,
        seconds: None,
    };
    let mut flows = [out(), back(SYN | ACK)].concat();
    flows[0].1.largest = 1450;
    let mut path = of(flows);
    conclude(&mut path, vec![probe(84, 3), probe(1450, 1)]);
    assert_eq!(path.outcome, Outcome::Answered);
    conclude(&mut path, vec![probe(84, 3), probe(1450, 0)]);
    let came = (path.outcome, path.at.as_deref());
    assert_eq!(came, (Outcome::Lossy, Some("cali1")));
    assert!(
        path.summary
            .contains("full-size ones (1450 bytes) do not: MTU")
    );
}

#[test]
fn ends_that_make_no_path_are_refused() {
    with_facts(
        &overlay_node(1450, 1450, 1500),
        &Observation::default(),
        |facts| {
            let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
            let why = |from: &str, to: &str| ends(facts, &wanted(from), &wanted(to)).err();
            let same = why("172.20.1.5", "172.20.1.5:80").expect("refused");
            assert!(same.contains("the same"), "{same}");
            assert_eq!(why("172.20.1.5", "172.20.2.9:80"), None);
        },
    );
}

#[test]
fn a_port_behind_an_address_without_brackets_is_pointed_out() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.pod_sides[0].addresses.push(ip("fd00::5"));
    with_facts(&node, &Observation::default(), |facts| {
        let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
        let why = ends(facts, &wanted("fd00::9"), &wanted("fd00::5:80")).err();
        assert!(why.expect("refused").contains("[fd00::5]:80"));
        assert!(ends(facts, &wanted("fd00::5"), &wanted("fd00::9:80")).is_ok());
    });
}

#[test]
fn where_rules_choose_among_uplinks_answers_may_come_by_any() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.push(
        crate::testing::link(9, "ens6", crate::model::node::LinkKind::Physical, 1500)
            .with_address("198.18.0.1/24"),
    );
    let any = crate::testing::route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(any);
    let flow = tcp("172.20.1.5", "198.51.100.7", 80);
    let observation = Observation {
        now: 60 * SECOND,
        flows: vec![
            at(flow, POD, false, 0, seen(1, SYN)),
            at(flow, UPLINK, true, 0, seen(2, SYN)),
            at(flow.reversed(), 9, false, 0, seen(3, SYN | ACK)),
            at(flow.reversed(), POD, true, 0, seen(4, SYN | ACK)),
        ],
        ..Observation::default()
    };
    let courses = |node: &crate::model::node::Node| {
        with_facts(node, &observation, |facts| {
            let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
            let ends = ends(facts, &wanted("172.20.1.5"), &wanted("198.51.100.7:80"));
            let reply = path(facts, ends.expect("both ends"), &Run::default()).reply;
            reply.steps.iter().map(|s| s.course).collect::<Vec<_>>()
        })
    };
    assert!(courses(&node).contains(&Course::Unexpected));
    node.policy_tables = vec![100];
    assert_eq!(courses(&node), [Course::Expected, Course::Expected]);
}
