//! What others take off links is attached again, and nobody takes a live netdiag for a killed one.
use std::{process::Command, time::Duration};

use netdiag_tests::{
    netdiag,
    netns::{self, sh},
    other_tc_user::{add_tcx, add_tcx_before, attached, covers, first_by_tcx, hand_over, ledgers},
    process::{PATIENCE, Process, run, wait_until},
    require,
    shell_node::{DB, ShellNode, WEB},
};

const TOOLS: [&str; 5] = ["ip", "bridge", "sysctl", "tc", "unshare"];

/// A CNI's agent replaces its qdisc on each start (clsact goes with all of its filters).
#[test]
fn a_qdisc_that_another_program_replaces() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    // So many pods' links that they have clsact.
    node.crowd();
    let left = node.netns("left");
    let process = node.trace("left");
    let is_covered = || covers(process.pid(), &left, "caliweb");
    wait_until("caliweb is covered", PATIENCE, is_covered);
    for _ in 0..2 {
        sh(&[
            "tc", "-n", &left, "qdisc", "del", "dev", "caliweb", "clsact",
        ]);
        assert!(!is_covered(), "nothing was taken away");
        wait_until("caliweb is covered again", PATIENCE, is_covered);
    }
}

/// In a container that shares the node's network and /run, its pids are not seen.
#[test]
fn a_cleanup_in_another_pid_namespace() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    node.crowd();
    let left = node.netns("left");
    let process = node.trace("left");
    let before = attached(&left);
    let mut cleanup = Command::new("ip");
    cleanup.args(["netns", "exec", &left, "unshare", "-pf", "--mount-proc"]);
    cleanup.arg(netdiag::binary()).arg("cleanup");
    let ended = run(&mut cleanup);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let after = attached(&left);
    let changed: Vec<_> = before
        .lines()
        .filter(|line| !after.contains(line))
        .collect();
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(after, before, "it was {changed:#?}, it is {new:#?}");
    assert_eq!(ledgers(process.pid()), 1);
}

/// A filter that came later at the same priority runs first: netdiag's is attached, and runs no more.
#[test]
fn a_filter_that_another_program_puts_before() {
    if require::missing(&[&TOOLS[..], &["ping"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    node.crowd();
    let left = node.netns("left");
    let traffic = pings(&node);
    let diagnosis = node.diagnose("left", "30s");
    let place = ["dev", "caliweb", "ingress"];
    let shown = || sh(&[&["tc", "-n", &left, "filter", "show"], &place[..]].concat());
    let has_ours = || shown().contains("hop_ingress");
    wait_until("caliweb is covered", PATIENCE, has_ours);
    // Every packet matches, which ends the walk.
    let all = ["bpf", "bytecode", "1,6 0 0 4294967295", "classid", "1:1"];
    let first = ["pref", "1", "protocol", "all"];
    let add = ["tc", "-n", &left, "filter", "add"];
    sh(&[&add[..], &place, &first, &all].concat());
    assert!(has_ours(), "netdiag's is still attached");
    let verdict = diagnosis.verdict();
    drop(traffic);
    let untold = verdict.document["not_checked"].as_array().expect("a list");
    let blind = untold.iter().find(|it| it["what"] == "packets on caliweb");
    let why = blind.unwrap_or_else(|| panic!("{:#}", verdict.document));
    assert!(why["why"].to_string().contains("ran for none"), "{why}");
    assert_eq!(verdict.document["verdict"], "incomplete");
    assert_eq!(verdict.code, Some(4));
}

fn pings(node: &ShellNode) -> Process {
    let mut ping = Command::new("ip");
    let web = node.netns("web");
    Process::start(ping.args(["netns", "exec", &web, "ping", "-i", "0.05", DB]))
}

/// A dataplane's programs end the walk of tcx with OK: filters of clsact's behind them never run, which many
/// pods' links have otherwise.
#[test]
fn thirty_links_that_another_program_has_by_tcx() {
    if require::missing(&[&TOOLS[..], &["ping", "python3"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    node.crowd();
    let left = node.netns("left");
    let links = netns::links(&left);
    let names = links.iter().filter_map(|l| l["ifname"].as_str());
    let all: Vec<String> = names.filter(|n| *n != "lo").map(str::to_owned).collect();
    let Some(_others) = add_tcx(&left, &all) else {
        return;
    };
    let process = node.trace("left");
    for link in &all {
        wait_until(link, Duration::from_secs(60), || {
            covers(process.pid(), &left, link)
        });
        let place = ["dev", link, "ingress"];
        let filters = sh(&[&["tc", "-n", &left, "filter", "show"], &place[..]].concat());
        assert!(!filters.contains("hop_ingress"), "{link}: {filters}");
    }
    let _traffic = pings(&node);
    let verdict = node.diagnose("left", "20s").verdict();
    let untold = verdict.document["not_checked"].to_string();
    assert!(!untold.contains("packets o"), "{untold}");
    assert_eq!(verdict.code, Some(0), "{:#}", verdict.document);
}

/// A dataplane that starts again puts its programs before those that are there.
#[test]
fn a_program_that_another_one_puts_before_by_tcx() {
    if require::missing(&[&TOOLS[..], &["ping", "python3"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let mut process = node.trace("left");
    wait_until("caliweb is covered", PATIENCE, || {
        covers(process.pid(), &left, "caliweb")
    });
    let _traffic = pings(&node);
    let Some(_others) = add_tcx_before(&left, &["caliweb".to_owned()]) else {
        return;
    };
    let line = process.line(PATIENCE);
    assert!(
        line.contains("others took netdiag's programs off caliweb, or put theirs before"),
        "{line}"
    );
    wait_until("netdiag's are first again", Duration::from_secs(60), || {
        first_by_tcx(&left, "caliweb") == "hop_ingress hop_egress"
    });
}

/// A dataplane hands answers to the pod past its link, which is no fault.
#[test]
fn what_is_handed_to_a_pod_past_its_link() {
    if require::missing(&[&TOOLS[..], &["ping", "python3"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let Some(_other) = hand_over(&left, "vxlan.calico", WEB, "caliweb") else {
        return;
    };
    let _traffic = pings(&node);
    let verdict = node.diagnose("left", "25s").verdict();
    let untold = verdict.document["not_checked"].as_array().expect("a list");
    let past = untold.iter().find(|it| it["what"] == "packets of 1 links");
    let why = past.unwrap_or_else(|| panic!("{:#}", verdict.document));
    assert!(
        why["why"].to_string().contains("bpf_redirect_peer"),
        "{why}"
    );
    assert_eq!(verdict.code, Some(0), "{:#}", verdict.document);
}
