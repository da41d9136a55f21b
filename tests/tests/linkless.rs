//! Pods that no link of the node leads to: they share one of its devices.
use std::{fs, process::Command};

use netdiag_tests::{
    cni,
    netdiag::{command_in, start_in},
    netns::{exec, sh},
    process::{PATIENCE, Process, run},
    require,
};
use serde_json::Value;
use tempfile::TempDir;

const TOOLS: [&str; 4] = ["ip", "nft", "bash", "timeout"];
const NODE: &str = "198.51.100.1";
const OUTSIDE: &str = "198.51.100.2";
const POD: &str = "198.51.100.77";

/// A node, a host beside it, and a pod at a device of that kind.
struct Node {
    name: String,
    results: TempDir,
}

impl Node {
    /// Nothing where the kernel has no such device.
    fn up(kind: &str) -> Option<Self> {
        let node = Self {
            name: format!("nd-{kind}-{}", nix::unistd::gettid()),
            results: tempfile::tempdir().expect("a folder"),
        };
        let [here, outside, pod] = node.all();
        for netns in [&here, &outside, &pod] {
            sh(&["ip", "netns", "add", netns]);
        }
        let pair = ["ip", "-n", &here, "link", "add", "uplink", "type", "veth"];
        let peer = ["peer", "name", "uplink", "netns", &outside];
        sh(&[&pair[..], &peer].concat());
        for (netns, address) in [(&here, NODE), (&outside, OUTSIDE)] {
            node.address(netns, "uplink", address);
        }
        let gateway = ["ip", "-n", &here, "route", "add", "default", "via", OUTSIDE];
        sh(&gateway);
        let mut add = Command::new("ip");
        add.args([
            "-n", &here, "link", "add", "eth0", "netns", &pod, "link", "uplink",
        ]);
        add.args(["type", kind]);
        if run(&mut add).code != Some(0) {
            require::say(&format!("the kernel's {kind}"));
            return None;
        }
        node.address(&pod, "eth0", POD);
        let result = cni::result("cart-0", &pod, POD);
        fs::write(node.results.path().join("cart-0"), result).expect("written");
        Some(node)
    }

    fn all(&self) -> [String; 3] {
        ["", "-out", "-pod"].map(|end| format!("{}{end}", self.name))
    }

    fn address(&self, netns: &str, link: &str, address: &str) {
        let address = format!("{address}/24");
        sh(&["ip", "-n", netns, "addr", "add", &address, "dev", link]);
        sh(&["ip", "-n", netns, "link", "set", link, "up"]);
    }

    /// The pod knocks on a port of the host's, again and again.
    fn knock(&self, port: u16) -> Process {
        let script = format!(
            "while sleep 0.2; do timeout 2 bash -c '</dev/tcp/{OUTSIDE}/{port}' 2>/dev/null; done"
        );
        let mut knock = Command::new("ip");
        knock.args(["netns", "exec", &self.all()[2], "bash", "-c", &script]);
        Process::start(&mut knock)
    }

    fn options(&self) -> [String; 4] {
        let results = self.results.path().display().to_string();
        ["--cni-dir", &results, "--pods", "cni"].map(str::to_owned)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for netns in self.all() {
            // One that was not made is not missed.
            let _ = Command::new("ip").args(["netns", "del", &netns]).output();
        }
    }
}

fn drops_inside_are_the_pods(kind: &str) {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up(kind) else { return };
    let rule =
        "table inet t { chain o { type filter hook output priority 0; tcp dport 80 drop; }; }";
    exec(&node.all()[2], &["nft", rule]);
    let options = node.options();
    let ask = ["diagnose", "-o", "json", "--duration", "8s"].map(str::to_owned);
    let ask = [&ask[..], &options].concat();
    let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
    let diagnosis = start_in(&node.name, &ask);
    let _client = node.knock(80);
    let verdict = diagnosis.end(PATIENCE).json();
    let findings = verdict["findings"].as_array().expect("a list");
    let causes: Vec<_> = findings.iter().map(|f| f["cause"].as_str()).collect();
    assert_eq!(causes, [Some("firewall-drop")], "{verdict:#}");
    let pod = &findings[0]["pods"][0];
    assert_eq!(
        (&pod["name"], &pod["linkless"]),
        (&"cart-0".into(), &true.into())
    );
}

fn its_path_is_the_shared_device(kind: &str) {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up(kind) else { return };
    let _client = node.knock(81);
    let to = format!("{OUTSIDE}:81");
    let ask = ["path", "billing/cart-0", &to, "-o", "json", "--probe"].map(str::to_owned);
    let ask = [
        &ask[..],
        &["--duration".into(), "3s".into()],
        &node.options(),
    ]
    .concat();
    let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
    let ended = run(&mut command_in(&node.name, &ask));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let path = ended.json();
    assert_eq!(path["outcome"], "refused", "{path:#}");
    let hops = |way: &str| -> Vec<Value> {
        let steps = path[way]["steps"].as_array().expect("a list").iter();
        steps
            .map(|s| serde_json::json!([s["interface"], s["direction"], s["course"]]))
            .collect()
    };
    let hop = |direction: &str| [serde_json::json!(["uplink", direction, "expected"])];
    assert_eq!(hops("request"), hop("egress"), "{path:#}");
    assert_eq!(hops("reply"), hop("ingress"), "{path:#}");
}

#[test]
fn drops_inside_a_macvlan_pod_are_its_own() {
    drops_inside_are_the_pods("macvlan");
}

#[test]
fn drops_inside_an_ipvlan_pod_are_its_own() {
    drops_inside_are_the_pods("ipvlan");
}

#[test]
fn a_macvlan_pods_path_is_the_device_that_it_shares() {
    its_path_is_the_shared_device("macvlan");
}

#[test]
fn an_ipvlan_pods_path_is_the_device_that_it_shares() {
    its_path_is_the_shared_device("ipvlan");
}
