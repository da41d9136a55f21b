use netdiag_common::loss::{DropKey, Dropped};

use super::*;
use crate::{
    causes,
    model::{
        cluster::{self, Backend, Cluster, Port, Slice, State, Topic},
        gather::Piece,
        observation::Observation,
        services::Services,
        verdict::Confidence,
    },
    testing::{NETNS, UPLINK, died, ip, overlay_node, route, tcp, with_cluster},
};

const NODE: &str = "192.0.2.1";
const CLUSTER_IP: &str = "10.96.7.7";
/// On the node's own network, and beyond its gateway.
const NEAR: &str = "192.0.2.77";
const FAR: &str = "203.0.113.9";

fn rule(address: &str, port: u16, local: bool, engine: Engine) -> Service {
    Service {
        address: ip(address),
        port,
        protocol: 6,
        name: (engine != Engine::Ipvs).then(|| "shop/web:http".into()),
        backends: vec![(ip("172.20.2.9"), 8080)],
        rejected: true,
        local,
        engine,
        table: None,
    }
}

fn node_port(local: bool) -> Services {
    Services {
        node_ports: vec![rule("0.0.0.0", 30_080, local, Engine::Nftables)],
        ..Services::default()
    }
}

fn cluster_ip(local: bool, engine: Engine) -> Services {
    Services {
        rules: vec![rule(CLUSTER_IP, 80, local, engine)],
        ..Services::default()
    }
}

fn lost(from: &str, to: &str, port: u16, packets: u64) -> (DropKey, Dropped) {
    let place = ("NETFILTER_DROP", "nft_do_chain");
    died(tcp(from, to, port), place, UPLINK, packets)
}

/// The Service as the API has it, with its endpoints on these nodes; this one is n1.
fn api(local: bool, nodes: &[&str]) -> Cluster {
    let port = |port| Port {
        name: Some("http".into()),
        port,
        protocol: 6,
        node_port: Some(30_080),
    };
    let backend = |(n, node): (usize, &&str)| Backend {
        addresses: vec![[172, 20, 2, n as u8].into()],
        ready: true,
        node: Some((*node).into()),
        ..Backend::default()
    };
    let service = cluster::Service {
        namespace: "shop".into(),
        name: "web".into(),
        addresses: vec![ip(CLUSTER_IP)],
        ports: vec![port(80)],
        slices: vec![Slice {
            ports: vec![port(8080)],
            backends: nodes.iter().enumerate().map(backend).collect(),
        }],
        external_local: local,
        internal_local: local,
        ..cluster::Service::default()
    };
    let known = State {
        known: true,
        ..State::default()
    };
    Cluster {
        node: Some("n1".into()),
        services: vec![service],
        states: [(Topic::EndpointSlices, known)].into(),
        ..Cluster::default()
    }
}

fn judged(
    drops: Vec<(DropKey, Dropped)>,
    services: Option<Services>,
    cluster: &Cluster,
) -> Vec<Finding> {
    let observation = Observation {
        now: 60_000_000_000,
        drops,
        ..Observation::default()
    };
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    let pieces = services.map(|s| (Want::Services, Ok(Piece::Services(s))));
    with_cluster(&node, &observation, pieces, cluster, |facts| {
        let asked = wants(facts)
            .into_iter()
            .filter_map(|n| n.query.want().cloned());
        assert!(asked.collect::<Vec<_>>().contains(&Want::Services));
        causes::evaluate(facts)
    })
}

fn names(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.cause.as_str()).collect()
}

#[test]
fn a_node_port_without_an_endpoint_here_names_the_node_that_has_one() {
    let drops = vec![lost(NEAR, NODE, 30_080, 5), lost(NODE, NODE, 30_080, 3)];
    let found = judged(drops, Some(node_port(true)), &Cluster::default());
    assert_eq!(names(&found), [ID]);
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(found.confidence, Confidence::Confirmed);
    assert_eq!(found.severity, Severity::Warning);
    let told = "this node drops tcp 192.0.2.1:30080 of the Service shop/web:http: \
                externalTrafficPolicy is Local and none of its endpoints is here";
    assert!(found.summary.starts_with(told), "{}", found.summary);
    assert!(found.fix.summary.contains("(192.0.2.2)"), "the VTEP");
    let patch = "kubectl -n shop patch service web -p \
                 '{\"spec\":{\"externalTrafficPolicy\":\"Cluster\"}}'";
    assert_eq!(found.fix.commands[1].text(), patch);
}

#[test]
fn strangers_raise_no_alarm() {
    let drops = vec![lost(FAR, NODE, 30_080, 500)];
    let found = judged(drops, Some(node_port(true)), &Cluster::default());
    assert_eq!(names(&found), [ID]);
    assert_eq!(found[0].severity, Severity::Info);
}

#[test]
fn a_cluster_ip_is_under_the_other_policy() {
    let drops = || vec![lost("172.20.1.5", CLUSTER_IP, 80, 5)];
    let rules = cluster_ip(true, Engine::IptablesLegacy);
    let found = judged(drops(), Some(rules), &Cluster::default());
    assert_eq!(names(&found), [ID]);
    assert!(found[0].summary.contains("internalTrafficPolicy is Local"));
    let patch = found[0].fix.commands[1].text();
    assert!(patch.contains("{\"internalTrafficPolicy\":\"Cluster\"}"));
    let api = api(true, &["n2", "n3"]);
    let rules = cluster_ip(true, Engine::IptablesLegacy);
    let found = judged(drops(), Some(rules), &api);
    assert!(found[0].fix.summary.contains("(n2, n3)"));
    let told = found[0]
        .evidence
        .iter()
        .find(|e| e.kind == EvidenceKind::Api);
    assert!(told.is_some_and(|e| e.text.contains("2 endpoints for shop/web, 2 ready")));
}

#[test]
fn a_service_without_any_endpoint_is_another_cause() {
    let drops = || vec![lost("172.20.1.5", CLUSTER_IP, 80, 5)];
    let rules = cluster_ip(false, Engine::IptablesLegacy);
    assert_eq!(
        names(&judged(drops(), Some(rules), &api(true, &["n2"]))),
        [""; 0]
    );
    let drops = vec![lost(NEAR, NODE, 30_080, 5)];
    let found = judged(drops, Some(node_port(false)), &Cluster::default());
    assert_eq!(names(&found), [""; 0], "nor a filter's");
    let drops = vec![lost(NODE, NODE, 30_080, 5)];
    let found = judged(drops, Some(node_port(false)), &Cluster::default());
    assert_eq!(names(&found), ["firewall-drop"], "somebody tells it");
}

#[test]
fn ipvs_does_not_tell_and_the_api_does() {
    let judged = |api: &Cluster| {
        let drops = vec![lost("172.20.1.5", CLUSTER_IP, 80, 5)];
        let found = judged(drops, Some(cluster_ip(false, Engine::Ipvs)), api);
        found.into_iter().map(|f| f.cause).collect::<Vec<_>>()
    };
    assert_eq!(judged(&api(true, &["n2"])), [ID]);
    for other in [
        api(false, &["n2"]),
        api(true, &["n1", "n2"]),
        api(true, &[]),
        Cluster::default(),
    ] {
        assert_eq!(judged(&other), [""; 0], "{other:?}");
    }
}

#[test]
fn a_filters_drop_is_the_filters() {
    let drops = || vec![lost(NODE, NODE, 30_081, 5)];
    let found = judged(drops(), Some(node_port(true)), &Cluster::default());
    assert_eq!(names(&found), ["firewall-drop"], "another port");
    let unknown = judged(drops(), None, &Cluster::default());
    assert_eq!(names(&unknown), ["firewall-drop"], "nobody told in time");
}

#[test]
fn what_a_pods_own_rules_drop_is_no_services() {
    let mut drop = lost("172.20.1.5", CLUSTER_IP, 80, 5);
    drop.0.netns = NETNS + 1;
    let observation = Observation {
        drops: vec![drop],
        ..Observation::default()
    };
    let known = cluster_ip(true, Engine::Nftables);
    let pieces = [(Want::Services, Ok(Piece::Services(known)))];
    let node = overlay_node(1450, 1450, 1500);
    let found = with_cluster(&node, &observation, pieces, &Cluster::default(), evaluate);
    assert!(found.is_empty());
}
