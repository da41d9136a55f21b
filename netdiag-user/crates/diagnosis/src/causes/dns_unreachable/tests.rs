use netdiag_common::{flow::FlowKey, hop::VXLAN};

use super::*;
use crate::{
    model::{
        gather::{Piece, Resolver, Want},
        observation::Observation,
    },
    testing::{
        NETFILTER_DROP, POD, UPLINK, at, lost, overlay_node, question, resolved, silent, tcp,
        with_facts, with_gathered,
    },
};

const CLIENT: &str = "172.20.1.5";
const SERVER: &str = "172.20.2.53";
const NAME: &str = "kubernetes.default.svc.cluster.local";

fn findings(observation: Observation) -> Vec<Finding> {
    let observation = Observation {
        now: 6_000_000_000,
        ..observation
    };
    let node = overlay_node(1450, 1450, 1500);
    with_facts(&node, &observation, crate::findings)
}

fn of(dns: Vec<(netdiag_common::dns::DnsKey, netdiag_common::dns::Dns)>) -> Vec<Finding> {
    findings(Observation {
        dns,
        ..Observation::default()
    })
}

/// The same queries at a later link.
fn farther(dns: &mut netdiag_common::dns::Dns) {
    dns.first_query += 1000;
    dns.last_query += 1000;
    silent(dns);
}

/// Answers between ports of a bridge never pass the bridge itself, and its hook may have been
/// there first.
#[test]
fn what_comes_back_at_the_clients_own_link_is_an_answer() {
    let earlier = |dns: &mut netdiag_common::dns::Dns| {
        dns.first_query -= 1000;
        silent(dns);
    };
    let own = question(CLIENT, SERVER, NAME, POD, resolved);
    let other = question(CLIENT, SERVER, NAME, UPLINK, earlier);
    assert!(of(vec![own, other]).is_empty());
}

/// Packets of another node's pod that go no further than the uplink.
#[test]
fn what_only_came_in_did_not_leave() {
    const FAR: &str = "172.20.2.9";
    let told = |egress: bool| {
        let flow = FlowKey {
            protocol: UDP,
            ..tcp(FAR, SERVER, PORT)
        };
        let observation = Observation {
            now: 12_000_000_000,
            flows: vec![at(flow, UPLINK, egress, VXLAN, |_| {})],
            dns: vec![question(FAR, SERVER, NAME, UPLINK, silent)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, evaluate).expect("a finding")
    };
    assert!(told(true).summary.contains("leave this node by ens5"));
    let came_in = told(false);
    assert!(came_in.summary.contains("last seen at ens5"), "{came_in:?}");
    let address = "192.0.2.2".parse().expect("an address");
    let mut on = came_in.ties.rests_on.iter().map(|tie| &tie.subject);
    assert!(on.any(|s| *s == Subject::Vtep { address }));
}

#[test]
fn silence_of_the_clusters_server_is_named_with_the_last_link() {
    let found = of(vec![
        question(CLIENT, SERVER, NAME, POD, silent),
        question(CLIENT, SERVER, NAME, UPLINK, farther),
    ]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].cause, ID);
    assert_eq!(found[0].severity, Severity::Critical);
    assert_eq!(found[0].flows[0].last_seen_at.as_deref(), Some("ens5"));
    assert!(
        found[0]
            .about
            .contains(&"192.0.2.2".parse().expect("the peer"))
    );
}

#[test]
fn a_service_address_is_followed_to_the_pod_behind_it() {
    let vip = "10.96.0.10";
    let found = of(vec![
        question(CLIENT, vip, NAME, POD, silent),
        question(CLIENT, SERVER, NAME, UPLINK, farther),
    ]);
    assert!(found[0].summary.contains(vip));
    assert!(
        found[0]
            .about
            .contains(&SERVER.parse().expect("an address"))
    );
}

#[test]
fn answers_to_another_address_of_the_server_are_none_of_its_services() {
    let vip = "10.96.0.10";
    let later = |dns: &mut netdiag_common::dns::Dns| {
        resolved(dns);
        dns.first_query += 1000;
    };
    let observation = Observation {
        now: 6_000_000_000,
        dns: vec![
            question(CLIENT, vip, NAME, POD, silent),
            question(CLIENT, vip, NAME, UPLINK, farther),
            question(CLIENT, SERVER, NAME, POD, resolved),
            question(CLIENT, SERVER, NAME, UPLINK, later),
        ],
        ..Observation::default()
    };
    let mut node = overlay_node(1450, 1450, 1500);
    let mut other = node.pod_sides[0].clone();
    other.netns += 1;
    let told = [node.pod_sides[0].netns, other.netns].map(|netns| Resolver {
        netns,
        servers: vec![vip.parse().expect("an address")],
        search: vec!["svc.cluster.local".into()],
        ..Resolver::default()
    });
    node.pod_sides.push(other);
    let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(told.into())))];
    let told = with_gathered(&node, &observation, pieces, evaluate).expect("a finding");
    assert!(told.summary.contains(vip), "{}", told.summary);
    assert!(
        !told.summary.contains("answers come back"),
        "{}",
        told.summary
    );
    let came = |e: &Evidence| e.text.contains("came back");
    assert!(!told.evidence.iter().any(came), "{:?}", told.evidence);
}

#[test]
fn a_lost_query_and_slow_outside_names_are_healthy() {
    let some = |dns: &mut netdiag_common::dns::Dns| {
        silent(dns);
        dns.unanswered = 2;
    };
    assert!(of(vec![question(CLIENT, SERVER, NAME, POD, some)]).is_empty());
    let other = question(
        CLIENT,
        SERVER,
        "other.default.svc.cluster.local",
        POD,
        resolved,
    );
    let answered = question(CLIENT, SERVER, NAME, POD, silent);
    assert!(
        of(vec![answered, other]).is_empty(),
        "it answers that client"
    );
    assert!(of(vec![question(CLIENT, SERVER, "example.com", POD, silent)]).is_empty());
}

#[test]
fn a_dead_server_outside_is_not_called_the_clusters() {
    let mut node = overlay_node(1450, 1450, 1500);
    let default = crate::testing::route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(default);
    let found = |server: &str, name: &str, seconds: u64| {
        let observation = Observation {
            now: seconds * 1_000_000_000,
            dns: vec![
                question(CLIENT, server, name, POD, silent),
                question(CLIENT, server, name, UPLINK, farther),
            ],
            ..Observation::default()
        };
        with_facts(&node, &observation, evaluate).map(|f| f.summary)
    };
    let told = found("198.51.100.53", "example.com", 15).expect("a finding");
    assert!(told.starts_with("the name server 198.51.100.53"), "{told}");
    assert_eq!(found("198.51.100.53", "example.com", 8), None, "too early");
    assert_eq!(
        found(SERVER, "example.com", 15),
        None,
        "its upstream may be slow"
    );
}

#[test]
fn a_server_that_is_not_the_clusters_may_keep_silent() {
    let other = question("172.20.1.6", SERVER, NAME, POD, resolved);
    let wrong = question(CLIENT, "198.51.100.53", NAME, POD, silent);
    assert!(of(vec![other, wrong]).is_empty());
}

#[test]
fn a_firewall_that_takes_the_queries_is_the_root() {
    let mut flow = tcp(CLIENT, SERVER, PORT);
    flow.protocol = UDP;
    let found = findings(Observation {
        dns: vec![question(CLIENT, SERVER, NAME, POD, silent)],
        drops: vec![lost(flow, NETFILTER_DROP, UPLINK, 4, 0)],
        ..Observation::default()
    });
    let roots: Vec<_> = found
        .iter()
        .filter(|f| f.consequence_of.is_none())
        .collect();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].cause, "firewall-drop");
    assert!(found.iter().any(|f| f.cause == ID && f.because.is_some()));
    // The same rule against something else does not explain it.
    let other = tcp(CLIENT, "172.20.2.9", 80);
    let found = findings(Observation {
        dns: vec![question(CLIENT, SERVER, NAME, POD, silent)],
        drops: vec![lost(other, NETFILTER_DROP, UPLINK, 4, 2)],
        ..Observation::default()
    });
    assert!(found.iter().all(|f| f.consequence_of.is_none()));
}
