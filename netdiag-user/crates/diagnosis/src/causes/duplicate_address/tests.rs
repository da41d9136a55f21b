use super::*;
use crate::{
    model::{
        address::to_wire,
        node::{LinkKind, Node, PodSide},
        observation::Observation,
    },
    testing::{self, OVERLAY, UPLINK, ip, overlay_node, with_facts},
};

const OWN: u64 = 0x02_00_00_00_00_01;
const PEER: u64 = 0x02_00_00_00_00_02;
const THIRD: u64 = 0x02_00_00_00_00_03;

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links[0].lladdr = Some(bytes(OWN));
    node
}

fn judge(address: &str, ifindex: u32, claim: NeighbourAnnouncement) -> Option<Finding> {
    let key = NeighbourAnnouncementKey {
        address: to_wire(ip(address)),
        ifindex,
        ..NeighbourAnnouncementKey::default()
    };
    let observation = Observation {
        claims: vec![(key, claim)],
        ..Observation::default()
    };
    with_facts(&node(), &observation, on_a_link)
}

fn by_turns(changes: u32) -> NeighbourAnnouncement {
    NeighbourAnnouncement {
        one: PEER,
        other: THIRD,
        of_one: 3,
        of_other: u64::from(changes),
        changes,
        ..NeighbourAnnouncement::default()
    }
}

#[test]
fn answers_by_turns_are_two_hosts() {
    for address in ["192.0.2.2", "2001:db8::2"] {
        let found = judge(address, UPLINK, by_turns(3)).expect("a finding");
        assert!(
            found
                .summary
                .contains("02:00:00:00:00:02 and 02:00:00:00:00:03")
        );
        assert_eq!(found.confidence, Confidence::Confirmed);
    }
    assert!(
        judge("192.0.2.2", UPLINK, by_turns(2)).is_none(),
        "a fail-over"
    );
    assert!(judge("172.20.2.0", OVERLAY, by_turns(9)).is_none());
    let pods = judge("192.0.2.2", testing::POD, by_turns(9));
    assert!(pods.is_none(), "a pod speaks of what is not on its link");
}

#[test]
fn three_that_took_over_in_turn_are_no_two() {
    let claim = NeighbourAnnouncement {
        of_other: 1,
        ..by_turns(3)
    };
    assert!(judge("192.0.2.2", UPLINK, claim).is_none());
}

#[test]
fn two_pods_on_a_bridge_are_told_by_their_ports() {
    let mut node = node();
    node.routes.clear();
    let mut bridge = testing::link(9, "cbr0", LinkKind::Bridge, 1450);
    bridge.lladdr = Some(bytes(OWN));
    let mut claims = Vec::new();
    let mut claim = |ifindex, claim| {
        let key = NeighbourAnnouncementKey {
            address: to_wire(ip("172.20.1.5")),
            ifindex,
            ..NeighbourAnnouncementKey::default()
        };
        claims.push((key, claim));
    };
    claim(9, by_turns(4));
    for (ifindex, name, mac) in [(10, "veth1", PEER), (11, "veth2", THIRD)] {
        let mut port = testing::link(ifindex, name, LinkKind::Veth, 1450);
        port.master = Some(9);
        node.links.push(port);
        let one = NeighbourAnnouncement {
            one: mac,
            of_one: 4,
            ..NeighbourAnnouncement::default()
        };
        claim(ifindex, one);
    }
    node.links.push(bridge);
    let observation = Observation {
        claims,
        ..Observation::default()
    };
    let found = with_facts(&node, &observation, on_a_link).expect("a finding");
    let text: Vec<_> = found.evidence.iter().map(|e| e.text.as_str()).collect();
    assert!(
        text.contains(&"02:00:00:00:00:03 is behind veth2"),
        "{text:?}"
    );
}

#[test]
fn nobody_else_may_claim_what_the_node_holds() {
    let by = |one, of_one| NeighbourAnnouncement {
        one,
        of_one,
        ..NeighbourAnnouncement::default()
    };
    let found = judge("192.0.2.1", UPLINK, by(THIRD, 3)).expect("a finding");
    assert!(found.summary.contains("which this node holds"));
    assert!(
        judge("192.0.2.1", UPLINK, by(THIRD, 2)).is_none(),
        "a fail-over"
    );
    assert!(judge("192.0.2.1", UPLINK, by(OWN, 9)).is_none(), "itself");
    assert!(
        judge("192.0.2.2", UPLINK, by(PEER, 9)).is_none(),
        "its holder"
    );
}

/// Each port sees one of them, and the node sends them nothing.
#[test]
fn pods_that_speak_among_themselves_are_told_by_what_they_have() {
    let mut node = node();
    let bridge = testing::link(9, "cbr0", LinkKind::Bridge, 1450);
    node.links.push(bridge);
    let mut claims = Vec::new();
    for (ifindex, netns, mac) in [(10, 71, PEER), (11, 72, THIRD)] {
        let mut port = testing::link(ifindex, &format!("veth{ifindex}"), LinkKind::Veth, 1450);
        (port.master, port.peer_netns) = (Some(9), Some(netns));
        node.links.push(port);
        node.pod_sides.push(PodSide {
            netns,
            addresses: vec![ip("172.20.1.5")],
            ..PodSide::default()
        });
        let key = NeighbourAnnouncementKey {
            address: to_wire(ip("172.20.1.5")),
            ifindex,
            ..NeighbourAnnouncementKey::default()
        };
        let claim = NeighbourAnnouncement {
            one: mac,
            of_one: 4,
            ..NeighbourAnnouncement::default()
        };
        claims.push((key, claim));
    }
    let observation = Observation {
        claims,
        ..Observation::default()
    };
    let found = with_facts(&node, &observation, on_a_link).expect("a finding");
    assert!(found.summary.contains("on cbr0"), "{}", found.summary);
    let behind = found
        .evidence
        .iter()
        .filter(|it| it.text.contains(" is behind "));
    assert_eq!(behind.count(), 2);
    // One pod with two links here answers by both.
    let mut one = node.clone();
    for port in one.links.iter_mut().filter(|l| l.master == Some(9)) {
        port.peer_netns = Some(71);
    }
    assert!(with_facts(&one, &observation, on_a_link).is_none());
    let mut vlans = node.clone();
    let bridge = vlans.links.iter_mut().find(|l| l.name == "cbr0");
    bridge.expect("the bridge").vlan_filtering = true;
    assert!(
        with_facts(&vlans, &observation, on_a_link).is_none(),
        "of two VLANs"
    );
    // An address that moved to the other pod, or a virtual one that only one of them holds now.
    node.pod_sides.pop();
    assert!(with_facts(&node, &observation, on_a_link).is_none());
}
