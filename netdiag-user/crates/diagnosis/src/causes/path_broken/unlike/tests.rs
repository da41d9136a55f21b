use netdiag_common::hop::{ACK, FlowHop, FlowHopKey, PLAIN};

use super::{
    super::leading::{leading_node, state},
    *,
};
use crate::{
    model::{
        gather::{Piece, Want},
        node::{LinkKind, Node},
        observation::Observation,
        services::{Engine, Services},
        verdict::Confidence,
        world::Known,
    },
    testing::{
        NETNS, POD, UPLINK, at, ip, link, overlay_node, route, tcp, with_facts, with_gathered,
    },
};

const SECOND: u32 = 9;
const POD_ADDRESS: &str = "172.20.1.5";
const SERVER: &str = "203.0.113.77";
const CLUSTER_IP: &str = "10.96.0.10";

/// With a default route of two next hops.
fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let second = link(SECOND, "ens6", LinkKind::Physical, 1500).with_address("198.51.100.9/24");
    node.links.push(second);
    for (link, router) in [(UPLINK, "192.0.2.254"), (SECOND, "198.51.100.1")] {
        node.routes.push(route("0.0.0.0/0", link, Some(router)));
    }
    node
}

type Hop = (FlowHopKey, FlowHop);

/// The pod asks from that port six times in seven seconds, by that link; with an answer or without one.
fn asks(port: u16, by: u32, answered: bool) -> Vec<Hop> {
    asks_of(SERVER, port, by, answered)
}

fn asks_of(server: &str, port: u16, by: u32, answered: bool) -> Vec<Hop> {
    let mut flow = tcp(POD_ADDRESS, server, 443);
    flow.source_port = port;
    let asked = |h: &mut FlowHop| {
        (h.first, h.last, h.syns, h.flags) = (1, 7_000_000_000, 6, 0);
        if answered {
            h.flags |= ACK;
        }
    };
    let mut hops = vec![
        at(flow, POD, false, PLAIN, asked),
        at(flow, by, true, PLAIN, asked),
    ];
    if answered {
        let back = |h: &mut FlowHop| (h.first, h.last) = (2, 7_000_000_001);
        hops.push(at(flow.reversed(), by, false, PLAIN, back));
        hops.push(at(flow.reversed(), POD, true, PLAIN, back));
    }
    hops
}

fn judged(node: &Node, flows: Vec<Vec<Hop>>) -> Vec<Finding> {
    let seen = Observation {
        now: 9_000_000_000,
        flows: flows.concat(),
        ..Observation::default()
    };
    with_facts(node, &seen, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn a_next_hop_by_which_nobody_hears_from_a_server_that_lives_is_told() {
    let node = node();
    let dead = asks(40_000, SECOND, false);
    let found = judged(&node, vec![dead.clone(), asks(40_001, UPLINK, true)]);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let told = "what 172.20.1.5 asks tcp 203.0.113.77:443 leaves by ens6 (next hop 198.51.100.1), and nothing comes back: 6 times";
    assert!(one.summary.starts_with(told), "{}", one.summary);
    assert!(one.fix.summary.contains("198.51.100.1"), "{:?}", one.fix);
    assert_eq!(one.confidence, Confidence::Suspected);
    assert!(judged(&node, vec![dead.clone()]).is_empty(), "nobody lives");
    let by_both = vec![dead, asks(40_001, UPLINK, true), asks(40_002, SECOND, true)];
    assert!(judged(&node, by_both).is_empty(), "others get through so");
}

#[test]
fn the_rule_that_leads_to_its_table_is_shown() {
    let mut node = node();
    node.routes.retain(|route| route.oif != Some(SECOND));
    let mut other = route("0.0.0.0/0", SECOND, Some("198.51.100.1"));
    other.table = 77;
    node.routes.push(other);
    let rule = crate::testing::policy(
        200,
        Action::Table(77),
        "from all fwmark 0x4000/0x4000 lookup 77",
    );
    node.rules.push(rule);
    let flows = vec![asks(40_000, SECOND, false), asks(40_001, UPLINK, true)];
    let found = judged(&node, flows);
    let lines: Vec<_> = found[0].evidence.iter().map(|line| &line.text).collect();
    assert!(
        lines.iter().any(|line| line.contains("fwmark 0x4000")),
        "{lines:?}"
    );
}

/// The rules lead another port of the server on; so they do this one, or not.
fn beside(port: u16) -> Vec<Finding> {
    let service = Service {
        address: ip(CLUSTER_IP),
        port,
        protocol: flow::TCP,
        name: Some("shop/front:metrics".into()),
        backends: vec![(ip("172.20.1.9"), 9100)],
        rejected: false,
        local: false,
        engine: Engine::Nftables,
        table: None,
    };
    let services = Services {
        rules: vec![service],
        ..Services::default()
    };
    let seen = Observation {
        now: 9_000_000_000,
        flows: asks_of(CLUSTER_IP, 40_000, UPLINK, false),
        ..Observation::default()
    };
    let pieces = [(Want::Services, Ok(Piece::Services(services)))];
    with_gathered(&node(), &seen, pieces, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn a_port_that_the_rules_leave_out_is_told_with_one_that_they_lead_on() {
    let found = beside(9100);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let told = "lead tcp 10.96.0.10:9100 on, and not tcp 10.96.0.10:443";
    assert!(one.summary.ends_with(told), "{}", one.summary);
    let itself = beside(443);
    assert!(
        !itself.iter().any(|f| f.summary.contains("and not")),
        "{itself:?}"
    );
}

/// A pod with that address asks six times in seven seconds by the uplink in vain, where the uplink answers for others or not.
fn in_vain(source: &str, server: &str, proxy_arp: bool) -> Vec<Finding> {
    let (mut node, _) = leading_node(false);
    node.pod_sides[0].addresses.push(ip(source));
    node.routes.push(route(&format!("{source}/32"), POD, None));
    let sysctl = |name: &str, on: bool| (name.to_owned(), u8::from(on).to_string());
    node.sysctls.extend([
        sysctl("net.ipv4.conf.all.forwarding", true),
        sysctl("net.ipv4.conf.ens5.forwarding", true),
        sysctl("net.ipv4.conf.ens5.proxy_arp", proxy_arp),
    ]);
    let flow = tcp(source, server, 443);
    let asked = |h: &mut FlowHop| (h.first, h.last, h.syns) = (1, 7_000_000_000, 6);
    let seen = Observation {
        now: 9_000_000_000,
        flows: vec![
            at(flow, POD, false, PLAIN, asked),
            at(flow, UPLINK, true, PLAIN, asked),
        ],
        ..Observation::default()
    };
    let mut stack = state(&node, false);
    stack.proxied = Known::Is(Vec::new());
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
    with_gathered(&node, &seen, pieces, |facts| {
        evaluate(facts, &Symptoms::of(facts), &[])
    })
}

#[test]
fn a_source_of_the_links_own_network_that_nobody_answers_for_there_is_told() {
    let found = in_vain("192.0.2.77", "192.0.2.200", false);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let lines: Vec<_> = one.evidence.iter().map(|line| &line.text).collect();
    let text = "its source 192.0.2.77 is of this link's own network";
    assert!(lines.iter().any(|line| line.contains(text)), "{lines:?}");
    let answers = in_vain("192.0.2.77", "192.0.2.200", true);
    assert!(answers.is_empty(), "the node answers for it: {answers:?}");
    assert!(in_vain("172.20.1.5", "192.0.2.200", false).is_empty());
}

#[test]
fn what_leaves_for_an_address_of_this_node_itself_is_told() {
    let found = in_vain("172.20.1.5", "192.0.2.1", false);
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    let lines: Vec<_> = one.evidence.iter().map(|line| &line.text).collect();
    let text = "192.0.2.1 is an address of this node itself";
    assert!(lines.iter().any(|line| line.contains(text)), "{lines:?}");
}
