use netdiag_common::claim::NeighbourAnnouncement;
use netdiag_common::hop::{FlowHop, FlowHopKey, PLAIN};

use super::*;
use crate::{
    model::{
        address::to_wire,
        flow::TCP,
        gather::Piece,
        observation::Observation,
        services::{Engine, Services},
    },
    testing::{POD, UPLINK, at, ip, overlay_node, tcp, with_gathered},
};

const SECOND: u64 = 1_000_000_000;
const ROUTER: u64 = 0x02_00_00_00_00_fe;
const VIPS: [&str; 2] = ["192.0.2.240", "2001:db8::240"];

fn key(vip: &str) -> NeighbourAnnouncementKey {
    NeighbourAnnouncementKey {
        address: to_wire(ip(vip)),
        ifindex: UPLINK,
        asked: 1,
        ..NeighbourAnnouncementKey::default()
    }
}

/// So many questions of one host, the last just now.
fn questions(count: u64, seconds: u64) -> NeighbourAnnouncement {
    NeighbourAnnouncement {
        one: ROUTER,
        of_one: count,
        first: 100 * SECOND - seconds * SECOND,
        last: 100 * SECOND,
        ..NeighbourAnnouncement::default()
    }
}

fn service(vip: &str, rejected: bool) -> Service {
    Service {
        address: ip(vip),
        port: 443,
        protocol: TCP,
        name: Some("mesh/gateway:https".into()),
        backends: vec![(ip("172.20.1.5"), 8443)],
        rejected,
        local: false,
        engine: Engine::IptablesNft,
        table: None,
    }
}

type Rows = Vec<(NeighbourAnnouncementKey, NeighbourAnnouncement)>;

fn judge(rows: Rows, service: Service) -> Vec<Finding> {
    judged(rows, service, Vec::new())
}

fn judged(rows: Rows, service: Service, flows: Vec<(FlowHopKey, FlowHop)>) -> Vec<Finding> {
    let observation = Observation {
        now: 101 * SECOND,
        claims: rows,
        flows,
        ..Observation::default()
    };
    let services = Services {
        rules: vec![service],
        ..Services::default()
    };
    let known = [(Want::Services, Ok(Piece::Services(services)))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, known, |facts| {
        if !wanted(facts).is_empty() {
            assert!(crate::causes::wants(facts).contains(&Want::Services));
        }
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn whom_nobody_answers_for_though_the_rules_lead_him_on_is_told() {
    for vip in VIPS {
        let found = judge(vec![(key(vip), questions(12, 11))], service(vip, false));
        assert_eq!(found.len(), 1, "{vip}");
        let asked = format!("02:00:00:00:00:fe asked 12 times on ens5 for {vip}, which");
        assert!(found[0].summary.starts_with(&asked), "{}", found[0].summary);
        let name = "mesh/gateway:https".into();
        assert_eq!(found[0].subject, Some(Subject::Service { name }));
        assert_eq!(found[0].severity, Severity::Info, "who answers is not seen");
    }
}

#[test]
fn whoever_is_answered_asks_seldom() {
    for vip in VIPS {
        for (count, seconds) in [(4, 11), (12, 2), (12, 90)] {
            let rows = vec![(key(vip), questions(count, seconds))];
            let found = judge(rows, service(vip, false));
            assert!(found.is_empty(), "{count} in {seconds} s");
        }
        let many = NeighbourAnnouncement {
            of_one: 1,
            of_other: 1,
            changes: 40,
            ..questions(1, 20)
        };
        assert!(judge(vec![(key(vip), many)], service(vip, false)).is_empty());
    }
}

#[test]
fn two_who_ask_by_turns_are_not_answered_either() {
    let both = NeighbourAnnouncement {
        other: ROUTER + 1,
        of_one: 9,
        of_other: 9,
        changes: 17,
        ..questions(1, 10)
    };
    let vip = VIPS[0];
    assert_eq!(judge(vec![(key(vip), both)], service(vip, false)).len(), 1);
}

#[test]
fn nothing_is_wrong_where_somebody_has_it() {
    for vip in VIPS {
        let said = NeighbourAnnouncementKey {
            asked: 0,
            ..key(vip)
        };
        let rows = vec![(key(vip), questions(12, 11)), (said, questions(1, 0))];
        assert!(judge(rows, service(vip, false)).is_empty());
    }
}

#[test]
fn nothing_is_wrong_where_its_traffic_comes_here() {
    let vip = VIPS[0];
    let asked = |from: &str, link: u32, last: u64| {
        let seen = |hop: &mut FlowHop| hop.last = last * SECOND;
        let hop = at(tcp(from, vip, 443), link, false, PLAIN, seen);
        let rows = vec![(key(vip), questions(12, 11))];
        judged(rows, service(vip, false), vec![hop])
    };
    assert!(asked("203.0.113.9", UPLINK, 99).is_empty());
    assert_eq!(asked("203.0.113.9", UPLINK, 90).len(), 1, "it came before");
    assert_eq!(asked("172.20.1.5", POD, 99).len(), 1, "a pod here asks");
}

#[test]
fn others_addresses_the_nodes_own_and_services_without_pods_are_none_of_it() {
    let asked = |address: &str| vec![(key(address), questions(12, 11))];
    assert!(judge(asked("192.0.2.77"), service(VIPS[0], false)).is_empty());
    assert!(judge(asked(VIPS[0]), service(VIPS[0], true)).is_empty());
    let by_a_pod = NeighbourAnnouncementKey {
        ifindex: POD,
        ..key(VIPS[0])
    };
    let asked_so = judge(vec![(by_a_pod, questions(12, 11))], service(VIPS[0], false));
    assert!(asked_so.is_empty(), "a pod's link");
    let own = "192.0.2.1";
    assert!(judge(asked(own), service(own, false)).is_empty());
}
