//! Every document that is printed is read again into the types that it is of.
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::*;
use crate::{
    Alerts, Arch, Profile, Seccomp,
    monitoring::{PodMonitor, PrometheusRule, RuleFile, ServiceMonitor},
    scrape::Scrapes,
};

fn options(profile: Profile, monitors: Option<Monitor>) -> Options {
    let name = |text: &str| text.parse().expect("a name");
    Options {
        name: name("netdiag"),
        namespace: name("observe"),
        own_namespace: true,
        image: "registry.example/netdiag:1".parse().expect("an image"),
        arch: vec![Arch::Amd64],
        profile,
        seccomp: Seccomp::default(),
        listen: "0.0.0.0:9464".parse().expect("an address"),
        pull_secret: Some(name("registry")),
        priority_class: Some(name("system-node-critical")),
        labels: vec!["release=monitoring".parse().expect("a label")],
        arguments: vec!["--level=flows".to_owned()],
        canary: false,
        events: false,
        monitors,
        alerts: Alerts::default(),
    }
}

/// A field that the type does not have would be missing afterwards.
fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let object: T = serde_json::from_value(value.clone()).expect("of that type");
    serde_json::to_value(object).expect("JSON")
}

fn again(value: &Value) -> Value {
    match value["kind"].as_str().unwrap_or("no kind") {
        "Namespace" => through::<Namespace>(value),
        "ServiceAccount" => through::<ServiceAccount>(value),
        "ClusterRole" => through::<ClusterRole>(value),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(value),
        "DaemonSet" => through::<DaemonSet>(value),
        "ConfigMap" => through::<ConfigMap>(value),
        "Service" => through::<Service>(value),
        "PodMonitor" => through::<PodMonitor>(value),
        "ServiceMonitor" => through::<ServiceMonitor>(value),
        "PrometheusRule" => through::<PrometheusRule>(value),
        "no kind" if value["groups"].is_array() => through::<RuleFile>(value),
        "no kind" => through::<Scrapes>(value),
        other => panic!("nobody reads {other}"),
    }
}

fn every() -> Vec<(Options, Vec<Document>)> {
    let mut all = Vec::new();
    for profile in Profile::ALL {
        for monitors in [None, Some(Monitor::Pod), Some(Monitor::Service)] {
            let options = options(profile, monitors);
            let mut printed = documents(What::All, &options).expect("documents");
            printed.push(plain_rules(&options).expect("rules"));
            printed.push(plain_scrape(&options).expect("configuration"));
            all.push((options, printed));
        }
    }
    all
}

fn value(document: &Document) -> Value {
    serde_saphyr::from_str(&document.file()).expect("YAML")
}

#[test]
fn what_is_printed_is_of_its_type() {
    for (_, documents) in every() {
        for document in documents {
            let value = value(&document);
            assert_eq!(again(&value), value, "{}", document.name);
        }
    }
}

#[test]
fn objects_are_where_they_should_be_and_have_the_labels() {
    for (_, documents) in every() {
        for value in documents
            .iter()
            .map(value)
            .filter(|it| it["kind"].is_string())
        {
            let meta = &value["metadata"];
            assert_eq!(meta["labels"]["release"], "monitoring", "{value}");
            assert_eq!(meta["labels"]["app.kubernetes.io/name"], "netdiag");
            match value["kind"].as_str() {
                Some("Namespace") => assert_eq!(meta["name"], "observe"),
                Some("ClusterRole" | "ClusterRoleBinding") => {
                    assert_eq!(meta["namespace"], Value::Null);
                }
                _ => assert_eq!(meta["namespace"], "observe", "{value}"),
            }
        }
    }
}

/// What the operator adds is there only where somebody says that it is there.
#[test]
fn monitors_are_off_unless_asked_for() {
    let kinds = |monitors| {
        let options = options(Profile::Minimal, monitors);
        let printed = documents(What::All, &options).expect("documents");
        printed.iter().map(|it| it.name).collect::<Vec<_>>()
    };
    let core = [
        "namespace",
        "serviceaccount",
        "clusterrole",
        "clusterrolebinding",
        "daemonset",
    ];
    assert_eq!(kinds(None), core);
    assert_eq!(
        kinds(Some(Monitor::Pod)),
        [&core[..], &["podmonitor", "prometheusrule", "dashboard"]].concat()
    );
    let others = Options {
        own_namespace: false,
        ..options(Profile::Minimal, None)
    };
    let printed = documents(What::All, &others).expect("documents");
    let printed: Vec<_> = printed.iter().map(|it| it.name).collect();
    assert_eq!(printed, core[1..]);
    let service = [
        &core[..],
        &["service", "servicemonitor", "prometheusrule", "dashboard"],
    ]
    .concat();
    assert_eq!(kinds(Some(Monitor::Service)), service);
}

/// What is said above the role is what it allows.
#[test]
fn the_role_writes_events_only_where_it_says_so() {
    for events in [false, true] {
        let options = Options {
            events,
            ..options(Profile::Minimal, None)
        };
        let documents = documents(What::Rbac, &options).expect("documents");
        let role = documents.iter().find(|it| it.name == "clusterrole");
        let role = role.expect("printed");
        let value = value(role);
        let rules = value["rules"].as_array().expect("rules").iter();
        let verbs = rules.flat_map(|rule| rule["verbs"].as_array().expect("verbs"));
        let writes = verbs
            .filter(|verb| *verb == "create" || *verb == "patch")
            .count();
        assert_eq!(writes, if events { 2 } else { 0 }, "{value}");
        let said = role.about.contains("They write nothing.");
        assert_eq!(said, !events, "{}", role.about);
    }
}

/// Selectors and what they are to select.
#[test]
fn what_is_selected_has_the_labels() {
    let every = every();
    let of = |name: &str| {
        let mut all = every.iter().flat_map(|(_, documents)| documents);
        value(all.find(|it| it.name == name).expect("printed"))
    };
    let agents = of("daemonset");
    let service = of("service");
    let pods = &agents["spec"]["template"]["metadata"]["labels"];
    for (selector, labels) in [
        (&agents["spec"]["selector"]["matchLabels"], pods),
        (&of("podmonitor")["spec"]["selector"]["matchLabels"], pods),
        (&service["spec"]["selector"], pods),
        (
            &of("servicemonitor")["spec"]["selector"]["matchLabels"],
            &service["metadata"]["labels"],
        ),
    ] {
        let selector = selector.as_object().expect("labels");
        assert_eq!(selector["app.kubernetes.io/component"], "agent");
        for (key, value) in selector {
            assert_eq!(&labels[key], value);
        }
    }
    for monitor in [of("podmonitor"), of("servicemonitor")] {
        let job = monitor["spec"]["jobLabel"].as_str().expect("a label");
        assert_eq!(pods[job], "netdiag");
        assert_eq!(service["metadata"]["labels"][job], "netdiag");
    }
    let container = &agents["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["ports"][0]["name"],
        of("service")["spec"]["ports"][0]["targetPort"]
    );
}
