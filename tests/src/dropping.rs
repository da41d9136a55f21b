//! A node whose firewall drops what its only pod sends to it, and counts it.
use std::{net::Ipv4Addr, process::Command};

use serde_json::Value;

use crate::netns::{exec, sh};

pub const POD: &str = "10.77.1.2";
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A node that drops what a pod sends to it.
pub struct Dropping {
    pub name: String,
    pub pod: String,
}

impl Dropping {
    /// Builds it.
    pub fn up() -> Self {
        let name = format!("nd-drops-{}", nix::unistd::gettid());
        let pod = format!("{name}-pod");
        let node = Self { name, pod };
        let (here, pod) = (node.name.as_str(), node.pod.as_str());
        sh(&["ip", "netns", "add", here]);
        sh(&["ip", "netns", "add", pod]);
        for (netns, what) in [
            (here, "link set lo up"),
            (here, "link add calif1 address 02:00:00:00:00:01 type veth"),
            (here, "link set veth0 name eth0"),
        ] {
            node.ip(netns, what);
        }
        sh(&["ip", "-n", here, "link", "set", "eth0", "netns", pod]);
        for (netns, what) in [
            (here, "link set calif1 up"),
            (here, "addr add 10.77.0.1/32 dev lo"),
            (here, "route add 10.77.1.2/32 dev calif1"),
            (pod, "link set lo up"),
            (pod, "link set eth0 up"),
            (pod, "addr add 10.77.1.2/32 dev eth0"),
            (pod, "route add 10.77.0.1 dev eth0"),
            (pod, "neigh add 10.77.0.1 lladdr 02:00:00:00:00:01 dev eth0"),
        ] {
            node.ip(netns, what);
        }
        let rules = "table inet own {
            chain in { type filter hook input priority 0; meta l4proto udp counter drop; }
        }";
        exec(here, &["nft", rules]);
        node
    }

    fn ip(&self, netns: &str, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        sh(&[&["ip", "-n", netns], &words[..]].concat());
    }

    /// What the rule has counted.
    pub fn dropped(&self) -> u64 {
        let listed = exec(&self.name, &["nft", "-j", "list", "ruleset"]);
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let rows = listed["nftables"].as_array().expect("a list");
        let expressions = rows.iter().filter_map(|row| row["rule"]["expr"].as_array());
        let counter = expressions
            .flatten()
            .find_map(|e| e["counter"]["packets"].as_u64());
        counter.expect("a counter")
    }
}

impl Drop for Dropping {
    fn drop(&mut self) {
        for netns in [&self.pod, &self.name] {
            // One that was not made is not missed.
            let _ = Command::new("ip").args(["netns", "del", netns]).output();
        }
    }
}
