use super::*;
use crate::{
    model::{
        node::{Node, RouteKind},
        observation::Observation,
        policy::Action,
    },
    testing::{OVERLAY, POD, UPLINK, ip, overlay_node, policy, route, with_facts},
};

fn packet(to: &str, iif: u32) -> Packet {
    Packet {
        iif: Some(iif),
        ..Packet::between(ip("172.20.1.5"), ip(to))
    }
}

fn node(rules: Vec<PolicyRule>) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let mut other = route("172.20.2.0/24", UPLINK, Some("192.0.2.254"));
    other.table = 77;
    node.routes.push(other);
    node.rules = rules;
    let main = policy(32_766, Action::Table(MAIN), "from all lookup main");
    node.rules.push(main);
    node
}

fn on<T>(node: &Node, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    with_facts(node, &Observation::default(), ask)
}

fn oif(node: &Node, packet: Packet) -> Option<u32> {
    on(node, |facts| facts.ways().chosen(&packet).usable()?.oif)
}

#[test]
fn the_first_rule_that_matches_and_has_a_route_decides() {
    let mut rule = policy(100, Action::Table(77), "from 172.20.1.0/24 lookup 77");
    rule.from = "172.20.1.0/24".parse().ok();
    let chosen = |rule: &PolicyRule, to| oif(&node(vec![rule.clone()]), packet(to, POD));
    assert_eq!(chosen(&rule, "172.20.2.9"), Some(UPLINK));
    assert_eq!(chosen(&rule, "192.0.2.2"), Some(UPLINK), "main's");
    rule.iif = Some("cali2".into());
    assert_eq!(chosen(&rule, "172.20.2.9"), Some(OVERLAY));
    rule.not = true;
    assert_eq!(chosen(&rule, "172.20.2.9"), Some(UPLINK));
    rule.others = true;
    assert_eq!(
        chosen(&rule, "172.20.2.9"),
        Some(OVERLAY),
        "its line says nothing of what else it takes"
    );
    let mut main = policy(
        99,
        Action::Table(MAIN),
        "lookup main suppress_prefixlength 0",
    );
    main.suppress_prefix_length = Some(24);
    let all = node(vec![main, policy(100, Action::Table(77), "lookup 77")]);
    assert_eq!(oif(&all, packet("172.20.2.9", POD)), Some(UPLINK));
}

#[test]
fn a_rule_may_refuse_and_a_goto_may_pass_it_by() {
    let mut no = policy(100, Action::Refuse, "from all to 172.20.2.0/24 prohibit");
    no.to = "172.20.2.0/24".parse().ok();
    let to = packet("172.20.2.9", POD);
    on(&node(vec![no.clone()]), |facts| {
        assert_eq!(facts.ways().chosen(&to).rule(), Some(&no));
    });
    let node_refuses = node(vec![no.clone()]);
    on(&node_refuses, |facts| {
        assert!(!facts.leaves(&to), "refused, and not gone");
    });
    assert_eq!(
        no.delete(),
        "ip rule del pref 100 from all to 172.20.2.0/24 prohibit"
    );
    // The kernel lets nobody lead to where there is no rule.
    let past = policy(50, Action::Goto(32_766), "goto 32766");
    assert!(oif(&node(vec![past, no]), to).is_some());
}

#[test]
fn a_mark_may_lead_to_a_table_that_refuses() {
    let mut marked = policy(100, Action::Table(78), "from all fwmark 0x7/0xff lookup 78");
    marked.others = true;
    let mut node = node(vec![marked.clone()]);
    let mut no = route("0.0.0.0/0", UPLINK, None);
    (no.table, no.kind, no.oif) = (78, RouteKind::Refusing, None);
    node.routes.push(no);
    let to = packet("172.20.2.9", POD);
    assert!(oif(&node, to).is_some(), "a packet without it");
    on(&node, |facts| {
        let refused = facts.ways().may_refuse(&to).and_then(Chosen::rule);
        assert_eq!(refused, Some(&marked));
    });
    assert_eq!(marked.mark(), Some("0x7"));
    // A VPN's: all but its own marked packets.
    node.rules[0].not = true;
    on(&node, |facts| {
        assert_eq!(facts.ways().chosen(&to).rule(), Some(&node.rules[0]));
    });
}

#[test]
fn readings_without_rules_are_asked_as_the_kernel_begins() {
    let mut node = overlay_node(1450, 1450, 1500);
    assert_eq!(oif(&node, packet("172.20.2.9", POD)), Some(OVERLAY));
    // Of a table that nobody is known to ask, what no other knows.
    let mut other = route("198.51.100.0/24", UPLINK, None);
    other.table = 77;
    node.routes.push(other);
    assert_eq!(oif(&node, packet("198.51.100.9", POD)), Some(UPLINK));
}

#[test]
fn what_pods_send_comes_in_where_they_are() {
    let mut rule = policy(100, Action::Table(77), "from all iif cali1 lookup 77");
    rule.iif = Some("cali1".into());
    on(&node(vec![rule]), |facts| {
        let leads = |packet: Packet| facts.way(&packet).and_then(|route| route.oif);
        let (pod, far) = (ip("172.20.1.5"), ip("172.20.2.9"));
        assert_eq!(leads(facts.from_to(pod, far)), Some(UPLINK));
        assert_eq!(leads(facts.from_node(far)), Some(OVERLAY));
    });
}

#[test]
fn the_routers_own_networks_are_outside_too() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes.extend([
        route("0.0.0.0/0", UPLINK, Some("192.0.2.254")),
        route("198.51.100.53/32", UPLINK, Some("192.0.2.254")),
        route("172.20.3.0/24", UPLINK, Some("192.0.2.3")),
    ]);
    on(&node, |facts| {
        let leaves = |to: &str| facts.leaves(&facts.from_node(ip(to)));
        assert!(leaves("203.0.113.1"));
        assert!(leaves("198.51.100.53"), "a server that DHCP named");
        assert!(!leaves("172.20.3.9"), "by another node");
        assert!(!leaves("192.0.2.77"), "on the link");
        assert!(!leaves("172.20.2.9"), "through the tunnel");
    });
}
