//! The binary under test.
use std::{env, path::PathBuf, process::Command};

use crate::process::{Ended, PATIENCE, Process, run};

/// The line by which netdiag says that every hook is in place, where NETDIAG_READY is set.
const READY: &str = "netdiag: ready";

/// NETDIAG_BIN, or the workspace's newest build.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("NETDIAG_BIN") {
        return path.into();
    }
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.into(), PathBuf::from);
    let built = ["release", "debug"].map(|profile| target.join(profile).join("netdiag"));
    let age = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    let newest = built.into_iter().filter(|p| p.is_file()).max_by_key(age);
    newest.expect("netdiag is built: `cargo build`, or NETDIAG_BIN names one")
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    surroundings(&mut command);
    command
}

/// `netdiag ARGUMENTS` inside a named network namespace, entered as people do it.
pub fn command_in(netns: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]);
    command.arg(binary()).args(arguments);
    surroundings(&mut command);
    command
}

/// The caller's own environment says nothing about the test's node.
fn surroundings(command: &mut Command) {
    for variable in [
        "NODE_NAME",
        "NETDIAG_LOG",
        "RUST_BACKTRACE",
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "LC_ALL",
    ] {
        command.env_remove(variable);
    }
    // Nor does its language: snapshots are English.
    command.env("LC_MESSAGES", "C");
    command.env("NETDIAG_READY", "1");
}

/// Runs `netdiag ARGUMENTS` to its end.
pub fn netdiag(arguments: &[&str]) -> Ended {
    run(&mut command(arguments))
}

/// Starts it in a namespace and waits until its hooks are in place.
pub fn start_in(netns: &str, arguments: &[&str]) -> Process {
    let mut process = Process::start(&mut command_in(netns, arguments));
    process.wait_for(READY, PATIENCE);
    process
}

/// The one sentence that netdiag said on stderr; more than one line is no sentence.
pub fn sentence(ended: &Ended) -> &str {
    match ended.stderr.as_slice() {
        [line] => line,
        lines => panic!("not one sentence: {lines:#?}"),
    }
}
