//! What the verdict says to do about a full etcd is done, and etcd takes writes again.
use std::{fs, time::Duration};

use netdiag_tests::{
    need,
    netdiag::{command, command_in},
    netns::exec,
    process::{Process, run, wait_until},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A seed whose etcd talks plain HTTP and is found by its command line.
const SEED: &str = "1";

#[test]
fn the_printed_commands_bring_it_back() {
    if need::missing(&["etcd", "etcdctl", "openssl", "ip", "sh"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("netns");
    let script = format!("ip netns identify > {}; exec sleep 60", file.display());
    let lab = [
        "lab",
        "run",
        "etcd-nospace",
        "--seed",
        SEED,
        "--exec",
        "sh",
        "-c",
        &script,
    ];
    let lab = Process::start(&mut command(&lab));
    let mut netns = String::new();
    wait_until("the lab stands", Duration::from_secs(40), || {
        netns = fs::read_to_string(&file)
            .unwrap_or_default()
            .trim()
            .to_owned();
        !netns.is_empty()
    });
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
