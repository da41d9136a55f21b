//! A node with two NICs on two subnets, a pod's address routed by rule through the second one, and
//! a NodePort that clients reach by the first one: aws/amazon-vpc-cni-k8s issue 75.
use netdiag_tests::{
    require,
    shell_node::{Diagnosis, Verdict, evidence, pods, repair},
    topology::Topology,
    traffic::{arrives, client, serve},
};

const NODE: &str = "172.31.40.20";
const API: &str = "172.31.41.88";
const FRONT: &str = "172.31.40.77";
const TOOLS: [&str; 5] = ["ip", "sysctl", "python3", "nft", "nstat"];

/// `front` has an address of the first NIC's subnet, `api` one of the second's; both are published
/// by a NodePort with `externalTrafficPolicy: Local`.
fn node(rp_filter: &str) -> Topology {
    let t = Topology::new(
        &["worker", "vpc", "browser", "front", "api"],
        &["worker", "vpc"],
    );
    t.cable(("worker", "ens5"), ("vpc", "subnet-a"));
    t.cable(("worker", "ens6"), ("vpc", "subnet-b"));
    t.cable(("browser", "eth0"), ("vpc", "peering"));
    t.ip(
        "vpc",
        "addr add 172.31.40.1/24 dev subnet-a
         addr add 172.31.41.1/24 dev subnet-b
         addr add 192.168.9.1/24 dev peering",
    );
    t.ip(
        "browser",
        "addr add 192.168.9.5/24 dev eth0
         route add default via 192.168.9.1",
    );
    t.ip(
        "worker",
        "addr add 172.31.40.20/24 dev ens5
         addr add 172.31.41.20/24 dev ens6
         route add default via 172.31.40.1 dev ens5
         route add 172.31.41.1 dev ens6 scope link table 2
         route add default via 172.31.41.1 dev ens6 table 2",
    );
    // What answers for the pods' addresses on the subnets: the network, not the node.
    t.ip(
        "vpc",
        "route add 172.31.40.77/32 via 172.31.40.20
         route add 172.31.41.88/32 via 172.31.41.20",
    );
    t.routed_pod("worker", "front", "eni0a1", FRONT);
    t.routed_pod("worker", "api", "eni7c4", API);
    t.ip(
        "worker",
        "rule add to 172.31.40.77 lookup main priority 512
         rule add to 172.31.41.88 lookup main priority 512
         rule add from 172.31.41.88 lookup 2 priority 1536",
    );
    t.nft(
        "worker",
        "table ip nodeports {
            chain prerouting { type nat hook prerouting priority dstnat;
                ip daddr 172.31.40.20 tcp dport 30054 dnat to 172.31.41.88:8443
                ip daddr 172.31.40.20 tcp dport 30055 dnat to 172.31.40.77:8080
            }
        }",
    );
    t.sysctl(
        "worker",
        &[&format!("net.ipv4.conf.ens5.rp_filter={rp_filter}")],
    );
    t
}

fn with_traffic(t: &Topology) -> Verdict {
    let diagnosis = Diagnosis::named(
        &t.netns("worker"),
        "8s",
        &[("front-0", FRONT), ("api-0", API)],
    );
    let _servers = [
        serve(&t.netns("front"), FRONT, "8080"),
        serve(&t.netns("api"), API, "8443"),
    ];
    let browser = t.netns("browser");
    let _clients = [
        client(&browser, "pull", NODE, "30055", "20000"),
        client(&browser, "pull", NODE, "30054", "20000"),
    ];
    diagnosis.verdict()
}

#[test]
fn node_port_to_a_pod_of_the_second_uplink() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node("1");
    let verdict = with_traffic(&t);
    assert!(t.counter("worker", "TcpExtIPReversePathFilter") > 3);
    let finding = verdict.only("rp-filter-drop");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
    assert_eq!(pods(finding), ["api-0"], "{finding:#}");
    assert_eq!(evidence(finding, "drop")[0]["at"], "ens5", "{finding:#}");
    let _server = serve(&t.netns("api"), API, "8443");
    let browses = || arrives(&t.netns("browser"), "pull", NODE, "30054", "20000");
    assert!(!browses());
    repair(&t.netns("worker"), finding);
    assert!(browses());
}

/// The same asymmetry where the CNI has made the filter loose.
#[test]
fn two_uplinks_with_a_loose_filter_are_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    with_traffic(&node("2")).healthy();
}
