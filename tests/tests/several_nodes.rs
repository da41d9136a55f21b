//! One command for several nodes: with agents, without, by ssh; and what it leaves behind.
#[path = "several_nodes/agents.rs"]
mod agents;
#[path = "several_nodes/ssh.rs"]
mod ssh;

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use netdiag_tests::{
    api::{
        Api, Login,
        objects::{node, pod},
    },
    lab::Lab,
    netdiag::{binary, command, sentence},
    netns::{exec, sh},
    process::{Ended, PATIENCE, Process, run, wait_until},
    require,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const TOOLS: [&str; 6] = ["ip", "nft", "nsenter", "unshare", "setpriv", "chroot"];
/// What the API calls the lab's nodes.
const NODES: [&str; 2] = ["left", "right"];

/// A cluster of the two nodes of a lab.
struct Cluster {
    api: Api,
    lab: Lab,
    kubeconfig: String,
}

impl Cluster {
    fn of(lab: Lab) -> Self {
        let api = Api::start();
        for (number, name) in NODES.iter().enumerate() {
            api.put(
                "nodes",
                node(name, &format!("192.0.2.{number}"), "10.1.0.0/16"),
            );
            api.kubelet(name, &lab.nodes[number], Some(&lab.cni_dirs[number]));
        }
        let kubeconfig = api.kubeconfig(Login::Token).display().to_string();
        Self {
            api,
            lab,
            kubeconfig,
        }
    }

    fn up(scenario: &str) -> Self {
        Self::of(Lab::up(&[scenario, "--seed", "11"]))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let usual = ["--image", "example/netdiag:1"];
        let (name, rest) = arguments.split_first().expect("a command");
        self.without_image(&[&[*name], &usual[..], rest].concat())
    }

    fn without_image(&self, arguments: &[&str]) -> Command {
        let usual = ["--kubeconfig", &self.kubeconfig];
        let (name, rest) = arguments.split_first().expect("a command");
        command(&[&["cluster", name][..], &usual, rest].concat())
    }

    fn ask(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    fn assert_left_alone(&self) {
        for resource in ["jobs", "pods"] {
            assert_eq!(self.api.names(resource), [""; 0], "{resource}");
        }
    }
}

/// Root causes.
fn roots(verdict: &Value) -> Vec<&str> {
    let findings = verdict["findings"].as_array().expect("a list");
    let roots = findings.iter().filter(|it| it["consequence_of"].is_null());
    roots
        .map(|it| it["cause"].as_str().expect("a cause"))
        .collect()
}

/// Nodes that the verdict is of.
fn nodes(verdict: &Value) -> Vec<&str> {
    let nodes = verdict["nodes"].as_array().expect("a list");
    nodes
        .iter()
        .map(|it| it["node"].as_str().expect("a name"))
        .collect()
}

/// Why that was not checked.
fn why<'a>(verdict: &'a Value, what: &str) -> &'a str {
    let rows = verdict["not_checked"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["what"] == what);
    row.unwrap_or_else(|| panic!("{what}: {verdict:#}"))["why"]
        .as_str()
        .expect("a sentence")
}

#[test]
fn both_ends_of_a_tunnel_are_one_incident() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("vxlan-source-mismatch");
    let _traffic = cluster.lab.traffic();
    let ended = cluster.ask(&[
        "diagnose",
        "--nodes",
        "left,right",
        "--duration",
        "8s",
        "-o",
        "json",
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let verdict = ended.json();
    assert_eq!(roots(&verdict), ["vxlan-source-mismatch"], "{verdict:#}");
    assert_eq!(nodes(&verdict), NODES);
    // By the node's own files, in the pod's mounts.
    let pods = verdict["findings"][0]["pods"].as_array();
    assert!(pods.is_some_and(|all| !all.is_empty()), "{verdict:#}");
    cluster.assert_left_alone();
}

/// The address of a pod of the lab.
fn address(netns: &str) -> String {
    let shown = sh(&["ip", "-n", netns, "-4", "-o", "addr", "show", "eth0"]);
    let prefix = shown.split_whitespace().nth(3).expect("an address");
    prefix.split('/').next().expect("an address").to_owned()
}

#[test]
fn a_way_leads_over_the_nodes_of_its_ends() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    // Two of each node.
    let ends = [&cluster.lab.pods[0], &cluster.lab.pods[2]];
    for ((name, netns), node) in ends.iter().zip(NODES) {
        let (namespace, name) = name.split_once('/').expect("two names");
        let addresses = [address(netns)];
        let known = pod(namespace, name, node, &[&addresses[0]]);
        cluster.api.put("pods", known);
    }
    let traffic = cluster.lab.traffic();
    let destination = format!("{}:8080", ends[1].0);
    let ended = cluster.ask(&[
        "path",
        &ends[0].0,
        &destination,
        "--duration",
        "6s",
        "-o",
        "json",
    ]);
    drop(traffic);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ways = ended.json();
    let steps = ways.as_array().expect("one of each node").iter();
    let nodes: Vec<_> = steps
        .map(|it| it["node"].as_str().expect("a name"))
        .collect();
    assert_eq!(nodes, NODES, "the node where it begins first");
    assert_eq!(cluster.api.names("jobs"), [""; 0]);
    // One end is enough to know where to ask; a node that gives nothing is told.
    let pod = format!("pod/{}", ends[0].0);
    let service = format!("svc/{}:8080", ends[1].0.replace('/', "/no-"));
    let ways = ["path", &pod, &service, "--duration", "1s", "-o", "json"];
    let ended = cluster.ask(&ways);
    assert_eq!(
        ended.code,
        Some(2),
        "no recording knows that Service: {ended:?}"
    );
    let nobody = cluster.ask(&["path", "nowhere/one", "nowhere/two"]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    assert!(
        sentence(&nobody).contains("neither end is a pod"),
        "{nobody:?}"
    );
}

#[test]
fn a_drop_on_the_far_node_is_seen_from_both_ends() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    let traffic = cluster.lab.traffic();
    let rule = "table inet t { chain c { type filter hook forward priority -5; meta l4proto tcp \
                iifname flannel.1 drop; }; }";
    let rule = rule.replace("flannel.1", &tunnel(&cluster.lab.nodes[1]));
    exec(&cluster.lab.nodes[1], &["nft", &rule]);
    let ended = cluster.ask(&[
        "diagnose",
        "--nodes",
        "left",
        "--nodes",
        "right",
        "--duration",
        "8s",
        "-o",
        "json",
    ]);
    drop(traffic);
    let verdict = ended.json();
    assert_eq!(roots(&verdict), ["firewall-drop"], "{verdict:#}");
    let lost = verdict["between"].as_array().expect("a list").iter();
    let dropped = lost
        .filter(|it| it["to"] == "right")
        .flat_map(|it| it["dropped"].as_array());
    assert!(dropped.flatten().count() > 0, "{verdict:#}");
    cluster.assert_left_alone();
}

/// The link of the node's tunnel.
fn tunnel(netns: &str) -> String {
    let links = sh(&["ip", "-n", netns, "-o", "link", "show", "type", "vxlan"]);
    let name = links.split(": ").nth(1).expect("a tunnel");
    name.split('@').next().expect("a name").to_owned()
}

#[test]
fn nothing_is_left_behind() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().display().to_string();
    let watch = [
        "diagnose",
        "--all-nodes",
        "--duration",
        "60s",
        "--start-within",
        "8s",
        "--record",
        &kept,
        "-o",
        "json",
    ];
    // A recording begins with the node, which has more bytes than that, and its first reading.
    let recorded = |node: &&str| {
        let file = folder.path().join(format!("{node}.ndr"));
        file.metadata().is_ok_and(|it| it.len() > 2048)
    };
    let running = |cluster: &Cluster| {
        for node in NODES {
            let _ = fs::remove_file(folder.path().join(format!("{node}.ndr")));
        }
        let ran = Process::start(&mut cluster.command(&watch));
        wait_until("both nodes are recorded", PATIENCE, || {
            NODES.iter().all(recorded)
        });
        ran
    };
    // Ctrl-C: what was seen until then is told.
    let ended = running(&cluster).stop(Signal::SIGINT);
    let verdict = ended.json();
    assert_eq!(nodes(&verdict), NODES);
    assert_eq!(
        why(&verdict, "the rest of node left"),
        "it was ended by a signal"
    );
    cluster.assert_left_alone();
    // A node that falls silent: the others count, and its pod is taken away by force.
    let ran = running(&cluster);
    cluster.api.silence("right");
    // What was on its way comes, and no more of it, while the other node goes on.
    let length = |node: &str| {
        let file = folder.path().join(format!("{node}.ndr"));
        file.metadata().expect("a recording").len()
    };
    let goes_on = || {
        let before = length("left");
        wait_until("the other node says more", PATIENCE, || {
            length("left") > before
        });
    };
    goes_on();
    let last = length("right");
    goes_on();
    assert_eq!(length("right"), last, "it is silent");
    // What it has said until then counts, and that it says no more is told.
    let ended = ran.stop(Signal::SIGINT);
    let verdict = ended.json();
    assert_eq!(
        why(&verdict, "the rest of node right"),
        "it was ended by a signal"
    );
    cluster.assert_left_alone();
    // One that is silent from the start.
    let short = [
        "diagnose",
        "--all-nodes",
        "--duration",
        "3s",
        "--start-within",
        "4s",
        "-o",
        "json",
    ];
    let ended = cluster.ask(&short);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let verdict = ended.json();
    assert!(
        why(&verdict, "node right").contains("did not run within 4 s"),
        "{verdict:#}"
    );
    cluster.assert_left_alone();
}

#[test]
fn a_killed_client_leaves_nothing_for_long() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    let ask = [
        "diagnose",
        "--nodes",
        "left",
        "--duration",
        "4s",
        "--start-within",
        "5s",
    ];
    let ran = Process::start(&mut cluster.command(&ask));
    wait_until("its pod runs", PATIENCE, || {
        cluster.api.names("pods").len() == 1
    });
    ran.stop(Signal::SIGKILL);
    wait_until("the cluster has taken all of it away", PATIENCE, || {
        cluster.api.names("pods").is_empty() && cluster.api.names("jobs").is_empty()
    });
}

#[test]
fn a_pod_that_comes_late_is_taken_away_too() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    cluster.api.make_late(Duration::from_secs(3));
    let ended = cluster.ask(&["diagnose", "--nodes", "left", "--duration", "2s"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        sentence(&ended).contains("does not say whether a pod comes to left"),
        "{ended:?}"
    );
    assert_eq!(cluster.api.count("create jobs"), 1);
    assert_eq!(cluster.api.count("delete jobs"), 1, "it had come");
    cluster.assert_left_alone();
}

#[test]
fn who_may_not_is_told_so() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("healthy");
    let ended = cluster.ask(&["diagnose"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(sentence(&ended).contains("which nodes?"), "{ended:?}");
    let ended = cluster.ask(&["diagnose", "--nodes", "left,nobody"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        sentence(&ended).contains("the cluster has no node 'nobody'"),
        "{ended:?}"
    );
    for wrong in [
        &["diagnose", "--all-nodes", "--most", "1"][..],
        &["diagnose", "--nodes", "left", "--", "--no-such-option"],
        &["diagnose", "--nodes", "left", "--", "--record", "x"],
        &[
            "snapshot",
            "--nodes",
            "left",
            "--since",
            "1m",
            "--duration",
            "1s",
        ],
    ] {
        let ended = cluster.ask(wrong);
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
    // An API that is silent is waited for, and no longer.
    cluster.api.delay("nodes", Duration::from_secs(40));
    let ended = cluster.ask(&["diagnose", "--nodes", "left"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        sentence(&ended).contains("no answer within 20 s"),
        "{ended:?}"
    );
    cluster.api.delay("nodes", Duration::ZERO);
    assert_eq!(cluster.api.count("create jobs"), 0);
    for resource in ["jobs", "pods/exec"] {
        cluster.api.forbid(resource);
        let ended = cluster.ask(&["diagnose", "--nodes", "left", "--duration", "2s"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            sentence(&ended).contains(&format!("{resource} is forbidden")),
            "{ended:?}"
        );
        cluster.api.allow(resource);
        cluster.assert_left_alone();
    }
    // By kubectl's name for it, which has no other commands.
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-netdiag");
    symlink(binary(), &plugin).expect("linked");
    let told = run(Command::new(&plugin).arg("--help"));
    assert!(
        told.text()
            .contains("Usage: kubectl netdiag [OPTIONS] <COMMAND>"),
        "{told:?}"
    );
    assert_eq!(run(Command::new(&plugin).arg("audit")).code, Some(2));
}
