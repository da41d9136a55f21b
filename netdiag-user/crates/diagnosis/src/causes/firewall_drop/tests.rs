mod computed;
mod meant;

use netdiag_common::flow::FlowKey;

use super::*;
use crate::{
    model::{
        gather::{Piece, Rule},
        netfilter::{Chain, Family, RuleOrigin},
        node::{Counters, Node},
        observation::Observation,
        services::{Engine, Service, Services},
        shell::CommandLine,
        verdict::{Confidence, Severity},
    },
    testing::{
        NETNS, POD_NETNS, UPLINK, at, died, ip, listener, overlay_node, rule, since, tcp,
        with_gathered,
    },
};

fn one(facts: &Facts<'_>) -> Option<Finding> {
    evaluate(facts).into_iter().next()
}

fn nft(family: Family, chain: &str, handle: Option<u64>) -> RuleOrigin {
    let chain = Chain {
        family,
        table: "filter".into(),
        chain: chain.into(),
    };
    RuleOrigin::Nft { chain, handle }
}

#[test]
fn the_rule_that_moves_is_the_fix() {
    let rule = |text: &str, handle| Rule {
        packets: 4,
        origin: nft(Family::Inet, "lab", Some(handle)),
        ..rule(["inet", "filter", "lab"], text)
    };
    let mut moved = vec![
        rule("ct state invalid counter packets 9 bytes 9 drop", 2),
        rule("ip daddr 172.20.9.0/24 drop", 4),
        rule("tcp dport 5433 drop", 5),
        rule("ip daddr 172.20.2.9 reject with icmp port-unreachable", 3),
    ];
    moved[0].packets = 900;
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let observation = Observation {
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(moved)))];
    let found = with_gathered(&node, &observation, pieces, one).expect("a finding");
    assert_eq!(
        found.fix.commands[1],
        "nft delete rule inet filter lab handle 3"
    );
    let strays = vec![rule("ct state invalid drop", 2)];
    let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(strays)))];
    let found = with_gathered(&node, &observation, pieces, one).expect("a finding");
    assert!(
        found.fix.commands[0].text().ends_with("list ruleset"),
        "its rule does not count"
    );
}

#[test]
fn where_nothing_counts_policies_and_other_rules_are_told() {
    let rule = |text: &str, counted| Rule {
        packets: u64::from(counted),
        origin: nft(Family::Ip, "FORWARD", Some(text.len() as u64)),
        counted,
        ..rule(["ip", "filter", "FORWARD"], text)
    };
    let policy = |hook| {
        let text = format!("type filter hook {hook} priority filter; policy drop;");
        rule(&text, false)
    };
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let observation = Observation {
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    let judge = |rules: Vec<Rule>| {
        let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(rules)))];
        with_gathered(&node, &observation, pieces, one).expect("a finding")
    };
    let found = judge(vec![policy("input"), policy("forward")]);
    let told = found.evidence.last().expect("the policy");
    assert!(
        told.text
            .starts_with("the policy of ip filter FORWARD drops")
    );
    let undone = |text: &str| {
        let handle = text.len();
        format!("nft delete rule ip filter FORWARD handle {handle}")
    };
    assert_eq!(
        found.fix.commands[1].text(),
        undone(&policy("forward").text)
    );
    let several = judge(vec![policy("forward"), rule("ip daddr @bad drop", false)]);
    assert_eq!(several.fix.commands.len(), 2, "both listed, none undone");
    assert!(!several.fix.commands.iter().any(|c| c.contains("delete")));
    let counted = judge(vec![policy("forward"), rule("tcp dport 5432 drop", true)]);
    assert_eq!(
        counted.fix.commands[1].text(),
        undone("tcp dport 5432 drop")
    );
}

#[test]
fn a_pods_own_rule_is_deleted_in_its_namespace() {
    let rule = Rule {
        origin: nft(Family::Ip, "OUTPUT", Some(2)),
        ..rule(["ip", "filter", "OUTPUT"], "tcp dport 5432 drop")
    };
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let mut drop = died(flow, ("NETFILTER_DROP", "nft_do_chain"), 0, 5);
    drop.0.netns = POD_NETNS;
    let observation = Observation {
        drops: vec![drop],
        ..Observation::default()
    };
    let mut node = overlay_node(1450, 1450, 1500);
    node.pod_sides[0].path = Some("/run/netns/cni-1".into());
    let pieces = [(Want::Rules(POD_NETNS), Ok(Piece::Rules(vec![rule])))];
    let found = with_gathered(&node, &observation, pieces, one).expect("a finding");
    assert!(
        found.summary.contains("inside the pod"),
        "{}",
        found.summary
    );
    let list = "ip netns exec cni-1 nft -a list chain ip filter OUTPUT";
    let delete = "ip netns exec cni-1 nft delete rule ip filter OUTPUT handle 2";
    assert_eq!(found.fix.commands, [list, delete]);
    let evidence = found.evidence.last().expect("the rule");
    assert!(evidence.confirm.as_ref().is_some_and(|c| *c == list));
}

/// What becomes of packets to the Service 10.96.0.10:80.
fn to_service(protocol: u8, port: u16) -> Option<Finding> {
    let service = Service {
        address: [10, 96, 0, 10].into(),
        port: 80,
        protocol: 6,
        name: Some("shop/web:http".into()),
        backends: Vec::new(),
        rejected: false,
        local: false,
        engine: Engine::Nftables,
        table: None,
    };
    let services = Services {
        rules: vec![service],
        ..Services::default()
    };
    let flow = FlowKey {
        protocol,
        ..tcp("172.20.1.5", "10.96.0.10", port)
    };
    let observation = Observation {
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let pieces = [(Want::Services, Ok(Piece::Services(services)))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, pieces, one)
}

#[test]
fn a_port_that_the_service_does_not_have_is_told() {
    let found = to_service(6, 81).expect("a finding");
    let own = "the Service shop/web (10.96.0.10) has no such port: it has tcp 80";
    assert!(found.evidence.iter().any(|e| e.text == own), "{found:?}");
    assert!(found.fix.summary.contains("by a port that it has (tcp 80)"));
    let port = to_service(6, 80).expect("a finding");
    assert!(port.fix.summary.contains("find the rule"), "{port:?}");
}

#[test]
fn a_services_address_answers_no_pings() {
    assert!(to_service(1, 0).is_none());
}

#[test]
fn each_rule_that_drops_is_a_finding_of_its_own() {
    let rule = |port: u16, handle| {
        let text = format!("tcp dport {port} counter packets 5 bytes 300 drop");
        Rule {
            origin: nft(Family::Inet, "lab", Some(handle)),
            ..rule(["inet", "filter", "lab"], &text)
        }
    };
    let lost = |to: &str, port| {
        let flow = tcp("172.20.1.5", to, port);
        died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)
    };
    let observation = Observation {
        drops: vec![
            lost("172.20.2.9", 5432),
            lost("172.20.2.10", 5432),
            lost("172.20.2.9", 6379),
        ],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    let rules = vec![rule(5432, 4), rule(6379, 7)];
    let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(rules)))];
    let found = with_gathered(&node, &observation, pieces, evaluate);
    let undone: Vec<_> = found.iter().map(|f| f.fix.commands[1].text()).collect();
    let delete = |n| format!("nft delete rule inet filter lab handle {n}");
    assert_eq!(undone, [delete(4), delete(7)]);
    assert_eq!(found[0].flows.len(), 2, "both servers' by one rule");
    assert_ne!(found[0].id, found[1].id);
}

/// What the world sends to a port of the node's own.
fn to_the_node(listens: bool, rules: Vec<Rule>) -> Vec<Finding> {
    let own = "192.0.2.1";
    let flow = tcp("203.0.113.9", own, 6443);
    let observation = Observation {
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let socket = listener("0.0.0.0", 6443);
    let sockets = listens.then_some(socket).into_iter().collect();
    let pieces = [
        (Want::Rules(NETNS), Ok(Piece::Rules(rules))),
        (Want::Listeners(NETNS), Ok(Piece::Listeners(sockets))),
    ];
    let node = overlay_node(1450, 1450, 1500);
    assert!(node.owns(ip(own)));
    with_gathered(&node, &observation, pieces, evaluate)
}

#[test]
fn what_the_node_keeps_from_its_own_ports_is_told_with_the_rule() {
    let rule = || Rule {
        origin: nft(Family::Inet, "input", Some(4)),
        ..rule(
            ["inet", "filter", "input"],
            "tcp dport 6443 counter packets 5 bytes 300 drop",
        )
    };
    let found = to_the_node(true, vec![rule()]);
    let severities: Vec<_> = found.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Info]);
    // Nobody is led to open a port that is closed on purpose.
    assert_eq!(
        found[0].fix.commands,
        ["nft -a list chain inet filter input"]
    );
    assert!(to_the_node(true, Vec::new()).is_empty(), "nobody says who");
    assert!(to_the_node(false, vec![rule()]).is_empty(), "a scan");
}

#[test]
fn what_may_be_a_services_address_waits_for_the_rules() {
    let flow = tcp("172.20.1.5", "10.96.0.10", 80);
    let judged = |now: u64, pieces: Vec<(Want, Result<Piece, String>)>| {
        let observation = Observation {
            now,
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, pieces, evaluate).len()
    };
    assert_eq!(judged(1_000_000_000, Vec::new()), 0);
    let known = (Want::Services, Ok(Piece::Services(Services::default())));
    assert_eq!(judged(1_000_000_000, vec![known]), 1);
    let unknown = (Want::Services, Err("nft is not installed".into()));
    assert_eq!(judged(1_000_000_000, vec![unknown]), 1, "nobody will tell");
    assert_eq!(judged(60_000_000_000, Vec::new()), 1, "nobody told");
}

/// Packets of the node's that one of netfilter's hooks drops, and how many of them connection
/// tracking says that it refused.
fn beside_tracking(dropped: u64, refused: u64) -> usize {
    let counted = |moved: u64| Node {
        counters: vec![Counters {
            netns: NETNS,
            values: [("nf_conntrack.insert_failed".into(), moved)].into(),
        }],
        ..overlay_node(1450, 1450, 1500)
    };
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let lost = ("NETFILTER_DROP", "nf_hook_slow");
    let observation = Observation {
        drops: vec![died(flow, lost, UPLINK, dropped)],
        ..Observation::default()
    };
    let (before, now) = (counted(0), counted(refused));
    since(&before, &now, &observation, [], evaluate).len()
}

#[test]
fn what_connection_tracking_refused_no_rule_took() {
    assert_eq!(beside_tracking(30, 0), 1);
    assert_eq!(beside_tracking(30, 30), 0);
    assert_eq!(beside_tracking(30, 12), 1, "the rest is a rule's");
}

/// A rule of one chain, which counts.
fn counting(text: &str, handle: u64) -> Rule {
    Rule {
        packets: 9,
        origin: nft(Family::Ip, "FORWARD", Some(handle)),
        ..rule(["ip", "filter", "FORWARD"], text)
    }
}

/// Two pods whose packets die: one's first packet passes and its data does not, the other's does not.
fn half_seen(passed: bool) -> Vec<Finding> {
    let (followed, shut) = (
        tcp("172.20.1.5", "172.20.2.9", 8080),
        tcp("172.20.1.5", "192.0.2.25", 2525),
    );
    let lost = |flow, packets| died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, packets);
    let mut data = lost(followed, 5);
    data.1.tcp_flags = 24;
    let syn = at(followed, UPLINK, true, 0, |hop| {
        hop.flags = netdiag_common::hop::SYN;
    });
    let observation = Observation {
        flows: passed.then_some(syn).into_iter().collect(),
        drops: vec![data, lost(shut, 9)],
        ..Observation::default()
    };
    let rules = vec![
        counting("ct state invalid drop", 2),
        counting("reject with icmp host-prohibited", 3),
    ];
    let node = overlay_node(1450, 1450, 1500);
    let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(rules)))];
    with_gathered(&node, &observation, pieces, evaluate)
}

#[test]
fn what_dies_behind_its_own_first_packet_is_the_invalid_rules() {
    let found = half_seen(true);
    assert_eq!(found.len(), 2, "{found:#?}");
    let of = |port: &str| {
        let mut all = found.iter();
        all.find(|f| f.summary.contains(port)).expect(port)
    };
    assert!(of(":8080").fix.summary.contains("both directions"));
    assert_eq!(
        of(":8080").fix.commands[0],
        "conntrack -L -s 172.20.1.5 -d 172.20.2.9"
    );
    assert_eq!(
        of(":2525").fix.commands[1],
        "nft delete rule ip filter FORWARD handle 3"
    );
    // Where the first packet is not known to have passed, one rule explains both.
    assert_eq!(half_seen(false).len(), 1);
}

#[test]
fn a_rule_that_takes_frag_needed_is_told_with_the_flows_that_hang() {
    let (router, pod) = (ip("203.0.113.1"), ip("172.20.1.5"));
    let about = tcp("172.20.1.5", "198.51.100.9", 8080);
    let mut error = tcp("203.0.113.1", "172.20.1.5", 0);
    (error.protocol, error.source_port) = (1, 0);
    let key = netdiag_common::hop::IcmpErrorKey {
        about,
        sender: crate::model::address::to_wire(router),
        ifindex: UPLINK,
        kind: 3,
        code: 4,
        ..Default::default()
    };
    let said = netdiag_common::hop::IcmpError {
        packets: 5,
        mtu: 1427,
        ..Default::default()
    };
    let judged = |errors: Vec<_>| {
        let observation = Observation {
            drops: vec![died(error, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            icmp_errors: errors,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let rules = vec![counting("counter drop", 4)];
        let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(rules)))];
        with_gathered(&node, &observation, pieces, one).expect("a finding")
    };
    let found = judged(vec![(key, said)]);
    for word in [
        "fragmentation needed",
        "MTU 1427",
        &pod.to_string(),
        "198.51.100.9:8080",
    ] {
        assert!(found.summary.contains(word), "{}", found.summary);
    }
    // What the outside sends may be kept out; the answer to a pod's own packet not.
    assert_eq!(found.severity, Severity::Warning);
    assert_eq!(
        found.fix.commands[1],
        "nft insert rule ip filter FORWARD icmp type destination-unreachable icmp code frag-needed accept"
    );
    let found = judged(Vec::new());
    assert_eq!(found.severity, Severity::Info);
    assert!(!found.summary.contains("needed"), "{}", found.summary);
}

/// Data that is dropped for so many seconds, of a connection whose server was heard before that, beside one
/// that works.
fn cut_off(seconds: u64, heard_again: bool) -> Option<String> {
    const SECOND: u64 = 1_000_000_000;
    let own = tcp("172.20.1.5", "172.20.2.9", 5432);
    let other = FlowKey {
        source_port: 50_001,
        ..own
    };
    let acks = |last| {
        move |hop: &mut netdiag_common::hop::FlowHop| {
            (hop.first, hop.last, hop.flags) = (SECOND, last, netdiag_common::hop::ACK);
        }
    };
    let last = if heard_again { 29 * SECOND } else { SECOND };
    let mut lost = died(own, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5);
    (lost.1.first, lost.1.last) = (10 * SECOND, (10 + seconds) * SECOND);
    lost.1.tcp_flags = 8 | 16;
    let observation = Observation {
        now: 30 * SECOND,
        flows: vec![
            at(own.reversed(), UPLINK, false, 0, acks(last)),
            at(other.reversed(), UPLINK, false, 0, acks(29 * SECOND)),
        ],
        drops: vec![lost],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, [], one).map(|found| found.summary)
}

#[test]
fn an_established_connection_is_cut_off_though_others_work() {
    let told = cut_off(4, false).expect("its data does not arrive");
    assert!(told.contains("established connections"), "{told}");
    assert_eq!(cut_off(4, true), None, "it arrived the second time");
    assert_eq!(cut_off(1, false), None, "it may arrive yet");
}

#[test]
fn a_queue_that_nobody_reads_is_no_rule_that_drops() {
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let observation = Observation {
        drops: vec![died(flow, ("NOT_SPECIFIED", "nf_queue"), UPLINK, 5)],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    let found = with_gathered(&node, &observation, [], one).expect("a finding");
    assert!(found.summary.contains("NFQUEUE"), "{}", found.summary);
    let lists = |c: &CommandLine| c.text().contains("nfnetlink_queue");
    assert!(found.fix.commands.iter().any(lists));
}
