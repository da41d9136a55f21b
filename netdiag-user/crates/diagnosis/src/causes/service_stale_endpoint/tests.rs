use netdiag_common::hop::{IcmpError, IcmpErrorKey, PLAIN};

use super::*;
use crate::{
    model::{
        address::to_wire,
        gather::{Piece, Tracked, Tuple, Want},
        observation::Observation,
        services::{Engine, Service},
    },
    testing::{OVERLAY, POD, UPLINK, at, died, ip, overlay_node, tcp, with_gathered},
};

fn service(backend: &str) -> Service {
    Service {
        address: ip("10.96.7.7"),
        port: 80,
        protocol: 6,
        name: Some("shop/web:http".into()),
        backends: vec![(ip(backend), 8080)],
        rejected: false,
        local: false,
        engine: Engine::Nftables,
        table: None,
    }
}

fn told(service: Service) -> Piece {
    Piece::Services(Services {
        rules: vec![service],
        ..Services::default()
    })
}

fn named(backend: &str, lost_to: &str) -> Option<String> {
    let flow = tcp("172.20.1.5", lost_to, 8080);
    let place = ("NOT_SPECIFIED", "neigh_invalidate");
    let observation = Observation {
        drops: vec![died(flow, place, OVERLAY, 5)],
        ..Observation::default()
    };
    let known = [(Want::Services, Ok(told(service(backend))))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, known, |facts| {
        assert_eq!(wants(facts).len(), usize::from(lost_to != "172.20.1.5"));
        evaluate(facts).map(|f| f.summary)
    })
}

#[test]
fn the_rule_names_an_address_that_nobody_has() {
    let summary = named("172.20.1.99", "172.20.1.99").expect("a finding");
    assert!(summary.contains("shop/web:http"), "{summary}");
    assert_eq!(named("172.20.1.98", "172.20.1.99"), None, "no Service's");
    assert_eq!(named("172.20.1.5", "172.20.1.5"), None, "a pod has it");
}

/// A translated connection that the route of this node's own range refuses (Calico's blackhole).
fn refused(backend: &str, translated: bool) -> (Option<String>, Vec<String>) {
    let asked = tcp("172.20.1.5", "10.96.7.7", 80);
    let sent = tcp("172.20.1.5", "172.20.1.99", 8080);
    let opens = |hop: &mut netdiag_common::hop::FlowHop| {
        (hop.packets, hop.syns) = (5, 5);
    };
    let asks = if translated { asked } else { sent };
    let observation = Observation {
        now: 9_000_000_000,
        flows: vec![at(asks, POD, false, PLAIN, opens)],
        drops: vec![died(sent, ("NOT_SPECIFIED", "ip_error"), POD, 5)],
        ..Observation::default()
    };
    let mut node = overlay_node(1450, 1450, 1500);
    let mut range = crate::testing::route("172.20.1.0/24", POD, None);
    (range.kind, range.oif) = (crate::model::node::RouteKind::Refusing, None);
    node.routes.push(range);
    let tuple = |source: (&str, u16), destination: (&str, u16)| Tuple {
        source: (ip(source.0), source.1),
        destination: (ip(destination.0), destination.1),
        protocol: 6,
    };
    let client = ("172.20.1.5", asked.source_port);
    let entry = Tracked {
        asked: tuple(client, ("10.96.7.7", 80)),
        answered: tuple(("172.20.1.99", 8080), client),
    };
    let entries = Vec::from_iter(translated.then_some(entry));
    let tracked = Want::Tracked(ip("172.20.1.5"));
    let known = [
        (Want::Services, Ok(told(service(backend)))),
        (tracked, Ok(Piece::Tracked(entries))),
    ];
    with_gathered(&node, &observation, known, |facts| {
        let own = evaluate(facts).map(|f| f.summary);
        let others = crate::findings(facts).into_iter();
        let others = others.filter(|f| f.cause != ID);
        (own, others.map(|f| format!("{:?}", f.severity)).collect())
    })
}

#[test]
fn a_range_that_refuses_what_no_pod_has_hides_no_service() {
    let (own, route) = refused("172.20.1.99", true);
    assert!(own.is_some_and(|s| s.contains("shop/web:http")));
    assert_eq!(route, [""; 0], "told once");
    assert_eq!(
        refused("172.20.1.99", false).1,
        ["Info"],
        "asked by nobody's rule"
    );
    let (own, route) = refused("172.20.1.98", true);
    assert_eq!(
        (own.is_some(), route),
        (true, Vec::new()),
        "an entry outlives its rule"
    );
}

/// Connections that were translated, and who says that the host is unreachable.
fn unreachable_by(sender: &str) -> Option<String> {
    let (asked, sent) = (
        tcp("172.20.1.5", "10.96.7.7", 80),
        tcp("172.20.1.5", "172.20.2.99", 8080),
    );
    let key = IcmpErrorKey {
        about: sent,
        sender: to_wire(ip(sender)),
        ifindex: POD,
        kind: 3,
        code: 1,
        ..IcmpErrorKey::default()
    };
    let said = IcmpError {
        packets: 5,
        ..IcmpError::default()
    };
    let syns = |later: u64| {
        move |hop: &mut netdiag_common::hop::FlowHop| {
            (hop.packets, hop.syns, hop.first) = (5, 5, hop.first + later);
        }
    };
    let observation = Observation {
        now: 9_000_000_000,
        flows: vec![
            at(asked, POD, false, PLAIN, syns(0)),
            at(sent, OVERLAY, true, PLAIN, syns(1000)),
        ],
        icmp_errors: vec![(key, said)],
        ..Observation::default()
    };
    let known = [(Want::Services, Ok(told(service("172.20.2.99"))))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, known, |facts| {
        evaluate(facts).map(|f| f.summary)
    })
}

#[test]
fn a_route_of_this_nodes_own_that_refuses_says_nothing_of_pods() {
    assert!(unreachable_by("192.0.2.2").is_some(), "the other node");
    assert_eq!(unreachable_by("192.0.2.1"), None, "this node");
}

/// A client's one socket, whose datagrams went to `old` for so long while the rule names `new`.
fn outlived(seconds: u64, old: &str, new: &str) -> Option<Finding> {
    let service = Service {
        address: ip("10.96.0.10"),
        port: 53,
        protocol: 17,
        name: Some("kube-system/kube-dns:dns".into()),
        backends: vec![(ip(new), 53)],
        rejected: false,
        local: false,
        engine: Engine::Nftables,
        table: None,
    };
    let udp = |to| FlowKey {
        protocol: 17,
        ..tcp("172.20.1.5", to, 53)
    };
    let after = |later: u64| {
        move |hop: &mut netdiag_common::hop::FlowHop| {
            hop.first += later;
            hop.last = hop.first + seconds * 1_000_000_000;
        }
    };
    let observation = Observation {
        now: (seconds + 2) * 1_000_000_000,
        flows: vec![
            at(udp("10.96.0.10"), POD, false, PLAIN, after(0)),
            at(udp(old), UPLINK, true, PLAIN, after(1000)),
        ],
        ..Observation::default()
    };
    let known = [(Want::Services, Ok(told(service)))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, known, evaluate)
}

#[test]
fn a_silent_address_that_no_rule_names_any_more_is_an_entry_that_outlived_it() {
    let (old, new) = ("198.51.100.37", "198.51.100.12");
    let found = outlived(9, old, new).expect("a finding");
    assert!(
        found.summary.contains("a conntrack entry"),
        "{}",
        found.summary
    );
    assert_eq!(
        found.fix.commands,
        ["conntrack -D -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 198.51.100.37"]
    );
    assert!(outlived(9, old, old).is_none(), "it may be slow");
    assert!(outlived(2, old, new).is_none(), "a rollout");
}
