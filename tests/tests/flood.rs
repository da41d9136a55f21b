//! More flows than can be kept, each dropped once: every packet counts where it died, and the cause is
//! named with all of them.
use std::{
    fs::File,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use netdiag_tests::{
    need,
    netns::{exec, sh},
    shell_node::{Diagnosis, pods},
};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

const POD: &str = "10.77.1.2";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// In all, more than twice as many as the table has rows for.
const BURSTS: u16 = 24;
const PORTS: u16 = 1500;
const PAUSE: Duration = Duration::from_millis(250);

/// A node that drops what a pod sends to it.
struct Node {
    name: String,
    pod: String,
}

impl Node {
    fn up() -> Self {
        let name = format!("nd-flood-{}", nix::unistd::gettid());
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

    /// One packet to each port; how many.
    fn flood(&self) -> u64 {
        let netns = File::open(format!("/run/netns/{}", self.pod)).expect("the pod");
        let send = move || {
            setns(netns, CloneFlags::CLONE_NEWNET).expect("inside");
            let socket = UdpSocket::bind((POD, 0)).expect("a socket");
            let sent = (0..BURSTS).map(|burst| {
                let began = Instant::now();
                let first = 1024 + burst * PORTS;
                let ports = first..first + PORTS;
                let sent = ports.filter(|port| socket.send_to(b"?", (SERVER, *port)).is_ok());
                let sent = sent.count() as u64;
                thread::sleep(PAUSE.saturating_sub(began.elapsed()));
                sent
            });
            sent.sum()
        };
        thread::spawn(send).join().expect("sent")
    }

    /// What the rule has counted.
    fn dropped(&self) -> u64 {
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

impl Drop for Node {
    fn drop(&mut self) {
        for netns in [&self.pod, &self.name] {
            // One that was not made is not missed.
            let _ = Command::new("ip").args(["netns", "del", netns]).output();
        }
    }
}

#[test]
fn a_flood_of_flows_is_counted_to_the_packet() {
    if need::missing(&["ip", "nft"]) {
        return;
    }
    let node = Node::up();
    let diagnosis = Diagnosis::named(&node.name, "14s", &[("noisy", POD)]);
    let sent = node.flood();
    let verdict = diagnosis.verdict();
    assert_eq!(node.dropped(), sent, "not all were dropped");
    let told = verdict.document["drops"].as_array().expect("a list");
    let by_netfilter = told.iter().filter(|row| row["reason"] == "NETFILTER_DROP");
    let packets: u64 = by_netfilter.filter_map(|row| row["packets"].as_u64()).sum();
    assert_eq!(packets, sent, "{:#}", verdict.document);
    let finding = verdict.only("firewall-drop");
    assert_eq!(pods(finding), ["noisy"], "{finding:#}");
    let lines = finding["evidence"].as_array().expect("a list");
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|e| e["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let lost: u64 = of("drop")
        .iter()
        .filter_map(|e| e["packets"].as_u64())
        .sum();
    assert_eq!(lost, sent, "{finding:#}");
}
