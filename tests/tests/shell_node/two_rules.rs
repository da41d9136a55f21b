//! A macvlan pod that reaches the cluster through its node and is answered past it, so that the
//! node takes its packets for invalid (spidernet-io/cni-plugins issue 177), on a node whose own
//! firewall rejects another pod's mail (k3s-io/k3s issue 977).
use netdiag_tests::{
    require,
    shell_node::{Diagnosis, Verdict, pods, repair},
    topology::Topology,
    traffic::{arrives, client, serve},
};
use serde_json::Value;

const CAM: &str = "10.6.212.207";
const MAIL: &str = "10.42.3.25";
const SHOP: &str = "10.42.3.26";
const FAR: &str = "10.233.105.186";
const RELAY: &str = "10.6.100.53";
const TOOLS: [&str; 4] = ["ip", "sysctl", "python3", "nft"];

/// `cam` has a macvlan link to the LAN and a veth, by which it reaches the cluster's pods.
fn node(rules: &str, symmetric: bool) -> Topology {
    let t = Topology::new(
        &["node", "lan", "worker", "far", "cam", "mail", "shop"],
        &["node", "worker"],
    );
    t.ip("lan", "link add sw type bridge");
    t.ip(
        "lan",
        "addr add 10.6.100.53/16 dev sw
         link set sw up
         route add 10.42.3.0/24 via 10.6.1.10",
    );
    t.cable(("node", "ens160"), ("lan", "port1"));
    t.cable(("worker", "ens160"), ("lan", "port2"));
    t.ip("lan", "link set port1 master sw");
    t.ip("lan", "link set port2 master sw");
    t.ip(
        "node",
        "addr add 10.6.1.10/16 dev ens160
         route add 10.233.105.0/24 via 10.6.1.11
         link add cni0 type bridge
         addr add 10.42.3.1/24 dev cni0
         link set cni0 up",
    );
    t.ip(
        "worker",
        "addr add 10.6.1.11/16 dev ens160
         route add 10.42.3.0/24 via 10.6.1.10",
    );
    t.routed_pod("worker", "far", "calid6c77", FAR);
    t.bridged_pod("node", "mail", "cni0", "vethm1", MAIL);
    t.bridged_pod("node", "shop", "cni0", "veths2", SHOP);
    let cam = t.netns("cam");
    t.ip(
        "node",
        &format!("link add link ens160 name mv0 netns {cam} type macvlan mode bridge"),
    );
    t.cable(("node", "vethc3"), ("cam", "veth0"));
    t.ip(
        "cam",
        "link set mv0 name eth0
         addr add 10.6.212.207/16 dev eth0
         link set eth0 up
         route add 10.6.1.10 dev veth0 src 10.6.212.207
         route add 10.233.0.0/16 via 10.6.1.10 dev veth0 src 10.6.212.207",
    );
    t.ip("node", "route add 10.6.212.207/32 dev vethc3");
    if symmetric {
        t.ip("worker", "route add 10.6.212.207/32 via 10.6.1.10");
    }
    t.nft("node", rules);
    t
}

fn with_traffic(t: &Topology) -> Verdict {
    let diagnosis = Diagnosis::named(
        &t.netns("node"),
        "8s",
        &[("cam-0", CAM), ("mail-0", MAIL), ("shop-0", SHOP)],
    );
    let _servers = [
        serve(&t.netns("far"), FAR, "8080"),
        serve(&t.netns("lan"), RELAY, "2525"),
        serve(&t.netns("lan"), RELAY, "8080"),
    ];
    let _clients = [
        client(&t.netns("cam"), "pull", FAR, "8080", "3000"),
        client(&t.netns("mail"), "pull", RELAY, "2525", "300"),
        client(&t.netns("shop"), "pull", FAR, "8080", "3000"),
        client(&t.netns("shop"), "pull", RELAY, "8080", "3000"),
    ];
    diagnosis.verdict()
}

const STRICT: &str = "table ip filter {
    chain KUBE-FORWARD {
        ct state invalid counter drop comment \"invalid\"
    }
    chain walls {
        ct state established,related accept
        iifname \"cni0\" tcp dport 8080 accept
        iifname \"vethc3\" accept
        counter reject with icmp type host-prohibited comment \"walls\"
    }
    chain FORWARD { type filter hook forward priority filter;
        jump KUBE-FORWARD
        jump walls
    }
}";

const OPEN: &str = "table ip filter {
    chain KUBE-FORWARD {
        ct state invalid counter drop comment \"invalid\"
    }
    chain walls {
        ct state established,related accept
        iifname \"cni0\" tcp dport { 8080, 2525 } accept
        iifname \"vethc3\" accept
        counter reject with icmp type host-prohibited comment \"walls\"
    }
    chain FORWARD { type filter hook forward priority filter;
        jump KUBE-FORWARD
        jump walls
    }
}";

#[test]
fn an_invalid_rule_and_a_host_firewall() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node(STRICT, false);
    let verdict = with_traffic(&t);
    assert!(t.counted("node", "invalid") >= 3);
    assert!(t.counted("node", "walls") >= 3);
    assert_eq!(
        verdict.causes(),
        ["firewall-drop"; 2],
        "{:#}",
        verdict.document
    );
    let findings = verdict.document["findings"].as_array().expect("a list");
    let of = |pod: &str| {
        let is = |f: &&Value| pods(f) == [pod];
        let finding = findings.iter().find(is).expect(pod);
        assert_eq!(finding["confidence"], "confirmed", "{finding:#}");
        assert_eq!(finding["severity"], "warning", "{finding:#}");
        finding
    };
    let (cam, mail) = (of("cam-0"), of("mail-0"));
    assert_eq!(cam["subject"]["place"], "ip filter KUBE-FORWARD", "{cam:#}");
    assert_eq!(mail["subject"]["place"], "ip filter walls", "{mail:#}");
    let advice = cam["fix"]["summary"].as_str().expect("a sentence");
    assert!(advice.contains("both directions"), "{advice}");
    let _server = serve(&t.netns("lan"), RELAY, "2525");
    let mails = || arrives(&t.netns("mail"), "pull", RELAY, "2525", "300");
    assert!(!mails());
    repair(&t.netns("node"), mail);
    assert!(mails());
}

#[test]
fn a_symmetric_macvlan_pod_behind_an_open_firewall_is_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    with_traffic(&node(OPEN, true)).healthy();
}
