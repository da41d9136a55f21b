//! What others take off links is attached again, and nobody takes a live netdiag for a killed one.
use std::process::Command;

use netdiag_tests::{
    netdiag,
    netns::sh,
    other_tc_user::{attached, covers, ledgers},
    process::{PATIENCE, run, wait_until},
    require,
    shell_node::ShellNode,
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
    assert_eq!(attached(&left), before);
    assert_eq!(ledgers(process.pid()), 1);
}
