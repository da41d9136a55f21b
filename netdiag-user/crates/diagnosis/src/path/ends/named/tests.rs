use super::super::end;
use crate::{
    model::{
        cluster::{Cluster, Member, Port, Service},
        gather::{Piece, Want},
        observation::Observation,
        path::{End, Wanted},
        pod::Pod,
        services::{self, Engine, Services},
        verdict::{Owner, PodRole},
    },
    testing::{ip, overlay_node, with_gathered, with_pods},
};

fn pod(namespace: &str, name: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        addresses: vec![ip(address)],
        owner: Some(Owner::new(
            "Deployment",
            name.split('-').next().unwrap_or(name),
        )),
        ..Pod::default()
    }
}

fn service(namespace: &str, name: &str, address: &str) -> Service {
    let port = Port {
        port: 80,
        protocol: 6,
        ..Port::default()
    };
    Service {
        namespace: namespace.into(),
        name: name.into(),
        addresses: vec![ip(address)],
        ports: vec![port],
        ..Service::default()
    }
}

fn find(text: &str) -> Result<End, String> {
    let gone = Pod {
        gone: Some(5),
        ..pod("shop", "db-0", "172.20.1.4")
    };
    let pods = vec![
        gone,
        pod("shop", "db-0", "172.20.1.5"),
        pod("shop", "cart-a", "172.20.1.6"),
        pod("shop", "cart-b", "172.20.1.7"),
        pod("shop", "web", "172.20.1.8"),
        pod("test", "web", "172.20.1.9"),
    ];
    let cluster = Cluster {
        services: vec![
            service("shop", "web", "10.96.0.1"),
            service("shop", "dns", "10.96.0.2"),
        ],
        nodes: vec![Member {
            name: "worker-2".into(),
            addresses: vec![ip("192.0.2.2")],
            ..Member::default()
        }],
        ..Cluster::default()
    };
    let wanted: Wanted = text.parse().expect(text);
    with_pods(&overlay_node(1450, 1450, 1500), pods, &cluster, |facts| {
        end(facts, &wanted, PodRole::Source)
    })
}

fn addresses(text: &str) -> Vec<String> {
    let end = find(text).expect(text);
    end.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_is_a_pods_or_a_services() {
    assert_eq!(addresses("shop/cart-a"), ["172.20.1.6"]);
    assert_eq!(addresses("cart-a"), ["172.20.1.6"]);
    assert_eq!(addresses("dns"), ["10.96.0.2"]);
    assert_eq!(find("shop/dns").expect("a Service").port, Some(80));
}

#[test]
fn a_kind_tells_a_pod_from_the_service_of_its_name() {
    assert_eq!(addresses("shop/web"), ["172.20.1.8"]);
    assert_eq!(addresses("pod/shop/web"), ["172.20.1.8"]);
    assert_eq!(addresses("svc/shop/web"), ["10.96.0.1"]);
    assert_eq!(addresses("svc/web"), ["10.96.0.1"]);
    assert_eq!(addresses("deploy/cart"), ["172.20.1.6", "172.20.1.7"]);
    assert_eq!(addresses("node/worker-2"), ["192.0.2.2"]);
    assert!(
        addresses("node/n1").contains(&"192.0.2.1".to_owned()),
        "this one"
    );
}

#[test]
fn a_pod_that_is_there_counts_before_one_that_was() {
    assert_eq!(addresses("shop/db-0"), ["172.20.1.5"]);
}

#[test]
fn a_name_in_several_namespaces_is_nobodys() {
    let why = find("web").expect_err("refused");
    assert!(why.contains("shop/web or test/web"), "{why}");
}

#[test]
fn who_may_have_been_meant_is_told() {
    let why = find("shop/cart").expect_err("unknown");
    assert!(why.ends_with("like it: shop/cart-a, shop/cart-b"), "{why}");
    let why = find("cart.example:80").expect_err("unknown");
    assert!(why.contains("DNS names are not looked up"), "{why}");
    let why = find("svc/shop/cart").expect_err("unknown");
    assert!(why.starts_with("no service svc/shop/cart"), "{why}");
}

#[test]
fn a_service_can_be_asked_by_a_port_that_it_does_not_have() {
    let end = find("svc/shop/dns:81").expect("a Service");
    assert_eq!(
        (end.port, end.service.as_deref()),
        (Some(81), Some("shop/dns"))
    );
}

#[test]
fn the_nodes_rules_name_services_too() {
    let rule = services::Service {
        address: ip("10.96.0.9"),
        port: 80,
        protocol: 6,
        name: Some("shop/api:http".into()),
        backends: Vec::new(),
        rejected: true,
        local: false,
        engine: Engine::Nftables,
        table: None,
    };
    let services = Services {
        rules: vec![rule],
        ..Services::default()
    };
    let pieces = [(Want::Services, Ok(Piece::Services(services)))];
    let node = overlay_node(1450, 1450, 1500);
    let told = with_gathered(&node, &Observation::default(), pieces, |facts| {
        ["api", "svc/shop/api:80", "shop/api:81"].map(|text| {
            let wanted: Wanted = text.parse().expect(text);
            let end = end(facts, &wanted, PodRole::Destination).expect(text);
            (end.port, end.service)
        })
    });
    let full = || Some("shop/api:http".to_owned());
    let wanted = [
        (Some(80), full()),
        (Some(80), full()),
        (Some(81), Some("shop/api".into())),
    ];
    assert_eq!(told, wanted);
}
