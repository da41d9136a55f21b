//! The saved queries, asked of ClickHouse's own engine.
use std::{collections::BTreeMap, fs, process::Command};

use jiff::civil::DateTime;
use netdiag_tests::{netdiag::netdiag, process::run, require};
use serde_json::{Value, json};

const ENGINE: &str = "PyPI's chdb";

/// A log record as collectors store it: node, seconds before these five minutes, text, attributes.
fn row(node: &str, ago: u32, body: &str, attributes: Value) -> Value {
    json!({ "node": node, "ago": ago, "body": body, "attributes": attributes })
}

fn finding(node: &str, ago: u32, [id, severity, change]: [&str; 3], pods: &str) -> Value {
    let state = if change == "ends" {
        "resolved"
    } else {
        "firing"
    };
    let cause = id.split(':').next();
    let attributes = json!({ "event.name": "netdiag.finding", "netdiag.finding.id": id,
        "netdiag.cause": cause, "netdiag.severity": severity, "netdiag.change": change,
        "netdiag.state": state, "netdiag.pods": pods });
    row(node, ago, &format!("{id} on {node}"), attributes)
}

fn tunnel(node: &str, [own, peer]: [&str; 2], [sent, received]: [u32; 2]) -> Value {
    let attributes = json!({ "event.name": "netdiag.tunnel", "netdiag.outer.source": own,
        "netdiag.outer.destination": peer, "netdiag.outer.port": "8472", "netdiag.vni": "1",
        "netdiag.sent.packets": sent.to_string(), "netdiag.received.packets": received.to_string() });
    row(node, 120, "", attributes)
}

fn leg(node: &str, direction: &str, peer: &str, port: u16, packets: u32) -> Value {
    let attributes = json!({ "event.name": "netdiag.leg", "netdiag.direction": direction,
        "netdiag.suspicion": "unanswered", "network.transport": "tcp", "source.address": "10.244.1.7",
        "source.port": "40000", "destination.address": "10.244.2.9", "destination.port": port.to_string(),
        "netdiag.outer.source": "192.0.2.1", "netdiag.outer.destination": peer,
        "netdiag.packets": packets.to_string() });
    row(node, 120, "", attributes)
}

fn died(node: &str, pod: &str, port: u16, packets: u32) -> Value {
    let attributes = json!({ "event.name": "netdiag.drop", "k8s.namespace.name": "shop",
        "netdiag.workload": "Deployment/cart", "k8s.pod.name": pod, "netdiag.drop.reason": "NETFILTER_DROP",
        "netdiag.drop.location": "nft_do_chain", "netdiag.hop": "bridge", "network.transport": "tcp",
        "source.address": "10.244.1.7", "destination.address": "10.244.2.9",
        "destination.port": port.to_string(), "netdiag.packets": packets.to_string() });
    row(node, 120, "", attributes)
}

fn node(name: &str, address: &str) -> [Value; 2] {
    let at = json!({ "event.name": "netdiag.node", "netdiag.node.addresses": address });
    let sees = json!({ "event.name": "netdiag.coverage", "netdiag.hooks": "9" });
    [row(name, 1800, "", at), row(name, 120, "", sees)]
}

/// What the engine answers to these printed queries, by their names.
fn ask(rows: &[Value], names: &[&str]) -> Value {
    let text = |name: &&str| {
        let ended = netdiag(&["agent", "queries", name]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.text()
    };
    let queries: BTreeMap<_, _> = names.iter().map(|name| (*name, text(name))).collect();
    let setup = [text(&"table"), text(&"views")];
    let asked = json!({ "setup": setup, "rows": rows, "queries": queries });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/otlp/saved_queries.py");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("asked.json");
    fs::write(&file, asked.to_string()).expect("written");
    let ended = run(Command::new("python3").arg(script).arg(file));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.text()).expect("JSON")
}

/// These columns of a query's rows.
fn columns(rows: &Value, names: &[&str]) -> Value {
    let each = rows.as_array().expect("rows").iter();
    each.map(|row| {
        names
            .iter()
            .map(|name| row[*name].clone())
            .collect::<Value>()
    })
    .collect()
}

/// What three nodes had to tell, of which one is silent by now.
fn incident() -> Vec<Value> {
    let blocked = "overlay-blocked:b";
    let mut rows = vec![
        finding(
            "node-a",
            600,
            [blocked, "critical", "begins"],
            "shop/cart-1",
        ),
        finding(
            "node-b",
            540,
            [blocked, "warning", "begins"],
            "shop/cart-1,shop/web-2",
        ),
        finding(
            "node-b",
            500,
            ["no-route:x", "critical", "begins"],
            "shop/web-2",
        ),
        finding(
            "node-b",
            450,
            ["no-route:x", "critical", "ends"],
            "shop/web-2",
        ),
        finding(
            "node-a",
            7000,
            ["tc-drop:y", "warning", "begins"],
            "shop/db-3",
        ),
        finding(
            "node-a",
            3600,
            ["tc-drop:y", "warning", "stands"],
            "shop/db-3",
        ),
        // Nobody has heard of this node for three hours.
        finding(
            "node-c",
            10800,
            ["rp-filter-drop:z", "warning", "begins"],
            "",
        ),
        // One way, as both tell; and to who tells nothing.
        tunnel("node-a", ["192.0.2.1", "192.0.2.2"], [40, 30]),
        tunnel("node-b", ["192.0.2.2", "192.0.2.1"], [30, 0]),
        tunnel("node-a", ["192.0.2.1", "192.0.2.3"], [7, 0]),
        // Never came; came and died; came; went to nobody knows whom.
        leg("node-a", "egress", "192.0.2.2", 80, 12),
        leg("node-a", "egress", "192.0.2.2", 81, 11),
        leg("node-b", "ingress", "192.0.2.2", 81, 11),
        leg("node-a", "egress", "192.0.2.2", 82, 10),
        leg("node-b", "ingress", "192.0.2.2", 82, 10),
        leg("node-a", "egress", "192.0.2.9", 83, 9),
        died("node-b", "cart-1", 81, 11),
        died("node-a", "cart-1", 90, 5),
        died("node-a", "cart-1", 91, 6),
    ];
    rows.extend(node("node-a", "192.0.2.1"));
    rows.extend(node("node-b", "192.0.2.2,10.0.0.2"));
    rows
}

#[test]
fn saved_queries_find_what_two_nodes_sent() {
    let mut python = Command::new("python3");
    let python = python.args(["-c", "from chdb.session import Session"]);
    if require::find("python3").is_none() || run(python).code != Some(0) {
        return require::say(ENGINE);
    }
    let names = [
        "causes-as-one",
        "causes-over-time",
        "workload-drops",
        "one-way-tunnels",
        "never-arrived",
    ];
    let told = ask(&incident(), &names);
    causes_as_one(&told["causes-as-one"]);
    causes_over_time(&told["causes-over-time"]);
    workload_drops(&told["workload-drops"]);
    one_way_tunnels(&told["one-way-tunnels"]);
    never_arrived(&told["never-arrived"]);
}

/// The worst of a cause, since its first node; what ended, and what is of a silent node, is not there.
fn causes_as_one(rows: &Value) {
    let names = ["cause", "nodes_count", "nodes", "severity", "pods"];
    let mut causes = columns(rows, &names);
    for list in causes.as_array_mut().expect("rows") {
        for at in [2, 4] {
            let names = list[at].as_array_mut().expect("a list");
            names.sort_by_key(Value::to_string);
        }
    }
    let both = ["shop/cart-1", "shop/web-2"];
    let wanted = json!([
        ["overlay-blocked", 2, ["node-a", "node-b"], "critical", both],
        ["tc-drop", 1, ["node-a"], "warning", ["shop/db-3"]],
    ]);
    assert_eq!(causes, wanted);
    let since = |at: usize| -> DateTime {
        let text = rows[at]["since"].as_str().expect("a time");
        text.parse().expect("a time")
    };
    let between = since(1).duration_until(since(0));
    assert_eq!(between.as_secs(), 7000 - 600);
}

fn causes_over_time(rows: &Value) {
    let over = columns(rows, &["cause", "severity", "began", "ended", "nodes"]);
    let over = over.as_array().expect("rows");
    for row in [
        json!(["no-route", "critical", 1, 1, 1]),
        json!(["rp-filter-drop", "warning", 1, 0, 1]),
        json!(["tc-drop", "warning", 0, 0, 1]),
    ] {
        assert!(over.contains(&row), "{row} of {over:?}");
    }
}

fn workload_drops(rows: &Value) {
    let drops = columns(rows, &["workload", "pod", "node", "reason", "packets"]);
    let drop = |node: &str| json!(["Deployment/cart", "cart-1", node, "NETFILTER_DROP", 11]);
    let mut drops = drops.as_array().expect("rows").clone();
    drops.sort_by_key(Value::to_string);
    assert_eq!(drops, [drop("node-a"), drop("node-b")]);
}

fn one_way_tunnels(rows: &Value) {
    let names = [
        "sender",
        "receiver",
        "sent",
        "received_there",
        "lost",
        "answers_received",
    ];
    let wanted = json!([
        ["node-a", "node-b", 40, 0, 40, 30],
        ["node-a", "", 7, null, null, 0],
    ]);
    assert_eq!(columns(rows, &names), wanted);
}

fn never_arrived(rows: &Value) {
    let names = [
        "left_node",
        "to_node",
        "port",
        "packets_left",
        "arrived",
        "died_there",
    ];
    let wanted = json!([
        ["node-a", "node-b", 80, 12, 0, []],
        [
            "node-a",
            "node-b",
            81,
            11,
            11,
            ["NETFILTER_DROP at nft_do_chain"]
        ],
        ["node-a", "", 83, 9, null, []],
    ]);
    assert_eq!(columns(rows, &names), wanted);
}
