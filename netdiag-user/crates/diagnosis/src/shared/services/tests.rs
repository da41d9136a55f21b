use netdiag_common::hop::SYN;

use super::*;
use crate::{
    findings as evaluate,
    model::{
        cluster::Cluster,
        gather::Piece,
        observation::Observation,
        services::{Engine, Told},
        verdict::{Confidence, Severity},
    },
    testing::{UPLINK, at, from_pod, ip, overlay_node, route, tcp, with_cluster, with_gathered},
};

const SECOND: u64 = 1_000_000_000;
const CLUSTER_IP: &str = "10.96.7.7";

/// Connections to the ClusterIP that leave the node as they are.
fn silence() -> Observation {
    let mut observation = Observation {
        now: 60 * SECOND,
        ..Observation::default()
    };
    for n in 1..6 {
        let flow = FlowKey {
            source_port: 50_000 + n,
            ..tcp("172.20.1.5", CLUSTER_IP, 80)
        };
        let note = |hop: &mut netdiag_common::hop::FlowHop| {
            (hop.syns, hop.flags) = (2, SYN);
            (hop.first, hop.last) = (SECOND * u64::from(n), SECOND * u64::from(n) + 1);
        };
        let left = at(flow, UPLINK, true, 0, note);
        observation.flows.extend([from_pod(flow, note), left]);
    }
    observation
}

fn named(services: Services) -> Vec<String> {
    let found = found(services).into_iter();
    found.map(|f| f.cause).collect()
}

fn found(services: Services) -> Vec<Finding> {
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    let known = [(Want::Services, Ok(Piece::Services(services)))];
    with_gathered(&node, &silence(), known, |facts| {
        assert_eq!(wants(facts)[0].query.want(), Some(&Want::Services));
        evaluate(facts)
    })
}

fn rule(address: &str, rejected: bool) -> Service {
    Service {
        address: ip(address),
        port: 80,
        protocol: 6,
        name: None,
        backends: Vec::new(),
        rejected,
        local: false,
        engine: Engine::Nftables,
        table: None,
    }
}

fn told() -> Services {
    let by = "CART_SERVICE_HOST of nginx[7]".into();
    let address = ip(CLUSTER_IP);
    let sure = true;
    Services {
        told: vec![Told { address, by, sure }],
        ..Services::default()
    }
}

/// As one namespace's pods alone say it.
fn said() -> Services {
    let mut said = told();
    said.told[0].sure = false;
    said
}

#[test]
fn an_address_is_a_services_only_if_somebody_says_so() {
    assert_eq!(named(told()), ["kube-proxy-missing"]);
    assert_eq!(named(Services::default()), [""; 0]);
    let ranges = vec![("10.96.0.0/12".parse().expect("a prefix"), "x".into())];
    let in_range = Services {
        ranges,
        ..Services::default()
    };
    assert_eq!(named(in_range), ["kube-proxy-missing"]);
}

/// Any pod can write any address into its own environment.
#[test]
fn one_namespaces_word_confirms_nothing() {
    let finding = found(said()).remove(0);
    assert_eq!(finding.cause, "kube-proxy-missing");
    assert_eq!(finding.confidence, Confidence::Suspected);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding
            .summary
            .contains("which only pods of one namespace call a Service's")
    );
    let sure = |services| found(services).remove(0).confidence == Confidence::Confirmed;
    assert!(sure(told()));
    let range = ("10.96.0.0/12".parse().expect("a prefix"), "x".into());
    let ranges = vec![range];
    assert!(sure(Services { ranges, ..said() }));
}

#[test]
fn a_proxy_that_cannot_be_seen_may_run() {
    let rules = vec![rule("10.96.0.1", false)];
    let unseen = Services {
        rules,
        unseen: 1,
        ..told()
    };
    assert_eq!(named(unseen), [""; 0]);
}

#[test]
fn rules_of_a_proxy_that_runs_may_lack_a_deleted_service() {
    let rules = vec![rule("10.96.0.1", false)];
    let dead = Services { rules, ..told() };
    assert_eq!(named(dead.clone()), ["kube-proxy-missing"]);
    let proxies = vec!["kube-proxy[5]".into()];
    assert_eq!(named(Services { proxies, ..dead }), [""; 0]);
}

/// The API's word of a Service at the address, with one pod that is not ready.
fn api() -> Cluster {
    let port = |port| cluster::Port {
        name: Some("http".into()),
        port,
        protocol: 6,
        node_port: None,
    };
    let backend = cluster::Backend {
        addresses: vec![ip("172.20.2.9")],
        pod: Some(("shop".into(), "cart-1".into())),
        node: Some("n2".into()),
        ..cluster::Backend::default()
    };
    let service = cluster::Service {
        namespace: "shop".into(),
        name: "cart".into(),
        addresses: vec![ip(CLUSTER_IP)],
        ports: vec![port(80)],
        slices: vec![cluster::Slice {
            ports: vec![port(8080)],
            backends: vec![backend],
        }],
        ..cluster::Service::default()
    };
    let known = cluster::State {
        known: true,
        ..cluster::State::default()
    };
    Cluster {
        services: vec![service],
        states: [(Topic::EndpointSlices, known)].into(),
        ..Cluster::default()
    }
}

#[test]
fn the_api_names_the_service_and_its_pods() {
    let mut node = overlay_node(1450, 1450, 1500);
    let default = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(default);
    let found = |services: Services| {
        let known = [(Want::Services, Ok(Piece::Services(services)))];
        with_cluster(&node, &silence(), known, &api(), evaluate)
    };
    let rejected = found(Services {
        rules: vec![rule(CLUSTER_IP, true)],
        ..Services::default()
    });
    assert!(
        rejected[0]
            .summary
            .contains("shop/cart:http (10.96.7.7:80)")
    );
    let line = rejected[0].evidence.iter();
    let line = line.filter(|e| e.kind == EvidenceKind::Api);
    let texts: Vec<_> = line.map(|e| e.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "the API has 1 endpoint for shop/cart, 0 ready: shop/cart-1@n2 at \
             172.20.2.9:8080 not ready"
        ]
    );
    let missing = found(Services::default());
    assert_eq!(missing[0].cause, "kube-proxy-missing", "it is a Service's");
}

#[test]
fn rules_for_the_address_tell_what_becomes_of_it() {
    let with = |rejected| Services {
        rules: vec![rule(CLUSTER_IP, rejected)],
        ..told()
    };
    assert_eq!(named(with(true)), ["service-no-endpoints"]);
    assert_eq!(named(with(false)), [""; 0], "it is translated");
}
