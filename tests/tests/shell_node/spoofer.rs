//! A pod that sends in another's name (CAP_NET_RAW): what happens to what it makes up is no fault of
//! the node's, and none of the other's.
use std::process::Stdio;

use netdiag_tests::{
    impostor::inside,
    process::Process,
    require,
    shell_node::{Diagnosis, Verdict},
    topology::Topology,
};

const APP: &str = "10.42.6.30";
const TOOLS: [&str; 3] = ["ip", "sysctl", "python3"];

/// Datagrams with a header of its own making, which the kernel gives its checksum (raw(7)).
const SEND: &str = r#"
import socket, struct, sys, time
source, destination = (socket.inet_aton(a) for a in sys.argv[1:3])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
payload = b"x" * 32
udp = struct.pack(">HHHH", 41000, 5000, 8 + len(payload), 0) + payload
ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, destination)
for number in range(100):
    raw.sendto(ip + udp, (sys.argv[2], 0))
    time.sleep(0.1)
"#;

/// A node whose route to another one's pods goes by somebody who is not there.
fn node() -> Topology {
    let t = Topology::new(&["node", "net", "app", "evil"], &["node"]);
    t.cable(("node", "ens5"), ("net", "port1"));
    t.ip("net", "addr add 192.0.2.1/24 dev port1");
    t.ip(
        "node",
        "addr add 192.0.2.20/24 dev ens5
         route add 10.42.9.0/24 via 192.0.2.29
         link add cni0 type bridge
         addr add 10.42.6.1/24 dev cni0
         link set cni0 up",
    );
    t.bridged_pod("node", "app", "cni0", "vetha1", APP);
    t.bridged_pod("node", "evil", "cni0", "vethe1", "10.42.6.66");
    t
}

fn judged(sender: &str) -> Verdict {
    let t = node();
    let pods = [("app-0", APP), ("evil-0", "10.42.6.66")];
    let diagnosis = Diagnosis::named(&t.netns("node"), "8s", &pods);
    let words = ["python3", "-c", SEND, APP, "10.42.9.7"];
    let _sender = Process::start(inside(&t.netns(sender), &words).stdin(Stdio::null()));
    diagnosis.verdict()
}

#[test]
fn what_is_sent_in_anothers_name_is_nobodys_fault() {
    if require::missing(&TOOLS) {
        return;
    }
    let verdict = judged("evil");
    assert_eq!(verdict.causes(), [""; 0], "{:#}", verdict.document);
    let told = verdict.document["not_checked"].to_string();
    assert!(
        told.contains("1 flow with another's source address"),
        "{told}"
    );
}

#[test]
fn the_same_packets_of_whose_address_it_is_have_a_cause() {
    if require::missing(&TOOLS) {
        return;
    }
    judged("app").root("neighbour-failed");
}
