//! The rules against each other: each incident's facts name it and nothing else.
use netdiag_common::hop::{
    self, ACK, EGRESS, FROM_DEVICE, FROM_OVERHEAD, INGRESS, Outer, OuterKey, VXLAN,
};

mod outages;
mod paths;

use crate::{
    findings as evaluate,
    model::{
        address::to_wire,
        node::{LinkAddress, LinkKind, Node},
        observation::Observation,
        verdict::{Confidence, Finding, Severity},
    },
    shared::daemon::FINDS_CALICO,
    testing::{
        IP_RPFILTER, NETFILTER_DROP, OVERLAY, UPLINK, at, died, from_pod, ip, link, lost,
        overlay_node, route, tcp, with_facts,
    },
};

const SYN: u32 = 2;
const FIN_ACK: u32 = 0x11;

fn judge(node: &Node, observation: &Observation) -> Vec<Finding> {
    with_facts(node, observation, evaluate)
}

fn causes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.cause.as_str()).collect()
}

fn oversize(largest: u32, limit: u32, from: u8, stalled: u32) -> Observation {
    let flow = tcp("172.20.1.5", "172.20.2.9", 80);
    let hop = from_pod(flow, |hop| {
        hop.oversize = 4;
        hop.oversize_largest = largest;
        hop.limit = limit;
        hop.limit_from = from;
        hop.stalled = stalled;
        hop.retransmits = u64::from(stalled);
    });
    Observation {
        flows: vec![hop],
        ..Observation::default()
    }
}

#[test]
fn a_healthy_node_has_no_finding() {
    let flow = tcp("172.20.1.5", "172.20.2.9", 80);
    let flows = vec![
        from_pod(flow, |_| {}),
        at(flow.reversed(), OVERLAY, false, 0, |_| {}),
    ];
    let observation = Observation {
        flows,
        ..Observation::default()
    };
    assert_eq!(
        causes(&judge(&overlay_node(1450, 1450, 1500), &observation)),
        [""; 0]
    );
}

#[test]
fn a_tunnel_that_promises_too_much_is_critical_when_flows_stall() {
    let node = overlay_node(1450, 1450, 1400);
    let stalled = judge(&node, &oversize(1450, 1350, FROM_OVERHEAD, 3));
    assert_eq!(causes(&stalled), ["vxlan-mtu-too-large"]);
    assert_eq!(stalled[0].severity, Severity::Critical);
    let slow = judge(&node, &oversize(1450, 1350, FROM_OVERHEAD, 0));
    assert_eq!(slow[0].severity, Severity::Warning);
    assert!(slow[0].fix.commands[0].contains("1350"));
}

/// A veth whose other end has a larger MTU drops what comes from there without a word.
#[test]
fn a_pods_link_is_lowered_at_both_ends_or_not_at_all() {
    let mut node = overlay_node(1450, 1450, 1400);
    let commands = |node: &Node| {
        let found = judge(node, &oversize(1450, 1350, FROM_OVERHEAD, 3));
        let fix = &found[0].fix;
        let words: Vec<String> = fix.commands.iter().map(|it| it.text()).collect();
        (fix.summary.clone(), words)
    };
    let (netns, peer) = (node.pod_sides[0].netns, 7);
    let pods = node
        .links
        .iter_mut()
        .filter(|it| it.peer_netns == Some(netns));
    pods.for_each(|it| it.link = Some(peer));
    node.pod_sides[0].links.push((peer, "eth0".into()));
    let (summary, both) = commands(&node);
    let [_, inside, outside] = both.as_slice() else {
        panic!("the tunnel and one pair: {both:?}");
    };
    assert!(
        inside.ends_with("ip link set dev eth0 mtu 1350"),
        "{inside}"
    );
    assert!(outside.starts_with("ip link set dev "), "{outside}");
    assert!(summary.contains("lower it now"), "{summary}");
    node.pod_sides.clear();
    let (summary, tunnel) = commands(&node);
    assert_eq!(tunnel, both[..1]);
    assert!(summary.contains("recreate the pods"), "{summary}");
}

#[test]
fn without_traffic_the_numbers_alone_are_told_as_configured() {
    let findings = judge(&overlay_node(1450, 1450, 1400), &Observation::default());
    assert_eq!(causes(&findings), ["vxlan-mtu-too-large"]);
    assert_eq!(findings[0].confidence, Confidence::Configured);
}

#[test]
fn a_large_tunnel_hurts_nobody_whose_packets_are_small() {
    assert_eq!(
        causes(&judge(
            &overlay_node(1300, 1450, 1400),
            &Observation::default()
        )),
        [""; 0]
    );
}

#[test]
fn a_pods_route_mtu_counts_instead_of_its_device() {
    let mut node = overlay_node(1500, 1450, 1500);
    node.pod_sides[0].route_mtu = Some(1450);
    assert_eq!(causes(&judge(&node, &Observation::default())), [""; 0]);
}

#[test]
fn pods_larger_than_the_tunnel_are_another_cause() {
    let findings = judge(
        &overlay_node(1500, 1450, 1500),
        &oversize(1500, 1450, FROM_DEVICE, 0),
    );
    assert_eq!(causes(&findings), ["pod-mtu-too-large"]);
}

#[test]
fn a_firewall_needs_a_pattern_and_silence() {
    let node = overlay_node(1450, 1450, 1500);
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let with = |packets, flags, answered: bool| {
        let mut observation = Observation {
            drops: vec![lost(flow, NETFILTER_DROP, UPLINK, packets, flags)],
            ..Observation::default()
        };
        if answered {
            observation
                .flows
                .push(at(flow.reversed(), OVERLAY, false, 0, |hop| {
                    hop.flags = hop::SYN | ACK;
                    hop.first = 1_000;
                }));
        }
        judge(&node, &observation).len()
    };
    assert_eq!(with(5, SYN, false), 1);
    assert_eq!(with(2, SYN, false), 0, "no pattern yet");
    assert_eq!(with(5, SYN, true), 0, "it is answered");
    assert_eq!(
        with(50, FIN_ACK, false),
        0,
        "strays of finished connections"
    );
}

#[test]
fn lost_answers_are_seen_although_the_requests_go_on() {
    let node = overlay_node(1450, 1450, 1500);
    let request = tcp("172.20.1.5", "172.20.2.9", 5432);
    let with = |flags| Observation {
        drops: vec![lost(
            request.reversed(),
            NETFILTER_DROP,
            UPLINK,
            5,
            SYN | 16,
        )],
        flows: vec![from_pod(request, |hop| {
            hop.flags = flags;
            hop.last = 3_000_000_000;
        })],
        ..Observation::default()
    };
    assert_eq!(causes(&judge(&node, &with(hop::SYN))), ["firewall-drop"]);
    let accepted = with(hop::SYN | ACK);
    assert_eq!(
        causes(&judge(&node, &accepted)),
        [""; 0],
        "the handshake was completed"
    );
}

#[test]
fn a_reset_in_answer_is_no_success() {
    let node = overlay_node(1450, 1450, 1500);
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let reset = at(flow.reversed(), OVERLAY, false, 0, |hop| {
        hop.flags = hop::RST | ACK;
        hop.first = 1_000;
    });
    let observation = Observation {
        drops: vec![lost(flow, NETFILTER_DROP, UPLINK, 5, SYN)],
        flows: vec![reset],
        ..Observation::default()
    };
    assert_eq!(causes(&judge(&node, &observation)), ["firewall-drop"]);
}

#[test]
fn what_the_node_put_together_is_not_what_the_pod_sent() {
    let flow = tcp("172.20.1.5", "172.20.2.9", 80);
    let mut observation = oversize(8028, 1450, FROM_DEVICE, 0);
    observation.flows[0].0.ifindex = 9;
    observation.flows.push(from_pod(flow, |_| {}));
    assert_eq!(
        causes(&judge(&overlay_node(1450, 1450, 1500), &observation)),
        [""; 0]
    );
}

#[test]
fn scans_from_outside_are_none_of_the_pods_business() {
    let node = overlay_node(1450, 1450, 1500);
    let scan = tcp("203.0.113.9", "192.0.2.1", 23);
    let drops = vec![lost(scan, NETFILTER_DROP, UPLINK, 500, SYN)];
    let observation = Observation {
        drops,
        ..Observation::default()
    };
    assert_eq!(causes(&judge(&node, &observation)), [""; 0]);
}

#[test]
fn the_reverse_path_filter_is_named_by_its_reason() {
    let node = overlay_node(1450, 1450, 1500);
    let flow = tcp("203.0.113.9", "172.20.1.5", 80);
    let drops = vec![lost(flow, IP_RPFILTER, UPLINK, 4, SYN)];
    let findings = judge(
        &node,
        &Observation {
            drops,
            ..Observation::default()
        },
    );
    assert_eq!(causes(&findings), ["rp-filter-drop"]);
    assert_eq!(
        findings[0].fix.commands,
        ["sysctl -w net.ipv4.conf.ens5.rp_filter=2"]
    );
}

fn outer(source: &str, destination: &str, egress: bool) -> (OuterKey, Outer) {
    let key = OuterKey {
        source: to_wire(ip(source)),
        destination: to_wire(ip(destination)),
        ifindex: UPLINK,
        vni: 7,
        port: 4789,
        direction: if egress { EGRESS } else { INGRESS },
        carried: VXLAN,
        padding: [0; 4],
    };
    (
        key,
        Outer {
            packets: 9,
            first: 1,
            last: 2,
            ..Outer::default()
        },
    )
}

#[test]
fn the_node_that_sends_from_a_network_is_the_one_to_enter_for_it() {
    let node = overlay_node(1450, 1450, 1500);
    let flow = tcp("172.20.1.5", "172.20.2.9", 443);
    let mut drop = died(flow, ("NOT_SPECIFIED", "vxlan_xmit"), OVERLAY, 6);
    drop.1.last = 4_000_000_000;
    let mut seen = outer("192.0.2.2", "192.0.2.1", false);
    seen.1.inner = tcp("172.20.2.9", "172.20.1.5", 80);
    let observation = Observation {
        drops: vec![drop],
        outers: vec![seen],
        ..Observation::default()
    };
    let found = with_facts(&node, &observation, super::neighbour_failed::evaluate);
    let command = "bridge fdb replace 02:00:00:00:00:02 dev vxlan.calico dst 192.0.2.2 \
                   self permanent";
    assert_eq!(found[0].fix.commands, [command, FINDS_CALICO]);
}

/// A peer's connection to a pod here, as the uplink sees it: it came in, the answer left.
fn conversation(stalled: u32, flags: u32) -> Observation {
    let into = tcp("172.20.2.9", "172.20.1.5", 80);
    let hop = |flow, egress, flags| {
        at(flow, UPLINK, egress, VXLAN, |hop| {
            hop.stalled = stalled;
            hop.flags = flags;
        })
    };
    Observation {
        flows: vec![hop(into, false, flags), hop(into.reversed(), true, ACK)],
        outers: vec![
            outer("192.0.2.1", "192.0.2.2", true),
            outer("192.0.2.2", "192.0.2.77", false),
        ],
        ..Observation::default()
    }
}

fn two_addresses() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links[0].addresses.push(LinkAddress {
        prefix: "192.0.2.77/24".parse().expect("a prefix"),
        dynamic: true,
        link_local: false,
    });
    node
}

#[test]
fn two_addresses_that_disagree_and_stall_are_named() {
    let findings = judge(&two_addresses(), &conversation(2, 0));
    assert_eq!(causes(&findings), ["vxlan-source-mismatch"]);
    assert!(findings[0].summary.contains("192.0.2.77"));
}

#[test]
fn the_nodes_own_address_decides_when_nothing_comes_back() {
    let mut observation = conversation(2, 0);
    observation.outers.truncate(1);
    observation.flows.remove(0);
    let mut node = two_addresses();
    assert_eq!(
        causes(&judge(&node, &observation)),
        [""; 0],
        "nothing says what is right"
    );
    node.known_as.push((ip("192.0.2.77"), "--node-ip".into()));
    assert_eq!(
        causes(&judge(&node, &observation)),
        ["vxlan-source-mismatch"]
    );
}

#[test]
fn two_addresses_that_disagree_and_work_are_no_finding() {
    assert_eq!(
        causes(&judge(&two_addresses(), &conversation(0, ACK))),
        [""; 0]
    );
}

#[test]
fn a_peer_outside_the_forwarding_table_is_named_on_the_receiver() {
    let mut observation = conversation(2, 0);
    // The answers need not leave: nobody may hold the address any more.
    observation.outers = vec![outer("192.0.2.55", "192.0.2.1", false)];
    observation.outers[0].1.inner = tcp("172.20.2.9", "172.20.1.5", 80);
    let findings = judge(&overlay_node(1450, 1450, 1500), &observation);
    assert_eq!(causes(&findings), ["vxlan-source-mismatch"]);
    assert!(findings[0].summary.contains("192.0.2.55"));
}
