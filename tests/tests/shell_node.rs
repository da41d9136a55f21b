//! Nodes that netdiag's lab did not build: other names, other numbers, other means.
#[path = "shell_node/frag_needed.rs"]
mod frag_needed;
#[path = "shell_node/one_upstream.rs"]
mod one_upstream;
#[path = "shell_node/renewed_mac.rs"]
mod renewed_mac;
#[path = "shell_node/spoofer.rs"]
mod spoofer;
#[path = "shell_node/stale_conntrack.rs"]
mod stale_conntrack;
#[path = "shell_node/two_rules.rs"]
mod two_rules;
#[path = "shell_node/two_uplinks.rs"]
mod two_uplinks;

use netdiag_tests::{
    netns::{exec, sh},
    require,
    shell_node::{CRON, DB, ShellNode, TOOLS, Verdict, WEB, evidence, pods},
};

const LONG: &str = "8s";
const LARGE: &str = "300000";

/// The pods' ordinary traffic over the tunnel while netdiag watches the left node, from the first
/// packet on.
fn with_traffic(node: &ShellNode) -> Verdict {
    let diagnosis = node.diagnose("left", LONG);
    let _server = node.serve("db", DB, "8080");
    let _small = node.client("cron", "pull", DB, "8080", "200");
    let _down = node.client("web", "pull", DB, "8080", LARGE);
    let _up = node.client("web", "push", DB, "8080", LARGE);
    diagnosis.verdict()
}

fn missing(more: &[&str]) -> bool {
    require::missing(&[&TOOLS, more].concat())
}

#[test]
fn vxlan_mtu_too_large() {
    if missing(&["nft"]) {
        return;
    }
    let node = ShellNode::up(&[("TUNNEL_MTU", "1450")]);
    node.lose_fragments();
    let verdict = with_traffic(&node);
    let finding = verdict.only("vxlan-mtu-too-large");
    assert_eq!(finding["severity"], "critical", "{finding:#}");
    assert_eq!(pods(finding), ["db-0", "web-0"]);
    let at_tunnel = evidence(finding, "oversize");
    let line = at_tunnel
        .iter()
        .find(|e| e["at"] == "vxlan.calico")
        .expect("a line");
    assert_eq!(
        (&line["largest"], &line["limit"]),
        (&1450.into(), &1350.into())
    );
}

#[test]
fn vxlan_mtu_too_large_behind_a_bridge_without_offload() {
    if missing(&["nft", "ethtool"]) {
        return;
    }
    let node = ShellNode::up(&[
        ("TUNNEL_MTU", "1430"),
        ("UPLINK_MTU", "1460"),
        ("BRIDGE", "cbr0"),
        ("OFFLOAD", "off"),
        ("DEFAULT_ROUTE", "no"),
    ]);
    node.lose_fragments();
    let verdict = with_traffic(&node);
    let finding = verdict.only("vxlan-mtu-too-large");
    assert_eq!(pods(finding), ["db-0", "web-0"]);
    let line = evidence(finding, "oversize")[0];
    assert_eq!(
        (&line["largest"], &line["limit"]),
        (&1430.into(), &1410.into())
    );
}

#[test]
fn fragments_that_arrive_are_a_warning() {
    if missing(&[]) {
        return;
    }
    let node = ShellNode::up(&[("TUNNEL_MTU", "1450")]);
    let verdict = with_traffic(&node);
    let finding = verdict.only("vxlan-mtu-too-large");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
}

#[test]
fn healthy() {
    if missing(&[]) {
        return;
    }
    let verdict = with_traffic(&ShellNode::up(&[]));
    assert_eq!(
        verdict.document["verdict"], "healthy",
        "{:#}",
        verdict.document
    );
    assert_eq!(verdict.document["findings"], serde_json::json!([]));
    assert_eq!(verdict.code, Some(0));
}

#[test]
fn healthy_without_names_or_default_route() {
    if missing(&[]) {
        return;
    }
    let node = ShellNode::up(&[("DEFAULT_ROUTE", "no"), ("BRIDGE", "cbr0")]);
    let diagnosis = node.diagnose_nameless("left", "4s");
    let _server = node.serve("db", DB, "8080");
    let _client = node.client("web", "pull", DB, "8080", LARGE);
    let verdict = diagnosis.verdict();
    assert_eq!(
        verdict.document["verdict"], "healthy",
        "{:#}",
        verdict.document
    );
    assert_eq!(verdict.code, Some(0));
}

#[test]
fn pod_mtu_too_large() {
    if missing(&[]) {
        return;
    }
    let node = ShellNode::up(&[("POD_MTU", "1500")]);
    let diagnosis = node.diagnose("left", LONG);
    // Nothing large from the other side, which would learn the path's MTU and tell it in its MSS.
    let _server = node.serve("db", DB, "8080");
    let _up = node.client("web", "push", DB, "8080", LARGE);
    let verdict = diagnosis.verdict();
    let finding = verdict.only("pod-mtu-too-large");
    assert_eq!(pods(finding), ["db-0", "web-0"]);
    let lines = evidence(finding, "oversize");
    assert_eq!(lines[0]["largest"], 1500, "{finding:#}");
    assert_eq!(lines[0]["limit"], 1350, "{finding:#}");
}

#[test]
fn firewall_drop() {
    if missing(&["nft"]) {
        return;
    }
    let node = ShellNode::up(&[]);
    let rules = format!(
        "table inet walls {{
            chain forward {{ type filter hook forward priority 0;
                ip saddr {CRON} ip daddr {DB} tcp dport 8080 drop
            }}
        }}"
    );
    exec(&node.netns("left"), &["nft", &rules]);
    let verdict = with_traffic(&node);
    let finding = verdict.only("firewall-drop");
    assert_eq!(pods(finding), ["cron-28", "db-0"]);
    let line = evidence(finding, "drop")[0];
    assert_eq!(line["reason"], "NETFILTER_DROP");
    assert!(line["packets"].as_u64() >= Some(3), "{finding:#}");
    assert_eq!(finding["flows"][0]["destination"], format!("{DB}:8080"));
}

/// The way back to the sender leads elsewhere than the way in.
#[test]
fn rp_filter_drop() {
    if missing(&[]) {
        return;
    }
    let node = ShellNode::up(&[]);
    let (left, switch) = (node.netns("left"), node.netns("switch"));
    let second = [
        "link", "add", "ens6", "type", "veth", "peer", "name", "other", "netns",
    ];
    sh(&[&["ip", "-n", &left], &second[..], &[&switch]].concat());
    sh(&["ip", "-n", &left, "link", "set", "ens6", "up"]);
    sh(&[
        "ip",
        "-n",
        &left,
        "addr",
        "add",
        "10.78.0.11/24",
        "dev",
        "ens6",
    ]);
    sh(&[
        "ip",
        "-n",
        &left,
        "route",
        "add",
        "192.0.2.0/24",
        "dev",
        "ens6",
    ]);
    sh(&[
        "ip",
        "-n",
        &switch,
        "addr",
        "add",
        "192.0.2.9/32",
        "dev",
        "lo",
    ]);
    let route = [
        "ip",
        "-n",
        &switch,
        "route",
        "add",
        "172.20.17.0/26",
        "via",
        "10.77.3.11",
    ];
    sh(&[&route[..], &["src", "192.0.2.9"]].concat());
    exec(&left, &["sysctl", "-qw", "net.ipv4.conf.ens5.rp_filter=1"]);
    let diagnosis = node.diagnose("left", LONG);
    let _server = node.serve("web", WEB, "9090");
    let _client = node.client("switch", "pull", WEB, "9090", "200");
    let verdict = diagnosis.verdict();
    let finding = verdict.only("rp-filter-drop");
    assert_eq!(pods(finding), ["web-0"]);
    let line = evidence(finding, "drop")[0];
    assert_eq!(
        (&line["reason"], &line["at"]),
        (&"IP_RPFILTER".into(), &"ens5".into())
    );
    assert_eq!(evidence(finding, "sysctl")[0]["at"], "ens5");
}

/// The left node's tunnel sends from .11; the right one knows it as .61, and the network lets
/// only .61 through.
#[test]
fn vxlan_source_mismatch() {
    if missing(&["nft"]) {
        return;
    }
    let node = ShellNode::up(&[("KNOWN_AS", "10.77.3.61")]);
    let address = ["addr", "add", "10.77.3.61/24", "dev", "ens5"];
    sh(&[&["ip", "-n", &node.netns("left")], &address[..]].concat());
    let guard = "table netdev guard {
        chain left { type filter hook ingress device to-left priority 0;
            ip saddr 10.77.3.11 udp dport 4789 drop
        }
    }";
    exec(&node.netns("switch"), &["nft", guard]);
    let diagnosis = node.diagnose("left", LONG);
    let _servers = [node.serve("web", WEB, "9090"), node.serve("db", DB, "8080")];
    let _clients = [
        node.client("db", "pull", WEB, "9090", "200"),
        node.client("cron", "pull", DB, "8080", "200"),
    ];
    let verdict = diagnosis.verdict();
    let finding = verdict.only("vxlan-source-mismatch");
    let named = pods(finding);
    assert!(
        named.contains(&"web-0") && named.contains(&"db-0"),
        "{finding:#}"
    );
    let text = finding["summary"].as_str().expect("a sentence");
    for word in ["10.77.3.11", "10.77.3.61", "10.77.3.12", "ens5"] {
        assert!(text.contains(word), "{text}");
    }
    let pairs = evidence(finding, "outer_address");
    assert!(
        pairs
            .iter()
            .all(|e| e["text"].to_string().contains("VNI 4096, port 4789"))
    );
}

/// Two addresses on one NIC that all agree on.
#[test]
fn two_addresses_that_agree_are_healthy() {
    if missing(&[]) {
        return;
    }
    let node = ShellNode::up(&[]);
    let address = ["addr", "add", "10.77.3.61/24", "dev", "ens5"];
    sh(&[&["ip", "-n", &node.netns("left")], &address[..]].concat());
    let verdict = with_traffic(&node);
    assert_eq!(
        verdict.document["verdict"], "healthy",
        "{:#}",
        verdict.document
    );
}

/// A rule that answers instead of keeping silent.
#[test]
fn a_rule_that_rejects_is_a_firewall_drop() {
    if missing(&["nft"]) {
        return;
    }
    let node = ShellNode::up(&[("BRIDGE", "cbr0")]);
    let rules = format!(
        "table ip walls {{
            chain forward {{ type filter hook forward priority 0;
                ip saddr {CRON} tcp dport 8080 reject with icmp type admin-prohibited
            }}
        }}"
    );
    exec(&node.netns("left"), &["nft", &rules]);
    let verdict = with_traffic(&node);
    assert_eq!(pods(verdict.only("firewall-drop")), ["cron-28", "db-0"]);
}
