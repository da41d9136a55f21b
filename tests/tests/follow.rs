//! Pods come and go while netdiag runs.

use netdiag_tests::{
    netns::{sh, without_ipv6},
    other_tc_user::covers,
    process::{PATIENCE, Process, wait_until},
    require,
    shell_node::{ShellNode, TOOLS},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A pod that starts after netdiag: its link and addresses by ip(8), as a CNI plugin does.
fn new_pod(node: &ShellNode) -> String {
    let (left, pod) = (node.netns("left"), node.netns("late"));
    sh(&["ip", "netns", "add", &pod]);
    without_ipv6(&pod);
    let link = [
        "link", "add", "calilate", "type", "veth", "peer", "name", "eth0", "netns", &pod,
    ];
    sh(&[&["ip", "-n", &left], &link[..]].concat());
    sh(&["ip", "-n", &left, "link", "set", "calilate", "up"]);
    sh(&[
        "ip",
        "-n",
        &left,
        "addr",
        "add",
        "172.20.17.1/32",
        "dev",
        "calilate",
    ]);
    sh(&[
        "ip",
        "-n",
        &left,
        "route",
        "add",
        "172.20.17.40/32",
        "dev",
        "calilate",
    ]);
    sh(&[
        "ip",
        "-n",
        &pod,
        "addr",
        "add",
        "172.20.17.40/32",
        "dev",
        "eth0",
    ]);
    sh(&["ip", "-n", &pod, "link", "set", "eth0", "up"]);
    sh(&[
        "ip",
        "-n",
        &pod,
        "route",
        "add",
        "172.20.17.1",
        "dev",
        "eth0",
    ]);
    pod
}

/// Removes it when dropped.
struct Late(String);

impl Drop for Late {
    fn drop(&mut self) {
        // Gone already where the test got that far.
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.0])
            .output();
    }
}

fn links<'a>(events: &'a [Value], change: &str) -> Vec<&'a str> {
    let of = events
        .iter()
        .filter(|e| e["type"] == "link" && e["change"] == change);
    of.filter_map(|e| e["interface"].as_str()).collect()
}

fn stop(netdiag: Process) -> Vec<Value> {
    let ended = netdiag.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{:#?}", ended.stderr);
    ended.ndjson()
}

#[test]
fn a_pod_that_starts_is_covered_and_one_that_ends_is_no_error() {
    if require::missing(&[&TOOLS[..], &["tc"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let netdiag = node.trace("left");
    let _late = Late(new_pod(&node));
    wait_until("the new pod's link is covered", PATIENCE, || {
        covers(netdiag.pid(), &left, "calilate")
    });
    let _server = node.echo("left", "172.20.17.1", "9");
    node.ask("late", "172.20.17.1", "9", "7");
    sh(&["ip", "-n", &left, "link", "del", "caliweb"]);
    let events = stop(netdiag);
    assert!(links(&events, "added").contains(&"calilate"));
    assert!(links(&events, "removed").contains(&"caliweb"));
    let last = events
        .iter()
        .rfind(|e| e["type"] == "stats")
        .expect("a last word");
    let hops = last["hops"].as_array().expect("a list");
    for direction in ["ingress", "egress"] {
        let of = |h: &&Value| h["interface"] == "calilate" && h["direction"] == direction;
        let hop = hops.iter().find(of).expect("the new pod's hop");
        assert_eq!((&hop["packets"], &hop["role"]), (&7.into(), &"pod".into()));
    }
}

/// Forty at once, as when a node is drained or a job fans out.
#[test]
fn many_links_come_and_go() {
    if require::missing(&[&TOOLS[..], &["tc"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    let (left, web) = (node.netns("left"), node.netns("web"));
    let netdiag = node.trace("left");
    let names: Vec<String> = (0..40).map(|n| format!("cali{n:03}")).collect();
    for (n, name) in names.iter().enumerate() {
        let inside = format!("x{n}");
        let link = [
            "link", "add", name, "type", "veth", "peer", "name", &inside, "netns", &web,
        ];
        sh(&[&["ip", "-n", &left], &link[..]].concat());
        sh(&["ip", "-n", &left, "link", "set", name, "up"]);
    }
    wait_until("the last one is covered", PATIENCE, || {
        covers(netdiag.pid(), &left, "cali039")
    });
    for name in &names {
        sh(&["ip", "-n", &left, "link", "del", name]);
    }
    // A name that comes back is another link.
    let link = [
        "link", "add", "cali000", "type", "veth", "peer", "name", "y0", "netns", &web,
    ];
    sh(&[&["ip", "-n", &left], &link[..]].concat());
    sh(&["ip", "-n", &left, "link", "set", "cali000", "up"]);
    wait_until("a reused name is covered", PATIENCE, || {
        covers(netdiag.pid(), &left, "cali000")
    });
    let events = stop(netdiag);
    let removed = links(&events, "removed");
    assert!(
        names.iter().all(|n| removed.contains(&n.as_str())),
        "{removed:?}"
    );
    assert!(!sh(&["tc", "-n", &left, "qdisc", "show"]).contains("clsact"));
}
