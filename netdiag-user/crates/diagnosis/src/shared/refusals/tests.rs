use netdiag_common::{
    flow::FlowKey,
    hop::{self, ACK, RST, SYN},
};

use super::*;
use crate::{
    findings as evaluate,
    model::{gather::Piece, observation::Observation},
    testing::{
        self, OVERLAY, POD, POD_NETNS, at, from_pod, ip, overlay_node, tcp, with_facts,
        with_gathered,
    },
};

const SECOND: u64 = 1_000_000_000;

/// So many tries, one a second, and what came back each time.
fn tries(count: u16, back: u32) -> Observation {
    let mut observation = Observation {
        now: 60 * SECOND,
        ..Observation::default()
    };
    for n in 0..count {
        let flow = FlowKey {
            source_port: 50_000 + n,
            ..tcp("172.20.2.9", "172.20.1.5", 80)
        };
        let time = SECOND * u64::from(n + 1);
        let note = |flags: u32, time| {
            move |hop: &mut hop::FlowHop| {
                (hop.first, hop.last, hop.flags) = (time, time, flags);
                hop.syns = u32::from(flags == SYN);
            }
        };
        let request = at(flow, OVERLAY, false, 0, note(SYN, time));
        let answer = from_pod(flow.reversed(), note(back, time + 1));
        observation.flows.extend([request, answer]);
    }
    observation
}

fn named(observation: &Observation, listener: Option<&str>) -> Vec<String> {
    let listener = listener.map(|address| testing::listener(address, 80));
    let piece = Piece::Listeners(listener.into_iter().collect());
    let known = [(Want::Listeners(POD_NETNS), Ok(piece))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, observation, known, |facts| {
        evaluate(facts).into_iter().map(|f| f.cause).collect()
    })
}

#[test]
fn the_pods_sockets_tell_why_it_refuses() {
    let refused = tries(6, RST | ACK);
    assert_eq!(named(&refused, None), ["not-listening"]);
    assert_eq!(
        named(&refused, Some("127.0.0.1")),
        ["loopback-only-listener"]
    );
    assert_eq!(named(&refused, Some("172.20.1.6")), ["not-listening"]);
    assert_eq!(
        named(&refused, Some("0.0.0.0")),
        [""; 0],
        "it was something else"
    );
}

/// A port of the node's own, which it serves for itself alone, or nobody does.
#[test]
fn a_daemon_of_the_node_may_listen_for_itself_alone() {
    let named = |listener: Option<&str>, client: &str| {
        let mut observation = Observation {
            now: 60 * SECOND,
            ..Observation::default()
        };
        for n in 0..6 {
            let flow = FlowKey {
                source_port: 50_000 + n,
                ..tcp(client, "192.0.2.1", 9100)
            };
            let time = SECOND * u64::from(n + 1);
            let note = |flags: u32, time| {
                move |hop: &mut hop::FlowHop| {
                    (hop.first, hop.last, hop.flags) = (time, time, flags);
                    hop.syns = u32::from(flags == SYN);
                }
            };
            let back = note(RST | ACK, time + 1);
            let request = from_pod(flow, note(SYN, time));
            observation.flows.push(request);
            let answer = at(flow.reversed(), POD, true, 0, back);
            observation.flows.push(answer);
        }
        let listener = listener.map(|address| testing::listener(address, 9100));
        let piece = Piece::Listeners(listener.into_iter().collect());
        let known = [(Want::Listeners(testing::NETNS), Ok(piece))];
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, known, |facts| {
            let findings = evaluate(facts).into_iter();
            findings.map(|f| f.summary).collect::<Vec<_>>()
        })
    };
    let told = named(Some("127.0.0.1"), "172.20.1.5");
    assert_eq!(
        told,
        ["port 9100 of this node (192.0.2.1) is served on 127.0.0.1 only: 6 connections refused"]
    );
    assert_eq!(named(None, "172.20.1.5"), [""; 0], "a closed port");
    assert_eq!(named(Some("0.0.0.0"), "172.20.1.5"), [""; 0]);
}

/// Datagrams to a port, and how often the pod said that it is closed.
fn datagrams(times: u64, answered: bool) -> Observation {
    let mut flow = tcp("172.20.2.9", "172.20.1.5", 80);
    flow.protocol = UDP;
    let note = |hop: &mut hop::FlowHop| (hop.first, hop.last) = (SECOND, 6 * SECOND);
    let mut flows = vec![at(flow, OVERLAY, false, 0, note)];
    flows.extend(answered.then(|| from_pod(flow.reversed(), note)));
    flows[0].1.first -= 1;
    let key = IcmpErrorKey {
        about: flow,
        sender: flow.destination,
        ifindex: POD,
        direction: INGRESS,
        kind: 3,
        code: 3,
        padding: 0,
    };
    let error = IcmpError {
        packets: times,
        first: SECOND - 1,
        last: 6 * SECOND,
        ..IcmpError::default()
    };
    Observation {
        now: 60 * SECOND,
        flows,
        icmp_errors: vec![(key, error)],
        ..Observation::default()
    }
}

#[test]
fn datagrams_are_refused_as_connections_are() {
    let judged = |observation: &Observation, receiver: Option<(&str, u32)>, peer| {
        let receiver = receiver.map(|(address, device)| Receiver {
            address: ip(address),
            device,
            queued: 0,
            limit: 0,
            drops: 0,
            owner: None,
            peer,
        });
        let piece = Piece::Receivers(receiver.into_iter().collect());
        let want = Want::Receivers {
            netns: POD_NETNS,
            port: 80,
        };
        let mut node = overlay_node(1450, 1450, 1500);
        node.pod_sides[0].links = vec![(2, "eth0".into()), (3, "dummy0".into())];
        let link = node.links.iter_mut().find(|l| l.index == POD);
        link.expect("the pod's link").link = Some(2);
        with_gathered(&node, observation, [(want, Ok(piece))], |facts| {
            let all = evaluate(facts).into_iter();
            all.map(|f| format!("{}; {}", f.summary, f.fix.summary))
                .collect()
        })
    };
    let named = |observation: &Observation, receiver| judged(observation, receiver, None);
    let all: Vec<String> = named(&datagrams(6, false), None);
    assert!(all[0].contains("nothing listens on UDP port 80"), "{all:?}");
    assert_eq!(named(&datagrams(6, false), Some(("127.0.0.1", 0))).len(), 1);
    assert_eq!(named(&datagrams(6, false), Some(("::", 0))).len(), 0);
    assert_eq!(named(&datagrams(6, false), Some(("::", 2))).len(), 0);
    let bound = named(&datagrams(6, false), Some(("::", 3)));
    let told = bound[0].contains("[::]:80 by the device dummy0 alone");
    assert!(told, "SO_BINDTODEVICE: {bound:?}");
    // connect(2): another client's alone, or this one's.
    let of = |peer| {
        judged(
            &datagrams(6, false),
            Some(("::", 0)),
            Some((ip(peer), 50_000)),
        )
    };
    let other = of("10.9.9.9");
    let told = other[0].contains("connected to 10.9.9.9:50000, from whom alone");
    assert!(told, "{other:?}");
    assert_eq!(named(&datagrams(4, false), None).len(), 0);
    assert_eq!(named(&datagrams(6, true), None).len(), 0, "it answers too");
}

#[test]
fn a_kernel_without_reasons_tells_by_the_place() {
    let word = |reason, place| {
        let mut refused = tries(6, RST | ACK);
        let flow = refused.flows[0].0.flow;
        refused.drops = vec![testing::died(flow, (reason, place), POD, 1)];
        let known = [(Want::Listeners(POD_NETNS), Ok(Piece::Listeners(Vec::new())))];
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &refused, known, |facts| {
            let found = evaluate(facts);
            let lines = found.iter().flat_map(|finding| &finding.evidence);
            lines.filter(|line| line.kind == EvidenceKind::Drop).count()
        })
    };
    assert_eq!(word("NO_SOCKET", "tcp_v4_rcv"), 1);
    assert_eq!(word("NOT_SPECIFIED", "tcp_v4_rcv"), 1);
    assert_eq!(word("NOT_SPECIFIED", "tcp_rcv_established"), 0);
}

#[test]
fn now_and_then_is_no_pattern() {
    assert_eq!(named(&tries(4, RST), None), [""; 0]);
    let mut burst = tries(9, RST);
    for (_, hop) in &mut burst.flows {
        hop.first /= 100;
    }
    assert_eq!(named(&burst, None), [""; 0], "one call and its repetitions");
    assert_eq!(named(&tries(6, SYN | ACK), None), [""; 0]);
}

#[test]
fn without_the_sockets_there_is_no_guess() {
    let refused = tries(6, RST);
    let node = overlay_node(1450, 1450, 1500);
    with_facts(&node, &refused, |facts| {
        assert_eq!(
            wants(facts)[0].query.want(),
            Some(&Want::Listeners(POD_NETNS))
        );
        assert_eq!(evaluate(facts).len(), 0);
    });
}
