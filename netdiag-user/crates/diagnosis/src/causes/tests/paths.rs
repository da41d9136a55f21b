//! Overlays, routes and path MTUs: what is lost beyond this node.
use super::*;
use crate::shell;

/// Connections to a peer's pod that leave encapsulated and get no answer, while the peer itself
/// answers.
fn into_silence() -> Observation {
    let ask = |port| {
        let flow = tcp("172.20.1.5", "172.20.2.9", port);
        at(flow, UPLINK, true, VXLAN, |hop| {
            hop.flags = hop::SYN;
            hop.syns = 2;
            hop.first = 500_000_000;
        })
    };
    let plain = tcp("192.0.2.1", "192.0.2.2", 22);
    let answer = |hop: &mut hop::FlowHop| hop.last = 9_000_000_000;
    Observation {
        now: 10_000_000_000,
        flows: vec![
            ask(80),
            ask(81),
            at(plain, UPLINK, true, 0, |_| {}),
            at(plain.reversed(), UPLINK, false, 0, answer),
        ],
        outers: vec![outer("192.0.2.1", "192.0.2.2", true)],
        ..Observation::default()
    }
}

#[test]
fn an_overlay_without_any_answer_is_blocked() {
    let node = overlay_node(1450, 1450, 1500);
    let findings = judge(&node, &into_silence());
    assert_eq!(causes(&findings), ["overlay-blocked"]);
    assert!(findings[0].summary.contains("UDP port 4789"));
}

#[test]
fn silence_that_has_another_explanation_is_not_called_a_block() {
    let node = overlay_node(1450, 1450, 1500);
    let of = |change: &dyn Fn(&mut Observation)| {
        let mut observation = into_silence();
        change(&mut observation);
        causes(&judge(&node, &observation)).len()
    };
    let heard = |o: &mut Observation| o.outers.push(outer("192.0.2.2", "192.0.2.1", false));
    assert_eq!(of(&heard), 1, "what came in before proves nothing");
    let late = |o: &mut Observation| {
        heard(o);
        o.outers[1].1.last = 9_000_000_000;
    };
    assert_eq!(of(&late), 0, "the peer is heard");
    assert_eq!(of(&|o| o.flows.truncate(3)), 0, "the node is down");
    assert_eq!(of(&|o| o.now = 2_000_000_000), 0, "too early to tell");
    let answered = |o: &mut Observation| {
        for flow in [0, 1].map(|n| o.flows[n].0.flow.reversed()) {
            o.flows.push(at(flow, UPLINK, false, 0, |_| {}));
        }
    };
    assert_eq!(of(&answered), 0, "the answers take another way");
    let dropped = |o: &mut Observation| {
        let mut flow = tcp("192.0.2.1", "192.0.2.2", 4789);
        flow.protocol = 17;
        o.drops.push(lost(flow, IP_RPFILTER + 1, UPLINK, 9, 0));
    };
    assert_eq!(of(&dropped), 0, "this node drops them itself");
}

/// A pod's requests for `to` leave by the default route, and nobody answers.
fn by_default_route(to: &str) -> (Node, Observation) {
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    let ask = at(tcp("172.20.1.5", to, 80), UPLINK, true, 0, |hop| {
        hop.flags = hop::SYN;
        hop.syns = 3;
    });
    let observation = Observation {
        now: 10_000_000_000,
        flows: vec![ask],
        ..Observation::default()
    };
    (node, observation)
}

#[test]
fn pods_without_a_route_are_told_from_strangers() {
    // Beside the pod networks that are known, 172.20.1.5 and 172.20.2.0/24.
    let (node, observation) = by_default_route("172.20.3.9");
    let findings = judge(&node, &observation);
    assert_eq!(causes(&findings), ["pod-route-missing"]);
    assert_eq!(findings[0].about, [ip("172.20.3.9")]);
    assert_eq!(
        findings[0].confidence,
        Confidence::Suspected,
        "or it is gone"
    );
    let (node, observation) = by_default_route("172.24.3.9");
    assert_eq!(causes(&judge(&node, &observation)), [""; 0], "a stranger");
}

#[test]
fn the_clusters_name_server_is_no_pod_that_is_gone() {
    let (node, mut observation) = by_default_route("172.20.3.9");
    let name = "web.shop.svc.cluster.local";
    let asked = crate::testing::question(
        "172.20.1.5",
        "172.20.3.9",
        name,
        crate::testing::POD,
        |_| {},
    );
    observation.dns.push(asked);
    let findings = judge(&node, &observation);
    assert_eq!(findings[0].cause, "pod-route-missing");
    assert_eq!(findings[0].confidence, Confidence::Confirmed);
}

#[test]
fn a_pod_of_this_node_is_led_to_again() {
    let (mut node, mut observation) = by_default_route("172.20.1.5");
    observation.flows[0].0.flow = tcp("172.20.2.9", "172.20.1.5", 80);
    assert_eq!(causes(&judge(&node, &observation)), [""; 0], "it is led to");
    node.routes.retain(|r| r.oif != Some(crate::testing::POD));
    let findings = judge(&node, &observation);
    assert_eq!(causes(&findings), ["pod-route-missing"]);
    let lead = "ip route replace 172.20.1.5/32 dev cali1 scope link";
    assert_eq!(findings[0].fix.commands, [lead, FINDS_CALICO]);
}

#[test]
fn a_tunnel_that_is_down_took_its_routes_along() {
    let (mut node, observation) = by_default_route("172.20.2.9");
    let mut bridge = link(9, "cni0", LinkKind::Bridge, 1450).with_address("172.20.1.1/24");
    bridge.up = true;
    node.links.push(bridge);
    node.links[2].master = Some(9);
    node.routes.retain(|r| r.oif != Some(OVERLAY));
    node.links[1].up = false;
    let findings = judge(&node, &observation);
    assert_eq!(causes(&findings), ["pod-route-missing"]);
    let up = "ip link set dev vxlan.calico up";
    assert_eq!(findings[0].fix.commands[1], up);
}

#[test]
fn a_pod_that_dials_a_whole_network_is_told_in_a_few_lines() {
    let (node, mut observation) = by_default_route("172.20.3.9");
    let (key, hop) = observation.flows[0];
    for host in 10..40 {
        let mut other = key;
        other.flow.destination = tcp("172.20.1.5", &format!("172.20.3.{host}"), 443).destination;
        observation.flows.push((other, hop));
    }
    let findings = judge(&node, &observation);
    assert!(
        findings[0].summary.contains(" and 26 more: "),
        "{}",
        findings[0].summary
    );
    assert_eq!(findings[0].evidence.len(), 10);
}

#[test]
fn the_tunnels_own_entry_gives_the_route_that_is_gone() {
    let (mut node, observation) = by_default_route("172.20.2.9");
    node.routes.retain(|r| r.oif != Some(OVERLAY));
    assert_eq!(causes(&judge(&node, &observation)), [""; 0], "no network");
    let mut bridge = link(9, "cni0", LinkKind::Bridge, 1450).with_address("172.20.1.1/24");
    bridge.up = true;
    node.links.push(bridge);
    node.links[2].master = Some(9);
    let findings = judge(&node, &observation);
    assert_eq!(causes(&findings), ["pod-route-missing"]);
    assert_eq!(
        findings[0].fix.commands[1],
        "ip route add 172.20.2.0/24 via 172.20.2.0 dev vxlan.calico onlink"
    );
}

#[test]
fn a_pod_that_answers_by_another_way_is_routed_well_enough() {
    let (node, mut observation) = by_default_route("172.20.3.9");
    let back = observation.flows[0].0.flow.reversed();
    observation.flows.push(at(back, UPLINK, false, 0, |_| {}));
    assert_eq!(causes(&judge(&node, &observation)), [""; 0]);
}

/// The tunnel took the NIC of the default route, 203.0.113.7; its peers are beside another one.
fn wrong_nic() -> (Node, Observation) {
    const WAN: u32 = 8;
    let mut node = overlay_node(1450, 1450, 1500);
    node.links
        .push(link(WAN, "wan0", LinkKind::Physical, 1500).with_address("203.0.113.7/24"));
    node.links[1] = node.links[1].clone().with_tunnel("203.0.113.7", WAN);
    node.routes
        .push(route("0.0.0.0/0", WAN, Some("203.0.113.1")));
    let mut observation = into_silence();
    observation.outers = vec![outer("203.0.113.7", "192.0.2.2", true)];
    for (key, _) in &mut observation.flows[..2] {
        key.ifindex = WAN;
    }
    (node, observation)
}

#[test]
fn an_overlay_on_the_default_routes_nic_is_named_when_the_nodes_address_is_known() {
    let (mut node, observation) = wrong_nic();
    node.known_as.push((ip("192.0.2.1"), "--node-ip".into()));
    let findings = judge(&node, &observation);
    assert_eq!(
        causes(&findings),
        ["overlay-blocked", "overlay-wrong-interface"]
    );
    assert_eq!(findings[1].confidence, Confidence::Confirmed);
    // The tunnel is called as Calico calls its own.
    let fix = &findings[1].fix.summary;
    assert!(
        fix.contains("IP_AUTODETECTION_METHOD=interface=ens5"),
        "{fix}"
    );
    assert!(!fix.contains("flanneld"), "{fix}");
    let above = findings[0].consequence_of.as_deref();
    assert_eq!(above, Some("overlay-wrong-interface"));
}

#[test]
fn without_the_nodes_address_a_wrong_nic_is_only_suspected() {
    let (node, observation) = wrong_nic();
    let findings = judge(&node, &observation);
    assert_eq!(findings[1].confidence, Confidence::Suspected);
}

#[test]
fn an_overlay_that_is_answered_may_use_any_nic() {
    let (mut node, mut observation) = wrong_nic();
    node.known_as.push((ip("192.0.2.1"), "--node-ip".into()));
    let flows = [0, 1].map(|n| observation.flows[n].0.flow.reversed());
    let back = flows.map(|flow| at(flow, 8, false, VXLAN, |_| {}));
    observation.flows.extend(back);
    assert_eq!(causes(&judge(&node, &observation)), [""; 0]);
}

/// Large packets of a client outside come in for a pod behind the tunnel, `stalled` times again.
fn upload_from_outside(stalled: u32) -> Observation {
    let flow = tcp("203.0.113.9", "172.20.2.9", 443);
    let hop = at(flow, UPLINK, false, 0, |hop| {
        hop.oversize = 5;
        hop.oversize_largest = 1500;
        hop.limit = 1450;
        hop.limit_from = FROM_DEVICE;
        hop.mss = 1460;
        hop.stalled = stalled;
        hop.retransmits = u64::from(stalled);
    });
    Observation {
        flows: vec![hop],
        ..Observation::default()
    }
}

#[test]
fn a_client_that_never_learns_the_path_mtu_is_a_black_hole() {
    let node = overlay_node(1450, 1450, 1500);
    let mut observation = upload_from_outside(3);
    let findings = judge(&node, &observation);
    assert_eq!(causes(&findings), ["pmtu-black-hole"]);
    assert!(findings[0].fix.commands.is_empty(), "no answer passes here");
    let back = observation.flows[0].0.flow.reversed();
    observation.flows.push(at(back, UPLINK, true, 0, |_| {}));
    let findings = judge(&node, &observation);
    let fix = &findings[0].fix.commands[0];
    assert!(fix.contains("-o vxlan.calico") && fix.contains("--set-mss 1410"));
    let mss = |e: &crate::model::verdict::Evidence| e.text.contains("MSS 1460");
    assert!(findings[0].evidence.iter().any(mss));
}

#[test]
fn a_client_that_heeds_frag_needed_is_none() {
    let node = overlay_node(1450, 1450, 1500);
    assert_eq!(causes(&judge(&node, &upload_from_outside(1))), [""; 0]);
}

#[test]
fn a_large_packet_for_a_pod_here_meets_nothing_narrower() {
    let node = overlay_node(1450, 1450, 1500);
    let mut observation = upload_from_outside(3);
    observation.flows[0].0.flow = tcp("203.0.113.9", "172.20.1.5", 443);
    assert_eq!(causes(&judge(&node, &observation)), [""; 0]);
}

/// The tunnel is one of another kind, whose options add `extra` bytes.
fn tunnel_of(kind: LinkKind, extra: u32) -> Node {
    let mut node = overlay_node(1450, 1450, 1450);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    let mut tunnel = link(OVERLAY, "tun1", kind, 1450);
    tunnel.tunnel = Some(crate::model::node::Tunnel {
        remote: (tunnel.kind != LinkKind::Wireguard).then(|| ip("192.0.2.2")),
        extra,
        ..Default::default()
    });
    node.links[1] = tunnel;
    node.routes[1].gateway = None;
    node
}

#[test]
fn each_kind_of_tunnel_takes_its_own_bytes() {
    let fix = |kind, extra| {
        let findings = judge(&tunnel_of(kind, extra), &Observation::default());
        assert_eq!(causes(&findings), ["tunnel-mtu-too-large"]);
        findings[0].fix.commands[0].clone()
    };
    let mtu = |mtu: u32| shell!("ip link set dev tun1 mtu {}", mtu);
    assert_eq!(fix(LinkKind::Gre, 0), mtu(1426));
    assert_eq!(fix(LinkKind::Gre, 4), mtu(1422), "with a key");
    assert_eq!(fix(LinkKind::Sit, 0), mtu(1430));
    assert_eq!(fix(LinkKind::Wireguard, 0), mtu(1390));
    assert_eq!(fix(LinkKind::Ip6Tunnel, 8), mtu(1402));
    assert_eq!(fix(LinkKind::Ip6Tunnel, 0), mtu(1410), "encaplimit none");
}

#[test]
fn an_oversize_packet_names_the_kind_of_its_tunnel() {
    let node = tunnel_of(LinkKind::Gre, 4);
    let findings = judge(&node, &oversize(1450, 1422, FROM_OVERHEAD, 3));
    assert_eq!(causes(&findings), ["tunnel-mtu-too-large"]);
    assert_eq!(findings[0].severity, Severity::Critical);
}

#[test]
fn an_address_that_changes_hands_again_and_again_is_held_by_two() {
    let turns = |changes, returns, ifindex| {
        let start = overlay_node(1450, 1450, 1500);
        let mut node = start.clone();
        let lladdrs = [1, 2].map(|last| vec![2, 0, 0, 0, 0, last]).to_vec();
        node.neighbour_moves = vec![crate::model::node::NeighbourMoves {
            ifindex,
            address: ip("192.0.2.2"),
            lladdrs,
            changes,
            returns,
        }];
        crate::testing::since(&start, &node, &Observation::default(), [], evaluate)
    };
    let with = |changes: u32, ifindex| turns(changes, Some(changes - 1), ifindex);
    let findings = with(3, UPLINK);
    assert_eq!(causes(&findings), ["duplicate-address"]);
    assert!(findings[0].summary.contains("02:00:00:00:00:01"));
    assert_eq!(findings[0].severity, Severity::Warning, "nothing is lost");
    assert_eq!(causes(&with(2, UPLINK)), [""; 0], "a fail-over and back");
    assert_eq!(causes(&with(9, OVERLAY)), [""; 0], "the daemon's own");
    let reused = turns(9, Some(0), UPLINK);
    assert_eq!(causes(&reused), [""; 0], "one new pod after another");
    let older = turns(3, None, UPLINK);
    assert_eq!(causes(&older), ["duplicate-address"], "as recorded before");
}

/// What a hook drops while the table holds `count` of 1000 entries and `dropped` found no room.
fn tracked(count: u64, dropped: u64) -> Vec<Finding> {
    let counters = |dropped| {
        let values = [
            ("nf_conntrack.drop", dropped),
            ("nf_conntrack_count", count),
            ("nf_conntrack_max", 1000),
        ];
        let values = values.map(|(name, value)| (name.into(), value));
        vec![crate::model::node::Counters {
            netns: crate::testing::NETNS,
            values: values.into(),
        }]
    };
    let mut start = overlay_node(1450, 1450, 1500);
    start.counters = counters(7);
    let mut node = start.clone();
    node.counters = counters(7 + dropped);
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let place = ("NETFILTER_DROP", "nf_hook_slow");
    let observation = Observation {
        drops: vec![died(flow, place, UPLINK, 5)],
        ..Observation::default()
    };
    crate::testing::since(&start, &node, &observation, [], evaluate)
}

#[test]
fn a_full_table_is_named_and_no_rule_blamed() {
    let findings = tracked(990, 40);
    assert_eq!(causes(&findings), ["conntrack-full"]);
    let commands = &findings[0].fix.commands;
    assert!(commands[0].text().ends_with("nf_conntrack_max=2000"));
}

#[test]
fn a_table_with_room_drops_nothing() {
    assert_eq!(causes(&tracked(990, 0)), ["firewall-drop"], "full before");
    assert_eq!(
        causes(&tracked(200, 40)),
        ["firewall-drop"],
        "there is room"
    );
}
