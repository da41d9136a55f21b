use super::{hop::next_hop_by, *};
use crate::{
    model::{
        node::{Neighbour, Node, PodSide, Route, RouteKind},
        observation::Observation,
    },
    testing::{OVERLAY, UPLINK, died, link, overlay_node, tcp, with_facts},
};

fn judge(node: &Node, death: (&str, &str), ifindex: u32, last: u64) -> Option<Finding> {
    let flow = tcp("172.20.1.5", "172.20.2.9", 443);
    let mut drop = died(flow, death, ifindex, 6);
    drop.1.last = last * 1_000_000_000;
    let observation = Observation {
        drops: vec![drop],
        ..Observation::default()
    };
    with_facts(node, &observation, evaluate).pop()
}

#[test]
fn an_overlay_tells_which_entry_is_missing() {
    let whole = overlay_node(1450, 1450, 1500);
    let found = judge(&whole, ("NOT_SPECIFIED", "vxlan_xmit"), OVERLAY, 4).expect("a finding");
    assert!(
        found
            .summary
            .contains("no forwarding entry for 02:00:00:00:00:02")
    );
    let mut node = whole;
    node.neighbours.clear();
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    let found = judge(&node, failed, OVERLAY, 6).expect("a finding");
    assert!(found.summary.contains("no neighbour entry for 172.20.2.0"));
    let command = "ip neighbour replace 172.20.2.0 lladdr 02:00:00:00:00:02 \
                   dev vxlan.calico nud permanent";
    assert_eq!(found.fix.commands, [command, daemon::FINDS_CALICO]);
}

#[test]
fn one_round_of_asking_is_no_pattern() {
    let node = overlay_node(1450, 1450, 1500);
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    assert!(judge(&node, failed, UPLINK, 1).is_none());
    assert!(judge(&node, failed, UPLINK, 4).is_some());
}

#[test]
fn isolated_ports_of_a_bridge_are_told() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.push(link(9, "br0", LinkKind::Bridge, 1500));
    let mut other = link(10, "veth2", LinkKind::Veth, 1500).with_peer(77);
    (other.master, node.links[2].master) = (Some(9), Some(9));
    (node.links[2].isolated, other.isolated) = (true, true);
    node.links.push(other);
    node.pod_sides.push(PodSide {
        netns: 77,
        addresses: vec!["172.20.2.9".parse().expect("an address")],
        ..node.pod_sides[0].clone()
    });
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    let found = judge(&node, failed, UPLINK, 14).expect("a finding");
    assert!(found.summary.contains("are isolated ports of br0"));
    assert_eq!(
        found.fix.commands,
        ["bridge link set dev veth2 isolated off"]
    );
}

#[test]
fn who_comes_in_by_another_link_is_not_where_the_route_says() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.push(link(9, "br0", LinkKind::Bridge, 1500));
    node.routes
        .push(crate::testing::route("203.0.113.8/29", 9, None));
    let answer = tcp("172.20.1.5", "203.0.113.9", 443);
    let plain = netdiag_common::hop::PLAIN;
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    let mut lost = died(answer, failed, 9, 4);
    (lost.1.first, lost.1.last) = (1, 14_000_000_000);
    let asked = crate::testing::at(answer.reversed(), UPLINK, false, plain, |_| {});
    let seen = Observation {
        drops: vec![lost],
        flows: vec![asked],
        ..Observation::default()
    };
    let found = with_facts(&node, &seen, evaluate).pop().expect("a finding");
    let told = "where the route 203.0.113.8/29 looks for it: what it sends comes in by ens5";
    assert!(found.summary.contains(told), "{}", found.summary);
    assert_eq!(found.fix.commands, ["ip route del 203.0.113.8/29"]);
}

#[test]
fn pods_that_are_gone_are_given_time() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes[1].oif = Some(crate::testing::POD);
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    assert!(judge(&node, failed, crate::testing::POD, 4).is_none());
    assert!(judge(&node, failed, crate::testing::POD, 14).is_some());
}

#[test]
fn of_several_next_hops_the_missing_one_is_named() {
    let mut node = overlay_node(1450, 1450, 1500);
    let gateway = |last: u8| -> IpAddr { [192, 0, 2, last].into() };
    let to = "198.51.100.0/24".parse().expect("a prefix");
    for last in [2, 3] {
        node.routes.push(Route {
            kind: RouteKind::Unicast,
            destination: to,
            oif: Some(UPLINK),
            gateway: Some(gateway(last)),
            ..node.routes[0].clone()
        });
    }
    let entry = |last, failed: bool| Neighbour {
        ifindex: UPLINK,
        address: gateway(last),
        lladdr: (!failed).then(|| vec![2, 0, 0, 0, 0, last]),
        failed,
        permanent: false,
    };
    for missing in [2, 3] {
        node.neighbours = vec![entry(2, missing == 2), entry(3, missing == 3)];
        with_facts(&node, &Observation::default(), |facts| {
            let link = facts.link(UPLINK).expect("the uplink");
            let by = next_hop_by(facts, link, [198, 51, 100, 7].into());
            assert_eq!(by, Some(gateway(missing)));
        });
    }
}

#[test]
fn a_link_that_is_switched_off_is_told() {
    let mut node = overlay_node(1450, 1450, 1500);
    let mut other = link(10, "veth2", LinkKind::Veth, 1500).with_peer(77);
    (other.master, other.up) = (Some(9), false);
    node.links.push(other);
    node.pod_sides.push(PodSide {
        netns: 77,
        addresses: vec!["172.20.2.9".parse().expect("an address")],
        ..node.pod_sides[0].clone()
    });
    let failed = ("NEIGH_FAILED", "neigh_invalidate");
    let found = judge(&node, failed, UPLINK, 14).expect("a finding");
    assert!(found.summary.contains("the link veth2 of the pod"));
    assert_eq!(found.fix.commands, ["ip link set dev veth2 up"]);
}

/// A bridge that has no address of its own, with a tunnel: only the pod's routes say that the address is on it.
fn asked_through_a_tunnel(gateway: Option<&str>) -> Vec<Finding> {
    const BRIDGE: u32 = 21;
    let mut node = overlay_node(1450, 1450, 1500);
    node.links
        .push(link(BRIDGE, "ov-1", LinkKind::Bridge, 1450));
    node.links[1].master = Some(BRIDGE);
    node.links[2].master = Some(BRIDGE);
    node.fdb[0].lladdr = vec![0; 6];
    let network = "172.20.1.0/24".parse().expect("a network");
    node.pod_sides[0].ways = vec![(network, gateway.map(crate::testing::ip))];
    let mut lost = died(
        tcp("172.20.1.5", "172.20.1.8", 8000),
        ("NEIGH_FAILED", "neigh_invalidate"),
        0,
        6,
    );
    lost.0.netns = crate::testing::POD_NETNS;
    (lost.1.first, lost.1.last) = (1, 14_000_000_000);
    let seen = Observation {
        drops: vec![lost],
        ..Observation::default()
    };
    with_facts(&node, &seen, evaluate)
}

#[test]
fn a_question_that_leaves_by_a_tunnel_names_its_other_ends() {
    let found = asked_through_a_tunnel(None);
    let told = "172.20.1.8 does not answer on the link: nobody on this node has it, and the question leaves by vxlan.calico for 192.0.2.2";
    assert!(found[0].summary.starts_with(told), "{}", found[0].summary);
    let commands: Vec<_> = found[0].fix.commands.iter().map(|c| c.text()).collect();
    assert!(
        commands[1].ends_with("udp port 4789 and host 192.0.2.2"),
        "{commands:?}"
    );
    assert!(
        asked_through_a_tunnel(Some("172.20.1.1"))
            .iter()
            .all(|f| !f.summary.contains("172.20.1.8 does"))
    );
}
