//! What `netdiag manifests` prints, held against those who are to read it.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use netdiag_tests::{
    api::{Api, Login, objects::node},
    need,
    netdiag::{netdiag, sentence},
    process::{run, wait_until},
};
use serde_json::{Value, json};

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
    if need::find("kubectl").is_none() {
        return need::say("kubectl");
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
    if need::find("promtool").is_none() {
        return need::say("promtool");
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
    if need::find("promtool").is_none() {
        return need::say("promtool");
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

/// What an alert is to say of a series: the templates that are used, filled in by hand.
fn filled(template: &str, labels: &BTreeMap<String, String>, value: &str) -> String {
    let mut text = template.replace("{{ $value }}", value);
    let none = r#"{{ or $labels.namespace "(none: the node's own)" }}"#;
    text = text.replace(none, &labels["namespace"]);
    for (key, value) in labels {
        text = text.replace(&format!("{{{{ $labels.{key} }}}}"), value);
    }
    assert!(!text.contains("{{"), "nobody fills {text}");
    text
}

/// Of each cause's alert: nothing before its time, and exactly what it says after it.
fn cause_tests(rules: &[Value]) -> Vec<Value> {
    let labels = |cause: &str| -> BTreeMap<String, String> {
        [
            ("job", "netdiag"),
            ("instance", "node-a"),
            ("namespace", "shop"),
            ("severity", "critical"),
            ("cause", cause),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    };
    let test = |rule: &Value| -> Option<Value> {
        let cause = rule["labels"]["cause"].as_str()?;
        let labels = labels(cause);
        let series = |workload: &str, more: &str, values: &str| {
            let more = format!("confidence=\"{more},workload=\"{workload}\"");
            let own = labels
                .iter()
                .map(|(key, value)| format!("{key}=\"{value}\""));
            let own: Vec<_> = own.collect();
            json!({ "series": format!("netdiag_finding{{{},{more}}}", own.join(",")), "values": values })
        };
        let annotations = rule["annotations"].as_object().expect("some");
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(key, text)| (key, filled(text.as_str().expect("text"), &labels, "2")))
            .collect();
        let fires = json!([{ "exp_labels": labels, "exp_annotations": annotations }]);
        let at = |time: &str, alerts: &Value| json!({ "eval_time": time, "alertname": rule["alert"], "exp_alerts": alerts });
        let nothing = json!([]);
        Some(json!({
            "interval": "15s",
            "input_series": [
                // There for six minutes, on two workloads; what is suspected, or another's
                // consequence, counts for nothing.
                series("Deployment/cart", "confirmed\"", "1x24 stale"),
                series("Deployment/web", "configured\"", "1x24 stale"),
                series("Deployment/db", "suspected\"", "1x60"),
                series("Deployment/api", "confirmed\",consequence_of=\"no-route\"", "1x60"),
            ],
            "alert_rule_test": [
                at("3m45s", &nothing),
                at("4m15s", &fires),
                at("6m", &fires),
                at("6m30s", &nothing),
            ],
        }))
    };
    rules.iter().filter_map(test).collect()
}

/// One packet is named for as long as a finding stands: 150 s at most, and of that nobody is called.
fn brief_test(rules: &[Value]) -> Value {
    let causes: Vec<_> = rules
        .iter()
        .filter_map(|it| it["labels"]["cause"].as_str())
        .collect();
    assert!(!causes.is_empty());
    let series = causes.iter().map(|cause| {
        let of =
            "job=\"netdiag\",instance=\"node-a\",namespace=\"shop\",workload=\"Deployment/cart\"";
        let how = "severity=\"critical\",confidence=\"confirmed\"";
        let name = format!("netdiag_finding{{{of},{how},cause=\"{cause}\"}}");
        json!({ "series": name, "values": "1x10 stale" })
    });
    let count = |state: &str| {
        let own = "cause!=\"\"";
        format!("count(ALERTS{{{own},alertstate=\"{state}\"}})")
    };
    let pending = json!({ "expr": count("pending"), "eval_time": "2m15s",
        "exp_samples": [{ "labels": "{}", "value": causes.len() }] });
    let fires = |at: &str| json!({ "expr": count("firing"), "eval_time": at, "exp_samples": [] });
    let mut tests = ["2m15s", "2m30s", "2m45s", "5m"].map(fires).to_vec();
    tests.push(pending);
    json!({ "interval": "15s", "input_series": series.collect::<Vec<_>>(),
        "promql_expr_test": tests })
}

/// Labels by which an alert is expected, its annotations not looked at where it has none to fill.
fn health_tests() -> Vec<Value> {
    let own = |series: &str, values: &str| json!({ "series": series, "values": values });
    let test = |series: Vec<Value>, alert: &str, before: &str, after: &str| {
        let silent = json!({ "expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})"),
            "eval_time": before, "exp_samples": [] });
        let fires = json!({ "expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})"),
            "eval_time": after, "exp_samples": [{ "labels": "{}", "value": 1 }] });
        json!({ "interval": "30s", "input_series": series, "promql_expr_test": [silent, fires] })
    };
    let of = "job=\"netdiag\",instance=\"node-a\"";
    let whose = "namespace=\"shop\",workload=\"Deployment/cart\"";
    let queries = |answers: &str| {
        vec![
            own(
                &format!("netdiag_dns_queries_total{{{of},{whose}}}"),
                "0+60x60",
            ),
            own(
                &format!("netdiag_dns_answers_total{{{of},{whose},code=\"{answers}\"}}"),
                if answers == "noerror" {
                    "0+50x60"
                } else {
                    "0+10x60"
                },
            ),
        ]
    };
    vec![
        test(
            vec![own(&format!("up{{{of}}}"), "0x60")],
            "NetdiagAgentDown",
            "4m",
            "6m",
        ),
        test(vec![], "NetdiagAgentsAbsent", "9m", "11m"),
        test(
            vec![own(&format!("netdiag_blind{{{of}}}"), "1x60")],
            "NetdiagBlind",
            "4m",
            "6m",
        ),
        test(
            vec![own(
                &format!("netdiag_lost_events_total{{{of},why=\"ring-full\"}}"),
                "0+60x60",
            )],
            "NetdiagLosingEvents",
            "9m",
            "15m",
        ),
        test(
            vec![own(
                &format!("netdiag_hidden_series_total{{{of},family=\"netdiag_drops\"}}"),
                "3x60",
            )],
            "NetdiagSeriesHidden",
            "9m",
            "11m",
        ),
        test(
            vec![own(
                &format!("netdiag_cpu_seconds_total{{{of},mode=\"user\"}}"),
                "0+15x60",
            )],
            "NetdiagCpuHigh",
            "14m",
            "20m",
        ),
        test(
            vec![
                own(
                    &format!("netdiag_resident_memory_bytes{{{of}}}"),
                    "420000000x60",
                ),
                own(&format!("netdiag_map_bytes{{{of}}}"), "14000000x60"),
            ],
            "NetdiagMemoryHigh",
            "14m",
            "16m",
        ),
        test(
            vec![own(
                &format!("netdiag_drops_total{{{of},{whose},reason=\"NO_SOCKET\",hop=\"pod\"}}"),
                "0+60x60",
            )],
            "NetdiagPacketsDropped",
            "14m",
            "20m",
        ),
        test(
            vec![own(
                &format!("netdiag_retransmits_total{{{of},{whose}}}"),
                "0+600x60",
            )],
            "NetdiagRetransmissions",
            "14m",
            "20m",
        ),
        test(queries("noerror"), "NetdiagDnsUnanswered", "14m", "20m"),
        test(queries("servfail"), "NetdiagDnsFailing", "14m", "20m"),
        test(
            vec![own(
                &format!(
                    "netdiag_finding{{{of},{whose},cause=\"no-route\",severity=\"warning\",confidence=\"suspected\"}}"
                ),
                "1x60",
            )],
            "NetdiagCauseSuspected",
            "14m",
            "16m",
        ),
    ]
}

/// Below each floor, and with a cause named beside the drops: not even pending.
fn quiet_tests() -> [Value; 2] {
    let of = "job=\"netdiag\",instance=\"node-a\",namespace=\"shop\",workload=\"Deployment/cart\"";
    let series = |name: &str, more: &str, values: &str| json!({ "series": format!("{name}{{{of}{more}}}"), "values": values });
    let busy = |name: &str, more: &str, values: &str| {
        let of = of.replace("cart", "busy");
        json!({ "series": format!("{name}{{{of}{more}}}"), "values": values })
    };
    let there = |name: &str, values: &str, more: &str| {
        let of = format!("job=\"netdiag\",instance=\"node-a\"{more}");
        json!({ "series": format!("{name}{{{of}}}"), "values": values })
    };
    let healthy = json!({
        "interval": "30s",
        "input_series": [
            there("up", "1x60", ""), there("netdiag_blind", "0x60", ""),
            there("netdiag_resident_memory_bytes", "40000000x60", ""), there("netdiag_map_bytes", "14000000x60", ""),
            series("netdiag_drops_total", ",reason=\"NO_SOCKET\"", "0+20x60"),
            series("netdiag_retransmits_total", "", "0+100x60"),
            // Two queries a minute, none of them answered.
            series("netdiag_dns_queries_total", "", "0+1x60"),
            // Another workload's are many, and answered.
            busy("netdiag_dns_queries_total", "", "0+60x60"),
            busy("netdiag_dns_answers_total", ",code=\"noerror\"", "0+50x60"),
            busy("netdiag_dns_answers_total", ",code=\"nxdomain\"", "0+10x60"),
            series("netdiag_finding", ",cause=\"no-route\",severity=\"info\",confidence=\"confirmed\"", "1x60"),
        ],
        "promql_expr_test": [
            { "expr": "count(ALERTS)", "eval_time": "25m", "exp_samples": [] },
        ],
    });
    // Their answers are counted in workload other.
    let hidden = json!({
        "interval": "30s",
        "input_series": [
            busy("netdiag_dns_queries_total", "", "0+60x60"),
            there("netdiag_hidden_series_total", "3x60", ",family=\"netdiag_dns_answers\""),
        ],
        "promql_expr_test": [
            { "expr": "count(ALERTS{alertname=\"NetdiagDnsUnanswered\"})", "eval_time": "25m", "exp_samples": [] },
        ],
    });
    [healthy, hidden]
}

/// With the times that are shipped.
#[test]
fn alerts_fire_when_they_should_and_not_before() {
    if need::find("promtool").is_none() {
        return need::say("promtool");
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
