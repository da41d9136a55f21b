//! What the verdict says to do about a full etcd is done, and etcd takes writes again.

use netdiag_tests::{
    lab,
    netdiag::command_in,
    netns::exec,
    process::{PATIENCE, run},
    require,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A seed whose etcd talks plain HTTP and is found by its command line.
const SEED: &str = "1";

#[test]
fn the_printed_commands_bring_it_back() {
    if require::missing(&["etcd", "etcdctl", "openssl", "ip", "sh"]) {
        return;
    }
    let arguments = ["etcd-nospace", "--seed", SEED];
    let (lab, netns) = lab::running(&arguments, PATIENCE);
    let before = finding(&netns).expect("etcd is full");
    assert_eq!(before["severity"], "critical", "{before:#}");
    let commands = before["fix"]["commands"].as_array().expect("a list");
    let commands = commands
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>();
    for line in &commands {
        exec(&netns, &["sh", "-c", line]);
    }
    assert_eq!(finding(&netns), None);
    let etcdctl = commands[0].split(" compact").next().expect("etcdctl");
    exec(&netns, &["sh", "-c", &format!("{etcdctl} put key value")]);
    lab.stop(Signal::SIGTERM);
}

/// What a node's `netdiag diagnose` says of its etcd.
fn finding(netns: &str) -> Option<Value> {
    let arguments = [
        "diagnose",
        "--duration",
        "3s",
        "-o",
        "json",
        "--pods",
        "none",
    ];
    let verdict = run(&mut command_in(netns, &arguments)).json();
    let findings = verdict["findings"].as_array().expect("a list");
    let ours = findings.iter().find(|f| f["cause"] == "etcd-nospace");
    ours.cloned()
}
