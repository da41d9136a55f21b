//! Commands in network namespaces.
use std::{path::Path, process::Command};

use serde_json::Value;

use crate::process::run;

/// Runs a command, which must succeed, and returns what it printed.
pub fn sh(arguments: &[&str]) -> String {
    let ended = run(Command::new(arguments[0]).args(&arguments[1..]));
    assert!(ended.code == Some(0), "{arguments:?}: {ended:?}");
    ended.text()
}

/// The same inside a namespace.
pub fn exec(netns: &str, arguments: &[&str]) -> String {
    sh(&[&["ip", "netns", "exec", netns], arguments].concat())
}

pub fn exists(netns: &str) -> bool {
    Path::new("/run/netns").join(netns).exists()
}

/// `ip -j -d link` of the namespace.
pub fn links(netns: &str) -> Vec<Value> {
    let text = sh(&["ip", "-n", netns, "-j", "-d", "link"]);
    serde_json::from_str(&text).expect("ip prints JSON")
}

/// Name of the link of that kind.
pub fn link_of_kind(netns: &str, kind: &str) -> String {
    let links = links(netns);
    let is = |l: &&Value| l["linkinfo"]["info_kind"] == kind;
    let link = links.iter().find(is).expect("a link of that kind");
    link["ifname"]
        .as_str()
        .expect("links have names")
        .to_owned()
}

/// The link by which the namespace reaches `address`.
pub fn link_towards(netns: &str, address: &str) -> String {
    let text = sh(&["ip", "-n", netns, "-j", "route", "get", address]);
    let routes: Value = serde_json::from_str(&text).expect("ip prints JSON");
    routes[0]["dev"].as_str().expect("a device").to_owned()
}

/// Packets that the namespace's links have carried so far, both directions.
pub fn packets(netns: &str) -> u64 {
    let text = sh(&["ip", "-n", netns, "-j", "-s", "link"]);
    let links: Vec<Value> = serde_json::from_str(&text).expect("ip prints JSON");
    let of = |l: &Value, side: &str| l["stats64"][side]["packets"].as_u64().unwrap_or(0);
    links.iter().map(|l| of(l, "rx") + of(l, "tx")).sum()
}

/// Takes IPv6 away, and with it neighbour discovery and group reports: what remains on the
/// links is the test's own traffic.
pub fn without_ipv6(netns: &str) {
    exec(
        netns,
        &["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"],
    );
}
