//! What `netdiag manifests` prints, held against those who are to read it.
#[path = "manifests/cases.rs"]
mod cases;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use netdiag_tests::{
    api::{Api, Login, objects::node},
    netdiag::{netdiag, sentence},
    process::{run, wait_until},
    require,
};
use serde_json::{Value, json};

use self::cases::{brief_test, cause_tests, health_tests, quiet_tests};

/// The documents of what is printed.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let ended = netdiag(&[&["manifests"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    documents(&ended.text())
}

fn documents(text: &str) -> Vec<Value> {
    let each = text.split("\n---\n").map(serde_saphyr::from_str);
    each.collect::<Result<_, _>>().expect("YAML")
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found = documents.iter().find(|it| it["kind"] == kind);
    found.expect("printed")
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list").iter();
    list.map(|it| it.as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn what_a_cluster_would_refuse_is_refused_here() {
    let usage = |arguments: &[&str], word: &str| {
        let ended = netdiag(&[&["manifests"], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
        let told = ended.stderr.join("\n");
        assert!(told.contains(word), "{arguments:?}: {told}");
        ended
    };
    usage(&["--image", "Net diag"], "no reference of an image");
    usage(&["--namespace", "Kube_System"], "no name for Kubernetes");
    usage(&["--label", "release"], "no label");
    usage(&["--label", "release=-"], "no value that Kubernetes takes");
    usage(&["--listen", "10.0.0.1:9464"], "one node's address");
    usage(&["--listen", "0.0.0.0:80"], "NET_BIND_SERVICE");
    usage(&["--seccomp-profile", "unconfined"], "no seccomp profile");
    usage(
        &["--seccomp-profile", "localhost/../x"],
        "no seccomp profile",
    );
    usage(&["--alert-scale", "0"], "no factor");
    usage(&["--runbook-url", "wiki"], "no prefix of a link");
    for (arguments, word) in [
        (
            &["--monitors", "pod", "--listen", "127.0.0.1:9464"][..],
            "Prometheus reaches nothing",
        ),
        (&["daemonset", "--plain"], "--plain is for"),
        (&["scrape"], "--plain prints"),
        (
            &["scrape", "--plain", "--listen", "127.0.0.1:9464"],
            "Prometheus reaches nothing",
        ),
        (&["--", "--levle", "light"], "unexpected argument '--levle'"),
        (&["--", "--listen=0.0.0.0:1"], "before the --"),
        (&["-n", "kube-system"], "--no-namespace"),
        (&["rbac", "-n", "default"], "--no-namespace"),
        (
            &["--kustomize", "/nowhere", "-n", "kube-public"],
            "--no-namespace",
        ),
        (&["--", "snapshot"], "watches nothing"),
        (&["--", "queries"], "watches nothing"),
        (&["--", "--print-config"], "prints and ends"),
        (&["--", "--config", "agent.toml"], "no pod has"),
        (&["--", "--help"], "--help"),
        (&["--", "--root", "/nowhere", "--levle"], "'--levle'"),
        (&["--", "--canary", "5s"], "CAP_SYS_ADMIN"),
        (
            &["--kustomize", "/nowhere", "--", "--canary=5s"],
            "CAP_SYS_ADMIN",
        ),
        (
            &["--profile", "full", "--", "--canary=5s", "--canary=6s"],
            "multiple times",
        ),
    ] {
        let ended = usage(arguments, word);
        sentence(&ended);
    }
}

/// In all that is printed for a profile, overlays too.
#[test]
fn a_seccomp_profile_of_the_nodes_is_gone_by() {
    let own = ["--seccomp-profile", "localhost/netdiag.json"];
    let seccomp = |object: &Value| {
        let spec = &object["spec"]["template"]["spec"];
        spec["containers"][0]["securityContext"]["seccompProfile"].clone()
    };
    let expected = json!({ "type": "Localhost", "localhostProfile": "netdiag.json" });
    for profile in ["minimal", "full"] {
        let documents = printed(&[&own[..], &["--profile", profile]].concat());
        assert_eq!(seccomp(of_kind(&documents, "DaemonSet")), expected);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().display().to_string();
    let ended = netdiag(&[&["manifests", "--kustomize", &root], &own[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for file in ["base/daemonset.yaml", "overlays/full/profile.yaml"] {
        let text = fs::read_to_string(folder.path().join(file)).expect(file);
        let object: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(seccomp(&object), expected, "{file}");
    }
}

#[test]
fn a_namespace_of_others_is_left_alone() {
    let documents = printed(&["-n", "kube-system", "--no-namespace"]);
    assert!(documents.iter().all(|it| it["kind"] != "Namespace"));
    let agents = of_kind(&documents, "DaemonSet");
    assert_eq!(agents["metadata"]["namespace"], "kube-system");
    // No namespace stands in these.
    for part in ["daemonset", "monitors", "rules", "dashboard"] {
        printed(&[part, "-n", "kube-system"]);
    }
}

/// The agent's own parser takes the arguments of each container, and a canary stands there once.
#[test]
fn the_agent_takes_what_it_is_started_with() {
    let args = |arguments: &[&str]| {
        let documents = printed(&[&["daemonset"], arguments].concat());
        let pod = &of_kind(&documents, "DaemonSet")["spec"]["template"]["spec"];
        words(&pod["containers"][0]["args"])
    };
    for (arguments, canary) in [
        (&[][..], &["--canary=0"][..]),
        (&["--", "--canary=0s"], &["--canary=0s"]),
        (&["--profile", "full"], &[]),
        (
            &["--profile", "full", "--", "--canary=5s"],
            &["--canary=5s"],
        ),
    ] {
        let args = args(arguments);
        let of = args.iter().filter(|it| it.starts_with("--canary"));
        assert_eq!(of.collect::<Vec<_>>(), canary, "{arguments:?}");
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        // It says what it would do by these arguments, and ends.
        let ended = netdiag(&[&args[..], &["--print-config"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// Whatever the objects are called, and whatever labels a user adds.
#[test]
fn kubectl_netdiag_finds_the_agents() {
    let own = "app.kubernetes.io/component=other";
    for more in [&[][..], &["--name", "tracer", "--label", own]] {
        let documents = printed(&[&["daemonset"], more].concat());
        let labels = &of_kind(&documents, "DaemonSet")["spec"]["template"]["metadata"]["labels"];
        let wanted: Vec<_> = netdiag::fleet::AGENTS
            .split(',')
            .map(|it| it.split_once('=').expect("KEY=VALUE"))
            .collect();
        assert!(wanted.len() > 1, "{wanted:?}");
        for (key, value) in wanted {
            assert_eq!(labels[key], value, "{more:?}: {labels}");
        }
    }
}

/// The API is asked for nothing that the role does not allow, and the role allows nothing else.
#[test]
fn the_role_is_what_the_client_asks_for() {
    let mut asked = BTreeSet::new();
    // Before 1.32 lists are lists.
    for minor in [31, 33] {
        let api = Api::start();
        api.become_minor(minor);
        api.put("nodes", node("left", "192.0.2.10", "172.20.17.0/24"));
        let config = api.kubeconfig(Login::Token).display().to_string();
        let ask = ["doctor", "--kubeconfig", &config, "--node-name", "left"];
        let asks = || {
            netdiag(&ask);
            api.count("watch nodes") > 0 && api.count("get configmaps") > 0
        };
        wait_until("the API is asked", Duration::from_secs(60), asks);
        asked.extend(api.asked());
    }
    let documents = printed(&["rbac"]);
    let mut allowed = BTreeSet::new();
    for rule in of_kind(&documents, "ClusterRole")["rules"]
        .as_array()
        .expect("rules")
    {
        for verb in words(&rule["verbs"]) {
            let resources = words(&rule["resources"]);
            allowed.extend(resources.iter().map(|it| format!("{verb} {it}")));
        }
    }
    assert_eq!(asked, allowed);
}

/// What kustomize makes of a folder, by kind and name.
fn built(folder: &str) -> BTreeMap<String, Value> {
    let ended = run(Command::new("kubectl").args(["kustomize", folder]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    by_name(documents(&ended.text()))
}

fn by_name(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |it: &Value| format!("{} {}", it["kind"], it["metadata"]["name"]);
    documents.into_iter().map(|it| (name(&it), it)).collect()
}

/// Each overlay is what is printed for its profile.
#[test]
fn kustomize_builds_what_is_printed() {
    if require::find("kubectl").is_none() {
        return require::say("kubectl");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("netdiag").display().to_string();
    let more = [
        "--monitors",
        "service",
        "--namespace",
        "observe",
        "--label",
        "release=x",
    ];
    let write = |more: &[&str]| {
        let ended = netdiag(&[&["manifests", "--kustomize", &root], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    let first = write(&["--image", "other:1", "--monitors", "pod"]);
    assert!(!first.text().contains("kept"), "{first:?}");
    assert!(first.stderr.is_empty(), "{first:?}");
    // The second time over the files of the first.
    let second = write(&more);
    assert_eq!(second.text().matches("kept ").count(), 2, "{second:?}");
    let left = format!("{root}/base/podmonitor.yaml is no longer part of the base");
    let told = second.stderr.join("\n");
    assert!(told.contains(&left), "{told}");
    assert_eq!(told.matches("no longer").count(), 1, "{told}");
    for profile in ["minimal", "full"] {
        let printed = printed(&[&more[..], &["--profile", profile]].concat());
        assert!(printed.len() > 8, "{}", printed.len());
        let built = built(&format!("{root}/overlays/{profile}"));
        assert_eq!(built, by_name(printed), "{profile}");
    }
    // What a cluster changed stays.
    let own = format!("{root}/overlays/full/kustomization.yaml");
    let text = fs::read_to_string(&own).expect("written") + "namePrefix: own-\n";
    fs::write(&own, &text).expect("written");
    write(&more);
    assert_eq!(fs::read_to_string(&own).expect("there"), text);
}

/// The rule file in a folder, as Prometheus is given it.
fn rule_file(arguments: &[&str]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = netdiag(&[&["manifests", "rules", "--plain"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let file = folder.path().join("rules.yml");
    fs::write(&file, ended.text()).expect("written");
    let name = file.display().to_string();
    (folder, name)
}

fn promtool(arguments: &[&str]) {
    let ended = run(Command::new("promtool").args(arguments));
    assert_eq!(
        ended.code,
        Some(0),
        "{arguments:?}: {} {ended:?}",
        ended.text()
    );
}

#[test]
fn prometheus_takes_the_rules() {
    if require::find("promtool").is_none() {
        return require::say("promtool");
    }
    for more in [
        &[][..],
        &["--alert-scale", "0.05"],
        &["--", "--resolve-after", "20s"],
        &["--runbook-url", "https://wiki.example/netdiag/"],
    ] {
        let (_folder, file) = rule_file(more);
        promtool(&["check", "rules", "--lint-fatal", &file]);
    }
}

/// The pods that the DaemonSet makes are those that are kept.
#[test]
fn prometheus_takes_the_scrape_configuration() {
    let ended = netdiag(&["manifests", "scrape", "--plain", "--name", "tracer"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let read: Value = serde_saphyr::from_str(&ended.text()).expect("YAML");
    let job = &read["scrape_configs"][0];
    assert_eq!(job["job_name"], "tracer");
    let pods = json!([{ "role": "pod", "namespaces": { "names": ["netdiag"] } }]);
    assert_eq!(job["kubernetes_sd_configs"], pods);
    let documents = printed(&["daemonset", "--name", "tracer"]);
    let labels = &of_kind(&documents, "DaemonSet")["spec"]["template"]["metadata"]["labels"];
    let labels = labels.as_object().expect("labels");
    for (key, value) in labels {
        let source = format!(
            "__meta_kubernetes_pod_label_{}",
            key.replace(['.', '/'], "_")
        );
        let rules = job["relabel_configs"].as_array().expect("rules").iter();
        let of = |it: &&Value| it["source_labels"][0] == *source && it["action"] == "keep";
        assert_eq!(rules.clone().filter(of).count(), 1, "{source}");
        assert!(rules.clone().any(|it| it["regex"] == *value), "{value}");
    }
    if require::find("promtool").is_none() {
        return require::say("promtool");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    // Debian's is built without this discovery, whose members were looked at above.
    let text = ended.text();
    let (before, discovery) = text.split_once("  kubernetes_sd_configs:").expect("there");
    let (_, after) = discovery.split_once("  relabel_configs:").expect("there");
    let others = format!("{before}  static_configs: []\n  relabel_configs:{after}");
    fs::write(&file, others).expect("written");
    promtool(&["check", "config", &file.display().to_string()]);
}

/// With the times that are shipped.
#[test]
fn alerts_fire_when_they_should_and_not_before() {
    if require::find("promtool").is_none() {
        return require::say("promtool");
    }
    let (folder, file) = rule_file(&["--runbook-url", "https://wiki.example/netdiag/"]);
    let rules = fs::read_to_string(&file).expect("written");
    let rules: Value = serde_saphyr::from_str(&rules).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let of = |group: &Value| group["rules"].as_array().expect("rules").clone();
    let rules: Vec<Value> = groups.iter().flat_map(of).collect();
    let causes = cause_tests(&rules);
    let others = health_tests();
    assert_eq!(causes.len() + others.len(), rules.len(), "each has a test");
    let tests: Vec<Value> = causes
        .into_iter()
        .chain(others)
        .chain([brief_test(&rules)])
        .chain(quiet_tests())
        .collect();
    let tests =
        json!({ "rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": tests });
    let name = folder.path().join("tests.yml");
    // All of JSON is YAML.
    fs::write(&name, tests.to_string()).expect("written");
    promtool(&["test", "rules", &name.display().to_string()]);
}
