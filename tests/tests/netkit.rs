//! Pods on netkit (Linux 6.7), whose programs run where a packet is sent: netdiag's hooks on the node's link
//! must see it all the same. Under a kernel that has it: `cargo xtask vm 6.12 --test netkit`.
use std::{fs::File, net::UdpSocket, process::Command, thread, time::Duration};

use netdiag_tests::{
    netdiag::start_in,
    netns::sh,
    process::{PATIENCE, run},
    require,
};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

const NODE: &str = "netdiag-netkit-node";
const POD: &str = "netdiag-netkit-pod";
const SERVER: &str = "10.66.0.1";
const CLIENT: &str = "10.66.1.5";

const PORT: u16 = 7007;
/// Datagrams from the pod, and the time between two: longer than both runs take.
const COUNT: usize = 2500;
const PAUSE: Duration = Duration::from_millis(20);

struct Node;

/// A socket of that namespace.
fn socket(netns: &'static str, address: &'static str, port: u16) -> UdpSocket {
    let inside = move || {
        let space = File::open(format!("/run/netns/{netns}")).expect("a namespace");
        setns(&space, CloneFlags::CLONE_NEWNET).expect("inside");
        UdpSocket::bind((address, port)).expect("a socket")
    };
    thread::spawn(inside).join().expect("a socket")
}

/// Who asks and who answers, as long as the test lives.
fn talk() {
    let (server, client) = (socket(NODE, SERVER, PORT), socket(POD, CLIENT, 0));
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = server.recv_from(&mut bytes) {
            let _ = server.send_to(&bytes[..length], from);
        }
    });
    client.set_read_timeout(Some(PAUSE)).expect("a limit");
    thread::spawn(move || {
        let mut bytes = [0; 64];
        for _ in 0..COUNT {
            let _ = client.send_to(b"?", (SERVER, PORT));
            thread::sleep(PAUSE);
            let _ = client.recv_from(&mut bytes);
        }
    });
}

impl Node {
    /// Nothing where this kernel has no netkit.
    fn up() -> Option<Self> {
        for netns in [NODE, POD] {
            sh(&["ip", "netns", "add", netns]);
            sh(&["ip", "-n", netns, "link", "set", "lo", "up"]);
        }
        let node = Self;
        let mut pair = Command::new("ip");
        pair.args(["-n", NODE, "link", "add", "pod0", "type", "netkit"]);
        if run(&mut pair).code != Some(0) {
            require::say("the kernel's netkit");
            return None;
        }
        // Without a name the kernel calls the other end so.
        let there = ["link", "set", "nk0", "netns", POD, "name", "eth0"];
        sh(&[&["ip", "-n", NODE], &there[..]].concat());
        for (netns, words) in [
            (NODE, "link set pod0 up"),
            (POD, "link set eth0 up"),
            (NODE, &*format!("addr add {SERVER}/32 dev lo")),
            (NODE, &*format!("route add {CLIENT}/32 dev pod0")),
            (POD, &*format!("addr add {CLIENT}/32 dev eth0")),
            (POD, "route add default dev eth0"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            sh(&[&["ip", "-n", netns], &words[..]].concat());
        }
        Some(node)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for netns in [POD, NODE] {
            sh(&["ip", "netns", "del", netns]);
        }
    }
}

#[test]
fn a_pods_netkit_is_seen() {
    if require::missing(&["ip"]) {
        return;
    }
    let Some(_node) = Node::up() else {
        return;
    };
    talk();
    let watched = ["path", CLIENT, SERVER, "-o", "json", "--duration", "8s"];
    let path = start_in(NODE, &watched).end(PATIENCE * 3);
    let document = path.json();
    let steps = document["request"]["steps"]
        .as_array()
        .into_iter()
        .flatten();
    let packets = |step: &Value| step["packets"].as_u64();
    let own = steps
        .filter(|s| s["interface"] == "pod0")
        .filter_map(packets);
    assert!(own.max() > Some(20), "{document:#}");
    let diagnosis = ["diagnose", "-o", "json", "--duration", "20s"];
    let verdict = start_in(NODE, &diagnosis).end(PATIENCE * 3);
    let document = verdict.json();
    let untold = document["not_checked"].to_string();
    assert!(!untold.contains("packets o"), "{untold}");
    assert_eq!(verdict.code, Some(0), "{document:#}");
}
