use netdiag_common::claim::{NeighbourAnnouncement, NeighbourAnnouncementKey};

use super::{
    super::leading::{leading_node, state},
    *,
};
use crate::{
    model::{
        address::to_wire,
        gather::Piece,
        node::{LOCAL, Route, RouteKind},
        observation::Observation,
        world::Known,
    },
    testing::{UPLINK, ip, route, with_gathered},
};

const SECOND: u64 = 1_000_000_000;
const ROUTER: u64 = 0x02_00_00_00_09_09;

/// So many questions of the router for that address, where `arp_ignore` of the uplink is so.
fn found(address: &str, count: u64, arp_ignore: u8) -> Vec<Finding> {
    let key = NeighbourAnnouncementKey {
        address: to_wire(ip(address)),
        ifindex: UPLINK,
        asked: 1,
        ..NeighbourAnnouncementKey::default()
    };
    let questions = NeighbourAnnouncement {
        one: ROUTER,
        of_one: count,
        first: 90 * SECOND,
        last: 100 * SECOND,
        ..NeighbourAnnouncement::default()
    };
    let observation = Observation {
        now: 101 * SECOND,
        claims: vec![(key, questions)],
        ..Observation::default()
    };
    let (mut node, _) = leading_node(false);
    node.routes.push(Route {
        kind: RouteKind::Local,
        table: LOCAL,
        ..route("192.0.2.1/32", UPLINK, None)
    });
    // One host has that link-layer address.
    node.neighbours.retain(|n| n.address != ip("192.0.2.9"));
    let mut stack = state(&node, false);
    let Known::Is(devices) = &mut stack.devices else {
        panic!("devices");
    };
    let uplink = devices.get_mut(&UPLINK).expect("an uplink");
    uplink.conf4.get_or_insert_default().arp_ignore = arp_ignore;
    let piece = (Want::Stack(node.netns), Ok(Piece::Stack(stack.into())));
    with_gathered(&node, &observation, [piece], |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn a_link_that_is_set_not_to_answer_for_its_own_address_is_told() {
    let found_one = found("192.0.2.1", 8, 8);
    let [finding] = found_one.as_slice() else {
        panic!("{found_one:?}");
    };
    for word in ["arp_ignore", "192.0.2.254", "8 times"] {
        assert!(finding.summary.contains(word), "{}", finding.summary);
    }
    assert!(
        finding.fix.commands[0]
            .to_string()
            .starts_with("sysctl -w net.ipv4.conf."),
        "{:?}",
        finding.fix
    );
}

#[test]
fn what_it_answers_is_healthy_however_often_it_is_asked_for() {
    assert!(found("192.0.2.1", 8, 0).is_empty());
    assert!(found("192.0.2.1", 8, 1).is_empty(), "its own address");
    assert!(found("192.0.2.1", 2, 8).is_empty(), "once");
    assert!(found("192.0.2.77", 8, 8).is_empty(), "another's");
}
