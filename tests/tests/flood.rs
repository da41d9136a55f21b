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
    need,
    shell_node::{Diagnosis, pods},
};
use nix::sched::{CloneFlags, setns};

/// In all, more than twice as many as the table has rows for.
const BURSTS: u16 = 24;
const PORTS: u16 = 1500;
const PAUSE: Duration = Duration::from_millis(250);

/// One packet to each port; how many.
fn flood(node: &Dropping) -> u64 {
    let netns = File::open(format!("/run/netns/{}", node.pod)).expect("the pod");
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

#[test]
fn a_flood_of_flows_is_counted_to_the_packet() {
    if need::missing(&["ip", "nft"]) {
        return;
    }
    let node = Dropping::up();
    let diagnosis = Diagnosis::named(&node.name, "14s", &[("noisy", POD)]);
    let sent = flood(&node);
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
