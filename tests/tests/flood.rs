//! More flows than can be kept, each dropped once: every packet counts where it died, and the cause is
//! named with all of them.
use std::{
    fs::File,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use netdiag_tests::{
    dropping::{Dropping, POD, SERVER},
    netdiag::start_in,
    require,
    shell_node::{Diagnosis, pods},
};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};
use serde_json::Value;

/// Bursts of datagrams, each to a port of its own.
#[derive(Clone, Copy)]
struct Flood {
    bursts: u16,
    ports: u16,
    pause: Duration,
}

/// In all, more than twice as many as the table has rows for.
const LONG: Flood = Flood {
    bursts: 24,
    ports: 1500,
    pause: Duration::from_millis(250),
};
/// More than may be new between two readings, for so long that the table is full and forgets.
const FAST: Flood = Flood {
    bursts: 12,
    ports: 5_000,
    pause: Duration::from_millis(1000),
};

/// One packet to each port; how many.
fn flood(node: &Dropping, how: Flood) -> u64 {
    let netns = File::open(format!("/run/netns/{}", node.pod)).expect("the pod");
    let send = move || {
        setns(netns, CloneFlags::CLONE_NEWNET).expect("inside");
        let socket = UdpSocket::bind((POD, 0)).expect("a socket");
        let sent = (0..how.bursts).map(|burst| {
            let began = Instant::now();
            let first = 1024 + burst * how.ports;
            let ports = first..first + how.ports;
            let sent = ports.filter(|port| socket.send_to(b"?", (SERVER, *port)).is_ok());
            let sent = sent.count() as u64;
            thread::sleep(how.pause.saturating_sub(began.elapsed()));
            sent
        });
        sent.sum()
    };
    thread::spawn(send).join().expect("sent")
}

#[test]
fn a_flood_of_flows_is_counted_to_the_packet() {
    if require::missing(&["ip", "nft"]) {
        return;
    }
    let node = Dropping::up();
    let diagnosis = Diagnosis::named(&node.name, "14s", &[("noisy", POD)]);
    let sent = flood(&node, LONG);
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

/// Of such a flood most flows have no row, and of some that have one the row goes again: each packet is told
/// once all the same.
#[test]
fn a_fast_flood_is_told_to_the_packet() {
    if require::missing(&["ip", "nft"]) {
        return;
    }
    let node = Dropping::up();
    let trace = start_in(&node.name, &["run", "-o", "ndjson"]);
    let sent = flood(&node, FAST);
    let ended = trace.stop(Signal::SIGINT);
    assert_eq!(node.dropped(), sent, "not all were dropped");
    let events = ended.ndjson();
    let drops = events.iter().filter(|e| e["reason"] == "NETFILTER_DROP");
    let counts = |e: &Value| e["count"].as_u64().expect("a count");
    let told: u64 = drops.clone().map(counts).sum();
    assert_eq!(told, sent);
    let nameless = drops.filter(|e| e["flow"].is_null());
    assert!(nameless.map(counts).sum::<u64>() > sent / 2, "no flood");
}
