//! A pod whose cluster reaches its peers through a VPN, and whose node's policy lets no ICMP error
//! through to it: cilium/cilium issue 26193.
use netdiag_tests::{
    require,
    shell_node::{Diagnosis, Verdict, pods, repair},
    topology::Topology,
    traffic::{arrives, client, serve},
};

const POST: &str = "10.244.3.14";
const OTHER: &str = "10.244.3.15";
const ON_PREM: &str = "10.250.2.2";
const TOOLS: [&str; 5] = ["ip", "sysctl", "python3", "nft", "nstat"];

/// The VPN's router has a link of 1427 bytes to the far end.
fn node(policy: &str) -> Topology {
    let t = Topology::new(&["aks", "vpn", "onprem", "post", "other"], &["aks", "vpn"]);
    t.cable(("aks", "eth0"), ("vpn", "vnet"));
    t.cable(("vpn", "ipsec0"), ("onprem", "eth0"));
    t.ip(
        "vpn",
        "addr add 10.64.142.1/24 dev vnet
         addr add 10.250.2.1/24 dev ipsec0
         link set ipsec0 mtu 1427
         route add 10.244.3.0/24 via 10.64.142.4",
    );
    // The far end knows the way's MTU as little as the pod does.
    t.ip(
        "onprem",
        "addr add 10.250.2.2/24 dev eth0
         route add default via 10.250.2.1",
    );
    t.ip(
        "aks",
        "addr add 10.64.142.4/24 dev eth0
         route add default via 10.64.142.1
         link add azure0 type bridge
         addr add 10.244.3.1/24 dev azure0
         link set azure0 up",
    );
    t.bridged_pod("aks", "post", "azure0", "azv3f1", POST);
    t.bridged_pod("aks", "other", "azure0", "azv9d0", OTHER);
    t.nft("aks", policy);
    t
}

fn with_traffic(t: &Topology) -> Verdict {
    let diagnosis = Diagnosis::named(
        &t.netns("aks"),
        "8s",
        &[("post-0", POST), ("other-0", OTHER)],
    );
    let _server = serve(&t.netns("onprem"), ON_PREM, "8080");
    let _clients = [
        client(&t.netns("post"), "push", ON_PREM, "8080", "200000"),
        client(&t.netns("post"), "pull", ON_PREM, "8080", "400"),
        client(&t.netns("other"), "push", ON_PREM, "8080", "200000"),
    ];
    diagnosis.verdict()
}

/// Replies pass, errors about the same connections do not.
const ESTABLISHED_ONLY: &str = "table inet netpol {
    chain to-post {
        ct state established accept
        ip saddr 10.244.3.0/24 tcp dport 8443 accept
        counter drop comment \"default deny\"
    }
    chain forward { type filter hook forward priority filter;
        ip daddr 10.244.3.14 jump to-post
    }
}";

const WITH_RELATED: &str = "table inet netpol {
    chain to-post {
        ct state established,related accept
        ip saddr 10.244.3.0/24 tcp dport 8443 accept
        counter drop comment \"default deny\"
    }
    chain forward { type filter hook forward priority filter;
        ip daddr 10.244.3.14 jump to-post
    }
}";

#[test]
fn a_policy_that_drops_frag_needed() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node(ESTABLISHED_ONLY);
    let verdict = with_traffic(&t);
    assert!(t.counted("aks", "default deny") >= 2);
    assert!(t.counter("vpn", "IpFragFails") >= 2);
    let finding = verdict.only("firewall-drop");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
    assert_eq!(pods(finding), ["post-0"], "{finding:#}");
    let summary = finding["summary"].as_str().expect("a sentence");
    for word in ["fragmentation needed", "1427", "10.250.2.2:8080"] {
        assert!(summary.contains(word), "{summary}");
    }
    let _server = serve(&t.netns("onprem"), ON_PREM, "8080");
    let upload = || arrives(&t.netns("post"), "push", ON_PREM, "8080", "200000");
    assert!(!upload());
    repair(&t.netns("aks"), finding);
    assert!(upload());
}

#[test]
fn a_policy_that_lets_frag_needed_pass_is_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node(WITH_RELATED);
    let verdict = with_traffic(&t);
    assert!(t.counter("vpn", "IpFragFails") >= 1);
    verdict.healthy();
}
