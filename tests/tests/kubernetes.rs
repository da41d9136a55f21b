//! What a cluster's API adds to a trace: names, owners, Services; and what it costs.
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use netdiag_tests::{
    api::{
        Api, Login,
        objects::{node, pod, service, slice},
    },
    lab,
    netdiag::{command, command_in, netdiag, sentence, start_in},
    netns::exec,
    process::{PATIENCE, run},
    require,
    shell_node::{CRON, DB, ShellNode, TOOLS, WEB, pods},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The shell node's pods and a Service, as its API would have them.
fn billing(netns: &str) -> Api {
    let api = Api::start_in(netns);
    api.put("nodes", node("left", "10.77.3.11", "172.20.17.0/24"));
    api.put("nodes", node("right", "10.77.3.12", "172.20.88.0/24"));
    api.put("pods", pod("billing", "web-0", "left", &[WEB]));
    api.put("pods", pod("billing", "cron-28", "left", &[CRON]));
    api.put("services", service("billing", "db", "10.96.0.53", 3306));
    let backends = [(DB, "db-0", "right", true)];
    api.put("endpointslices", slice("billing", "db", 8080, &backends));
    api
}

fn path_of(api: &Api) -> String {
    api.kubeconfig(Login::Token).display().to_string()
}

/// By the API alone, at the node of that name.
fn by_api<'a>(config: &'a str, node: &'a str) -> [&'a str; 6] {
    let pods = ["--pods", "kubernetes", "--kubeconfig", config];
    [pods[0], pods[1], pods[2], pods[3], "--node-name", node]
}

#[test]
fn an_api_that_was_asked_for_and_is_not_there_ends_it() {
    let ended = netdiag(&["audit", "--pods", "kubernetes"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(sentence(&ended).contains("no Kubernetes API was given or found"));
    let ended = netdiag(&["audit", "--kubeconfig", "/no/such/file"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(sentence(&ended).contains("--kubeconfig /no/such/file"));
}

#[test]
fn an_api_whose_certificate_is_not_looked_at_is_told() {
    let api = Api::start();
    let config = api.kubeconfig(Login::Unverified).display().to_string();
    let ended = netdiag(&["audit", "-o", "json", "--kubeconfig", &config]);
    let verdict = ended.json();
    let rows = verdict["not_checked"].as_array().expect("rows");
    let told = |row: &&Value| row["why"] == "the kubeconfig has insecure-skip-tls-verify";
    assert!(rows.iter().any(|row| told(&row)), "{verdict:#}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("insecure-skip-tls-verify"), "{said}");
}

#[test]
fn a_kubeconfig_that_others_may_write_is_refused() {
    let api = Api::start();
    let config = api.kubeconfig(Login::Token);
    let all = fs::Permissions::from_mode(0o666);
    fs::set_permissions(&config, all).expect("set");
    let ended = netdiag(&["audit", "--kubeconfig", &config.display().to_string()]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = sentence(&ended);
    assert!(
        said.contains("can be written by others than its owner (chmod go-w)"),
        "{said}"
    );
}

#[test]
fn a_script_lets_in_no_program_by_sudo() {
    let api = Api::start();
    let config = path_of(&api);
    let asked = ["audit", "--allow-exec-plugin", "--kubeconfig", &config];
    let ended = run(command(&asked).env("SUDO_UID", "1000"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = sentence(&ended);
    assert!(
        said.contains("--allow-exec-plugin is refused by sudo without a terminal"),
        "{said}"
    );
    let ended = run(command(&asked).env_remove("SUDO_UID"));
    assert_ne!(ended.code, Some(3), "{ended:?}");
}

#[test]
fn a_stranger_is_told_so() {
    let api = Api::start();
    let config = api.kubeconfig(Login::Stranger).display().to_string();
    let named = ["audit", "--pods", "kubernetes", "--kubeconfig", &config];
    let ended = netdiag(&named);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let told = sentence(&ended);
    assert!(
        told.contains("the token or certificate is not valid"),
        "{told}"
    );
}

#[test]
fn doctor_tells_what_is_allowed() {
    let api = Api::start();
    api.put("nodes", node("left", "192.0.2.10", "172.20.17.0/24"));
    api.forbid("endpointslices");
    let config = path_of(&api);
    let ask = [
        "doctor",
        "-o",
        "json",
        "--kubeconfig",
        &config,
        "--node-name",
        "left",
    ];
    let row = || {
        let rows = run(&mut command(&ask)).json();
        let rows = rows
            .as_array()
            .or_else(|| rows["features"].as_array())
            .cloned();
        let mut rows = rows.expect("a list").into_iter();
        rows.find(|r| r["name"] == "Kubernetes API").expect("a row")
    };
    let refused = row();
    assert_eq!(refused["available"], false, "{refused:#}");
    let detail = refused["detail"].as_str().expect("a sentence");
    assert!(
        detail.contains("watch of endpointslices.discovery.k8s.io"),
        "{detail}"
    );
    api.allow("endpointslices");
    assert_eq!(row()["available"], true);
}

#[test]
fn an_incident_names_the_pods_that_the_api_knows() {
    if require::missing(&[&TOOLS[..], &["nft"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[("TUNNEL_MTU", "1450")]);
    node.lose_fragments();
    let api = billing(&node.netns("left"));
    let config = path_of(&api);
    let diagnosis = node.diagnose_by("left", "8s", &by_api(&config, "left"));
    let _server = node.serve("db", DB, "8080");
    let _down = node.client("web", "pull", DB, "8080", "300000");
    let _up = node.client("web", "push", DB, "8080", "300000");
    let verdict = diagnosis.verdict();
    let finding = verdict.only("vxlan-mtu-too-large");
    assert_eq!(pods(finding), ["db-0", "web-0"]);
    let web = finding["pods"].as_array().expect("a list");
    let web = web
        .iter()
        .find(|p| p["name"] == "web-0")
        .expect("just seen");
    assert_eq!(web["owner"]["kind"], "Deployment", "{web:#}");
    assert_eq!(web["uid"], "uid-billing-web-0");
    let source = &verdict.document["pod_sources"][0];
    assert_eq!(
        (&source["source"], &source["pods"]),
        (&"kubernetes".into(), &3.into())
    );
}

#[test]
fn a_service_is_an_end_of_a_path_by_its_name() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let api = billing(&left);
    let config = path_of(&api);
    let ask = [
        "path",
        "billing/web-0",
        "billing/db",
        "-o",
        "json",
        "--duration",
        "1s",
        "--kubeconfig",
        &config,
        "--node-name",
        "left",
    ];
    let ended = run(&mut command_in(&left, &ask));
    assert_eq!(ended.code, Some(4), "there is no traffic: {ended:?}");
    let to = &ended.json()["destination"];
    assert_eq!(to["service"], "billing/db:main", "{to:#}");
    assert_eq!(
        (&to["addresses"][0], &to["port"]),
        (&"10.96.0.53".into(), &3306.into())
    );
}

#[test]
fn names_that_would_move_a_terminal_are_harmless() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[("TUNNEL_MTU", "1450")]);
    let left = node.netns("left");
    let api = billing(&left);
    api.delete("pods", "billing/web-0");
    let mut evil = pod("billing", "web-0", "left", &[WEB]);
    evil["metadata"]["name"] = "web\u{1b}[2J\n-0".into();
    evil["metadata"]["labels"]["a\u{1b}]0;x\u{7}"] = "\u{9b}31m".into();
    api.put("pods", evil);
    let config = path_of(&api);
    let drop =
        "table inet t { chain c { type filter hook forward priority 0; tcp dport 8080 drop; }; }";
    exec(&left, &["nft", drop]);
    let ask = ["diagnose", "-o", "wide", "--duration", "6s"];
    let process = start_in(&left, &[&ask[..], &by_api(&config, "left")].concat());
    let _client = node.client("web", "pull", DB, "8080", "200");
    let text = process.end(PATIENCE).text();
    assert!(
        text.contains("web") && text.contains("firewall-drop"),
        "{text}"
    );
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{7}']), "{text:?}");
}

const NODES: usize = 100;
const PODS: usize = 5_000;
const SERVICES: usize = 1_000;
/// What the names of such a cluster may take beside the rest, in kB. Most of it is what a list or
/// a watch takes while it is read.
const MOST: u64 = 60 * 1024;

/// 50 pods on each node; every Service has five pods, each of another node.
fn large(netns: &str) -> Api {
    let api = Api::start_in(netns);
    let address = |n: usize| format!("10.{}.{}.{}", 100 + n / 65_536, n / 256 % 256, n % 256);
    let name = |n: usize| format!("app{}-{}", n % SERVICES, n / SERVICES);
    let host = |n: usize| {
        if n.is_multiple_of(NODES) {
            "left".to_owned()
        } else {
            format!("node-{}", n % NODES)
        }
    };
    let nodes =
        (0..NODES).map(|n| node(&host(n), &format!("192.0.2.{n}"), &format!("10.{n}.0.0/24")));
    api.put_all("nodes", nodes);
    let all = (0..PODS).map(|n| pod("big", &name(n), &host(n / 10 + n % 10), &[&address(n)]));
    api.put_all("pods", all);
    let all = (0..SERVICES).map(|n| {
        let own = format!("10.96.{}.{}", n / 250, n % 250 + 1);
        service("big", &format!("app{n}"), &own, 80)
    });
    api.put_all("services", all);
    let all = (0..SERVICES).map(|n| {
        let own: Vec<_> = (0..PODS / SERVICES).map(|k| n + k * SERVICES).collect();
        let own: Vec<_> = own
            .iter()
            .map(|n| (address(*n), name(*n), host(n / 10 + n % 10)))
            .collect();
        let own: Vec<_> = own
            .iter()
            .map(|(a, p, h)| (a.as_str(), p.as_str(), h.as_str(), true))
            .collect();
        slice("big", &format!("app{n}"), 8080, &own)
    });
    api.put_all("endpointslices", all);
    api
}

/// The most memory that a run of some seconds took, in kB, and its verdict.
fn peak(netns: &str, by: &[&str]) -> (u64, Value) {
    let usual = ["diagnose", "-o", "json", "--duration", "8s"];
    let process = start_in(netns, &[&usual, by].concat());
    // `ip netns exec` becomes netdiag.
    let status = format!("/proc/{}/status", process.pid());
    let mut most = 0;
    for _ in 0..70 {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let number = line.and_then(|l| l.trim().split(' ').next()?.parse().ok());
        most = most.max(number.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(100));
    }
    (most, process.end(PATIENCE).json())
}

#[test]
fn a_large_cluster_takes_little_memory() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let (without, _) = peak(&left, &["--pods", "none"]);
    let api = large(&left);
    let config = path_of(&api);
    let (with, verdict) = peak(&left, &by_api(&config, "left"));
    eprintln!("{PODS} pods, {SERVICES} Services: {with} kB, without {without} kB");
    let source = &verdict["pod_sources"][0];
    assert_eq!(source["pods"], PODS, "{:#}", verdict["not_checked"]);
    assert!(
        without > 0 && with.saturating_sub(without) < MOST,
        "{with} kB, without {without} kB"
    );
}

/// A scenario's only finding.
fn finding_of(verdict: &Value, cause: &str) -> Value {
    let findings = verdict["findings"].as_array().expect("a list");
    let is = |f: &&Value| f["cause"] == cause;
    findings
        .iter()
        .find(is)
        .unwrap_or_else(|| panic!("no {cause}: {verdict:#}"))
        .clone()
}

fn full_names(finding: &Value) -> Vec<String> {
    let pods = finding["pods"].as_array().expect("a list").iter();
    let mut names: Vec<_> = pods
        .map(|p| format!("{}/{}", p["namespace"], p["name"]))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What an API would say of the pods that a finding names by the CNI's cache; those of other nodes
/// back a Service.
fn put_pods(api: &Api, finding: &Value) {
    let text = |pod: &Value, field: &str| pod[field].as_str().unwrap_or_default().to_owned();
    let all = finding["pods"].as_array().expect("a list").iter();
    for p in all.filter(|p| !p["name"].is_null()) {
        let (namespace, name, ip) = (text(p, "namespace"), text(p, "name"), text(p, "ip"));
        match p["interface"].is_null() {
            true => {
                let backends = [(ip.as_str(), name.as_str(), "elsewhere", true)];
                api.put("endpointslices", slice(&namespace, &name, 80, &backends));
            }
            false => api.put("pods", pod(&namespace, &name, "here", &[&ip])),
        }
    }
}

/// The same incident in the lab, named by the CNI's cache and by the API alone.
fn twice(scenario: &str, prepare: impl Fn(&Api, &Value)) -> (Value, Value) {
    const SEED: &str = "1";
    let ended = netdiag(&["lab", "run", scenario, "--seed", SEED, "-o", "json"]);
    let by_cni = finding_of(&ended.json(), scenario);
    let arguments = [scenario, "--seed", SEED];
    let (lab, netns) = lab::running(&arguments, PATIENCE);
    let api = Api::start_in(&netns);
    put_pods(&api, &by_cni);
    prepare(&api, &by_cni);
    let config = path_of(&api);
    let ask = ["diagnose", "-o", "json", "--duration", "12s"];
    let ask = [&ask[..], &by_api(&config, "here")].concat();
    let verdict = run(&mut command_in(&netns, &ask)).json();
    lab.stop(Signal::SIGTERM);
    (by_cni, finding_of(&verdict, scenario))
}

#[test]
fn the_api_alone_names_a_mismatch_as_the_cni_does() {
    if require::missing(&["ip", "sh"]) {
        return;
    }
    let (by_cni, by_api) = twice("vxlan-source-mismatch", |_, _| {});
    assert_eq!(full_names(&by_cni), full_names(&by_api), "{by_api:#}");
    assert_eq!(by_cni["summary"], by_api["summary"]);
}

#[test]
fn the_api_tells_which_service_has_no_endpoints() {
    if require::missing(&["ip", "sh", "nft", "iptables"]) {
        return;
    }
    let (by_cni, by_api) = twice("service-no-endpoints", |api, finding| {
        let to = finding["flows"][0]["destination"]
            .as_str()
            .expect("an address");
        let (address, port) = to.rsplit_once(':').expect("a port");
        let port = port.parse().expect("a number");
        api.put("services", service("shop", "lonely", address, port));
    });
    assert_eq!(full_names(&by_cni), full_names(&by_api), "{by_api:#}");
    let lines = by_api["evidence"].as_array().expect("a list");
    let line = lines
        .iter()
        .find(|e| e["kind"] == "api")
        .expect("the API's word");
    let text = line["text"].as_str().expect("a sentence");
    assert!(text.contains("no endpoints for shop/lonely"), "{text}");
}
