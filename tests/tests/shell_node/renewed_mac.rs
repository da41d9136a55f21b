//! A node whose tunnel device has a new link-layer address that its peer never learned:
//! flannel-io/flannel issue 1788.
use netdiag_tests::{
    netns::exec,
    require,
    shell_node::{Diagnosis, Verdict, pods},
    topology::Topology,
    traffic::{arrives, client, serve},
};

const HERE: &str = "10.200.7.4";
const BESIDE: &str = "10.200.7.5";
const THERE: &str = "10.200.1.9";
const TOOLS: [&str; 4] = ["ip", "bridge", "sysctl", "python3"];

const NEW: &str = "9a:31:5d:00:07:01";
const OLD: &str = "9a:31:5d:00:07:aa";
const PEER: &str = "9a:31:5d:00:01:01";
const STEADY: &str = "9a:31:5d:00:05:01";
const PEERS_POD: &str = "10.200.5.8";

/// `node` has the address NEW; `peer` believes what it is told, `steady` the truth.
fn nodes(believed: &str) -> Topology {
    let t = Topology::new(
        &[
            "node", "peer", "steady", "lan", "here", "beside", "there", "calm",
        ],
        &["node", "peer", "steady"],
    );
    t.ip("lan", "link add sw type bridge");
    t.ip("lan", "link set sw up");
    let all = [
        ("node", "192.168.66.7", "10.200.7", NEW),
        ("peer", "192.168.66.1", "10.200.1", PEER),
        ("steady", "192.168.66.5", "10.200.5", STEADY),
    ];
    for (name, address, block, mac) in all {
        t.cable((name, "enp1s0"), ("lan", name));
        t.ip("lan", &format!("link set {name} master sw"));
        t.ip(
            name,
            &format!(
                "addr add {address}/24 dev enp1s0
                 link add flannel.1 address {mac} type vxlan id 1 dstport 8472 local {address} dev enp1s0 nolearning
                 addr add {block}.0/32 dev flannel.1
                 link set flannel.1 mtu 1450 up
                 link add cni0 type bridge
                 link set cni0 mtu 1450
                 addr add {block}.1/24 dev cni0
                 link set cni0 up"
            ),
        );
    }
    for (name, _, _, _) in all {
        for (other, address, block, mac) in all.iter().filter(|other| other.0 != name) {
            let mac = match (name, *other) {
                ("peer", "node") => believed,
                _ => mac,
            };
            t.ip(
                name,
                &format!(
                    "neigh add {block}.0 lladdr {mac} dev flannel.1 nud permanent
                     route add {block}.0/24 via {block}.0 dev flannel.1 onlink"
                ),
            );
            let entry = ["bridge", "fdb", "append", mac, "dev", "flannel.1", "dst"];
            exec(&t.netns(name), &[&entry[..], &[*address]].concat());
        }
    }
    t.bridged_pod("node", "here", "cni0", "veth1a", HERE);
    t.bridged_pod("node", "beside", "cni0", "veth2b", BESIDE);
    t.bridged_pod("peer", "there", "cni0", "veth3c", THERE);
    t.bridged_pod("steady", "calm", "cni0", "veth4d", PEERS_POD);
    for pod in ["here", "beside", "there", "calm"] {
        t.ip(pod, "link set eth0 mtu 1450");
    }
    t
}

fn with_traffic(t: &Topology) -> Verdict {
    let diagnosis = Diagnosis::named(
        &t.netns("node"),
        "12s",
        &[
            ("here-0", HERE),
            ("beside-0", BESIDE),
            ("there-0", THERE),
            ("calm-0", PEERS_POD),
        ],
    );
    let _server = serve(&t.netns("here"), HERE, "5432");
    let _clients = [
        client(&t.netns("there"), "pull", HERE, "5432", "3000"),
        client(&t.netns("calm"), "pull", HERE, "5432", "3000"),
        client(&t.netns("beside"), "pull", HERE, "5432", "3000"),
    ];
    diagnosis.verdict()
}

#[test]
fn a_peer_that_knows_an_old_tunnel_address() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = nodes(OLD);
    let verdict = with_traffic(&t);
    assert!(t.not_for_us("node", "flannel.1") > 3);
    let finding = verdict.only("neighbour-failed");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
    assert_eq!(pods(finding), ["here-0", "there-0"], "{finding:#}");
    let text = serde_json::to_string(finding).expect("JSON");
    // Whose table is wrong, at which device, and what it should say.
    for word in ["192.168.66.1", "flannel.1", NEW] {
        assert!(text.contains(word), "{word}: {finding:#}");
    }
    let _server = serve(&t.netns("here"), HERE, "5432");
    let asks = || arrives(&t.netns("there"), "pull", HERE, "5432", "3000");
    assert!(!asks());
    // It is for the peer, by ssh: here its shell is a namespace.
    for command in finding["fix"]["commands"].as_array().expect("a list") {
        let text = command.as_str().expect("a line");
        let there = text.strip_prefix("ssh 192.168.66.1 ").expect("the peer's");
        exec(&t.netns("peer"), &["sh", "-c", there]);
    }
    assert!(asks());
}

#[test]
fn peers_that_know_the_tunnel_address_are_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    with_traffic(&nodes(NEW)).healthy();
}
