use std::collections::BTreeMap;

use super::*;
use crate::{
    address::to_wire,
    cluster::Cluster,
    pod::PodIndex,
    services::{Engine, Service, Services},
    verdict::Owner,
};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

fn pod(namespace: &str, name: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        addresses: vec![address.parse().expect("an address")],
        labels: labels(&[("app", "cart"), ("tier", "web")]),
        owner: Some(Owner::new("Deployment", "cart")),
        netns: Some(4_026_532_000),
        ..Pod::default()
    }
}

fn paths(texts: &[&str]) -> Vec<Path> {
    texts.iter().map(|t| t.parse().expect("a path")).collect()
}

#[test]
fn label_selectors_are_kubernetes_own() {
    let own = labels(&[("app", "cart"), ("k8s.io/tier", "web"), ("empty", "")]);
    for (text, holds) in [
        ("app=cart", true),
        ("app==cart,k8s.io/tier!=db", true),
        ("app!=cart", false),
        ("other!=cart", true),
        ("app in (cart, shop),k8s.io/tier notin (db)", true),
        ("app in (shop)", false),
        ("other notin (a)", true),
        ("app", true),
        ("!app", false),
        ("!other , app", true),
        ("empty=", true),
    ] {
        let parsed: Labels = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(parsed.hold(&own), holds, "{text}");
    }
    for bad in [
        "",
        "app=cart,",
        "=x",
        "app=a b",
        "app in cart",
        "app within (a)",
        "a/b/c=d",
        "app=(x)",
    ] {
        assert!(bad.parse::<Labels>().is_err(), "{bad}");
    }
}

#[test]
fn conditions_of_each_kind_must_hold() {
    let pod = pod("shop", "cart-5d4f", "10.0.0.1");
    let takes = |selection: Selection| selection.takes(&pod, &Served::default());
    let named = |texts: &[&str]| Selection {
        pods: paths(texts),
        ..Selection::default()
    };
    assert!(takes(named(&["other/*", "cart-*"])));
    assert!(takes(named(&["shop/cart-????"])) && !takes(named(&["other/cart-*"])));
    let both = |namespace: &str, owner: &str| Selection {
        namespaces: vec![namespace.into()],
        owners: vec![owner.parse().expect("an owner")],
        ..Selection::default()
    };
    assert!(takes(both("shop", "deploy/cart")) && takes(both("sh*", "cart")));
    assert!(!takes(both("shop", "ds/cart")) && !takes(both("other", "cart")));
    let host = Pod {
        host_network: true,
        ..pod.clone()
    };
    assert!(!named(&["cart-*"]).takes(&host, &Served::default()));
}

#[test]
fn a_service_is_its_address_and_its_backends() {
    let address = |text: &str| text.parse().expect("an address");
    let services = Services {
        rules: vec![Service {
            address: address("10.96.0.10"),
            port: 80,
            protocol: 6,
            name: Some("shop/cart:http".into()),
            backends: vec![(address("10.0.0.1"), 80), (address("192.0.2.1"), 80)],
            rejected: false,
            local: false,
            engine: Engine::Nftables,
            table: None,
        }],
        ..Services::default()
    };
    let index = PodIndex::new(vec![
        pod("shop", "cart", "10.0.0.1"),
        pod("shop", "db", "10.0.0.2"),
    ]);
    let mut selection = Selection {
        services: paths(&["shop/cart"]),
        ..Selection::default()
    };
    let selected = |selection: &Selection| {
        let served = selection.served(&Cluster::default(), Some(&services));
        selection.resolve(&index, &served)
    };
    let wire = |texts: &[&str]| texts.iter().map(|t| to_wire(address(t))).collect();
    let all = selected(&selection);
    assert_eq!(
        all.addresses,
        wire(&["10.0.0.1", "10.96.0.10", "192.0.2.1"])
    );
    assert_eq!((all.pods, all.places.len()), (1, 1));
    selection.pods = paths(&["c*"]);
    assert_eq!(selected(&selection).addresses, wire(&["10.0.0.1"]));
    selection.pods = paths(&["db"]);
    assert_eq!(selected(&selection), Selected::default());
}

#[test]
fn what_was_typed_can_be_said() {
    let selection = Selection {
        namespaces: vec!["shop".into()],
        pods: paths(&["a/b"]),
        labels: vec!["app=x".parse().expect("valid")],
        owners: vec!["sts/db".parse().expect("valid")],
        ..Selection::default()
    };
    assert_eq!(
        selection.to_string(),
        "-n shop -p a/b -l 'app=x' --owner statefulset/db"
    );
    assert!("a/b/c".parse::<Path>().is_err() && "/b".parse::<Path>().is_err());
}
