//! The real client against a server that behaves as API servers do on bad days.
use std::{sync::Arc, time::Duration};

use netdiag_tests::api::{
    Api, Gone, Login,
    objects::{node, pod, service, slice},
};
use serde_json::json;

use super::{Asked, Kubernetes, bounded::PAGE};
use crate::model::cluster::{Cluster, Topic, Trouble};

const SOON: Duration = Duration::from_secs(20);

/// A cluster of two nodes, and who watches it as `node-a`.
async fn watched(login: Login, prepare: impl FnOnce(&Api)) -> (Api, Kubernetes) {
    let api = cluster(prepare);
    let watching = open(&api, login).await;
    (api, watching)
}

fn cluster(prepare: impl FnOnce(&Api)) -> Api {
    let api = Api::start();
    api.put("nodes", node("node-a", "192.0.2.1", "10.1.0.0/24"));
    api.put("nodes", node("node-b", "192.0.2.2", "10.1.1.0/24"));
    api.put(
        "pods",
        pod("shop", "cart-1", "node-a", &["10.1.0.5", "fd00::5"]),
    );
    api.put("pods", pod("shop", "cart-2", "node-b", &["10.1.1.6"]));
    api.put("services", service("shop", "cart", "10.96.0.10", 80));
    let backends = [
        ("10.1.0.5", "cart-1", "node-a", true),
        ("10.1.1.6", "cart-2", "node-b", false),
    ];
    api.put("endpointslices", slice("shop", "cart", 8080, &backends));
    prepare(&api);
    api
}

async fn open(api: &Api, login: Login) -> Kubernetes {
    within(api, login, PAGE).await
}

async fn within(api: &Api, login: Login, most: usize) -> Kubernetes {
    let config = api.kubeconfig(login);
    let asked = Asked {
        kubeconfig: Some(&config),
        ..Asked::default()
    };
    let open = Kubernetes::within(asked, Some("node-a"), most).await;
    open.expect("a kubeconfig").expect("an API")
}

/// Waits for a picture in which that is so.
async fn until(
    watching: &mut Kubernetes,
    what: &str,
    so: impl Fn(&Cluster) -> bool,
) -> Arc<Cluster> {
    let wait = watching.picture.wait_for(|cluster| so(cluster));
    let seen = tokio::time::timeout(SOON, wait).await;
    let seen = seen.map(|cluster| cluster.expect("a watch").clone());
    seen.unwrap_or_else(|_| panic!("never: {what}: {:#?}", watching.picture()))
}

fn complete(cluster: &Cluster) -> bool {
    Topic::ALL.iter().all(|t| cluster.states[t].known)
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster.pods.iter().map(|p| p.name.as_str()).collect()
}

fn trouble(cluster: &Cluster, topic: Topic) -> Option<&Trouble> {
    cluster.states[&topic].trouble.as_ref()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_known_by_token_and_by_certificate() {
    for login in [Login::Token, Login::Certificate] {
        let (_api, mut watching) = watched(login, |_| {}).await;
        let cluster = until(&mut watching, "complete", complete).await;
        // The other node's pod backs a Service.
        assert_eq!(names(&cluster), ["cart-1", "cart-2"]);
        assert_eq!(cluster.pods[0].addresses.len(), 2);
        let (service, port) = cluster
            .service("10.96.0.10".parse().expect("an address"), Some((80, 6)))
            .expect("the Service");
        let backends = service.endpoints(port);
        assert_eq!((service.path().as_str(), backends.len()), ("shop/cart", 2));
        assert_eq!(backends[1].0.node.as_deref(), Some("node-b"));
        assert!(backends[0].0.ready && !backends[1].0.ready && backends[0].1 == 8080);
        let own = cluster.member().expect("this node");
        assert_eq!((own.pod_cidrs.len(), own.announced.len()), (1, 1));
        assert_eq!(cluster.not_checked(), []);
        assert!(!watching.is_unverified());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_may_be_believed_but_not_in_silence() {
    let (_api, mut watching) = watched(Login::Unverified, |_| {}).await;
    until(&mut watching, "complete", complete).await;
    assert!(watching.is_unverified());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_api_server_is_asked_for_pages() {
    let (api, mut watching) = watched(Login::Token, |api| api.become_minor(28)).await;
    until(&mut watching, "complete", complete).await;
    assert!(api.count("list services") > 0);
}

/// A Service of that many bytes.
fn large(name: &str, bytes: usize) -> serde_json::Value {
    let mut large = service("shop", name, "10.96.0.11", 80);
    large["metadata"]["annotations"] = json!({ "note": "x".repeat(bytes) });
    large
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_too_long_is_asked_for_in_smaller_ones() {
    let most = 1 << 20;
    let api = cluster(|api: &Api| {
        api.become_minor(28);
        for name in ["a", "b", "c"] {
            api.put("services", large(name, most * 2 / 3));
        }
    });
    let mut watching = within(&api, Login::Token, most).await;
    let cluster = until(&mut watching, "complete", complete).await;
    assert_eq!(cluster.services.len(), 4);
    assert_eq!(cluster.not_checked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_that_is_too_long_is_told() {
    let most = 1 << 20;
    let api = cluster(|api: &Api| {
        api.become_minor(28);
        api.put("services", large("a", most));
    });
    let mut watching = within(&api, Login::Token, most).await;
    // The others are listed beside it, in any order.
    let failed =
        |c: &Cluster| trouble(c, Topic::Services).is_some() && c.states[&Topic::Pods].known;
    let cluster = until(&mut watching, "told", failed).await;
    let rows = cluster.not_checked();
    let told = rows.iter().find(|row| row.why.contains("more than 1 MiB"));
    assert!(told.is_some(), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let (api, mut watching) = watched(Login::Token, |_| {}).await;
    until(&mut watching, "complete", complete).await;
    let watches = api.count("watch pods");
    api.cut();
    api.put("pods", pod("shop", "late-1", "node-a", &["10.1.0.9"]));
    api.delete("pods", "shop/cart-1");
    until(&mut watching, "late-1 came", |c| {
        names(c).contains(&"late-1")
    })
    .await;
    // It still backs the Service; the Service's slice is another object.
    let gone = |c: &Cluster| {
        !c.pods
            .iter()
            .any(|p| p.name == "cart-1" && p.addresses.len() == 2)
    };
    until(&mut watching, "cart-1 went", gone).await;
    assert!(api.count("watch pods") > watches);
    assert_eq!(api.count("410"), 0);
    until(&mut watching, "no trouble", |c| c.not_checked().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_has_forgotten_is_listed_again() {
    for gone in [Gone::Status, Gone::Event] {
        let (api, mut watching) = watched(Login::Token, |_| {}).await;
        until(&mut watching, "complete", complete).await;
        api.delete("services", "shop/cart");
        api.delete("endpointslices", "shop/cart-abcde");
        api.put("pods", pod("shop", "new-1", "node-a", &["10.1.0.7"]));
        api.compact(gone);
        let right = |c: &Cluster| c.services.is_empty() && names(c) == ["cart-1", "new-1"];
        until(&mut watching, "as it is now", right).await;
        api.put("services", service("shop", "web", "10.96.0.11", 80));
        until(&mut watching, "goes on", |c| {
            c.named("shop", "web").is_some()
        })
        .await;
        let quiet = |c: &Cluster| c.not_checked().is_empty();
        until(&mut watching, "no trouble", quiet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_costs_that_part_only() {
    let (_api, mut watching) = watched(Login::Token, |api| {
        api.forbid("services");
        api.forbid("configmaps");
    })
    .await;
    let all = |c: &Cluster| Topic::ALL.iter().all(|t| c.settled(*t));
    let cluster = until(&mut watching, "settled", all).await;
    assert!(matches!(
        trouble(&cluster, Topic::Services),
        Some(Trouble::Forbidden(_))
    ));
    let rows = cluster.not_checked();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let told = rows
        .iter()
        .any(|r| r.why.contains("must allow watch of services"));
    assert!(told, "{rows:?}");
    assert_eq!(names(&cluster), ["cart-1", "cart-2"], "endpoints name them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_so() {
    let (_api, mut watching) = watched(Login::Stranger, |_| {}).await;
    let cluster = until(&mut watching, "settled", |c| c.settled(Topic::Pods)).await;
    let rows = cluster.not_checked();
    assert!(rows[0].why.contains("token or certificate"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_keeps_nobody() {
    let delay = Duration::from_millis(1500);
    let (_api, mut watching) = watched(Login::Token, |api| api.delay("pods", delay)).await;
    let begun = std::time::Instant::now();
    let rest = |c: &Cluster| c.states[&Topic::Services].known;
    let cluster = until(&mut watching, "the rest", rest).await;
    assert!(begun.elapsed() < delay && !cluster.states[&Topic::Pods].known);
    let rows = cluster.not_checked();
    assert!(
        rows.iter().any(|r| r.why.contains("not told them yet")),
        "{rows:?}"
    );
    until(&mut watching, "complete", complete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_gone_leaves_what_was_known_with_its_age() {
    let (mut api, mut watching) = watched(Login::Token, |_| {}).await;
    until(&mut watching, "complete", complete).await;
    api.stop();
    let troubled = |c: &Cluster| trouble(c, Topic::Pods).is_some();
    let cluster = until(&mut watching, "trouble", troubled).await;
    assert_eq!(names(&cluster), ["cart-1", "cart-2"]);
    let rows = cluster.not_checked();
    assert!(rows[0].why.starts_with("as of 20"), "{rows:?}");
    api.restart();
    let well = |c: &Cluster| Topic::ALL.iter().all(|t| trouble(c, *t).is_none());
    until(&mut watching, "well again", well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_name_is_found_by_nothing_but_its_own_address() {
    let api = Api::start();
    api.put("nodes", node("node-b", "198.51.100.77", "10.1.1.0/24"));
    let mut watching = open(&api, Login::Token).await;
    let told = |c: &Cluster| c.no_node.is_some();
    let cluster = until(&mut watching, "told", told).await;
    assert!(cluster.not_checked()[0].why.contains("--node-name NAME"));
}

#[tokio::test(flavor = "multi_thread")]
async fn flannels_settings_are_read_by_name() {
    let conf = r#"{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789}}"#;
    let map = json!({ "metadata": { "namespace": "kube-flannel", "name": "kube-flannel-cfg" },
        "data": { "net-conf.json": conf } });
    let (api, mut watching) = watched(Login::Token, |api| api.put("configmaps", map)).await;
    let cluster = until(&mut watching, "flannel", |c| c.flannel.is_some()).await;
    let flannel = cluster.flannel.as_ref().expect("there");
    assert_eq!((flannel.vni, flannel.port), (Some(7), Some(4789)));
    assert_eq!(
        api.count("list configmaps") + api.count("watch configmaps"),
        0
    );
}
