//! A pod that keeps one UDP socket to the cluster's DNS while the server behind it changes, and
//! whose connection tracking entry nobody deletes: kubernetes/kubernetes issue 125467.

use netdiag_tests::{
    netns::exec,
    process::{PATIENCE, Process, wait_until},
    require,
    shell_node::{Diagnosis, Verdict, pods, repair},
    topology::Topology,
    traffic::{name_server, resolver},
};
use nix::sys::signal::Signal;

const ENVOY: &str = "10.103.83.53";
const FRESH: &str = "10.103.83.60";
const SERVER: &str = "10.103.79.12";
const SERVICE: &str = "172.20.0.10";
const TOOLS: [&str; 5] = ["ip", "sysctl", "python3", "nft", "conntrack"];

/// kube-proxy in its nftables mode, as far as this one Service goes.
fn kube_proxy(backend: &str) -> String {
    format!(
        "add table ip kube-proxy
         flush table ip kube-proxy
         table ip kube-proxy {{
            map service-ips {{
                type ipv4_addr . inet_proto . inet_service : verdict
                elements = {{ 172.20.0.10 . udp . 53 : goto service-ULMVA6XW-kube-system/kube-dns/udp/dns }}
            }}
            chain services {{
                ip daddr . meta l4proto . th dport vmap @service-ips
            }}
            chain nat-prerouting {{ type nat hook prerouting priority dstnat;
                jump services
            }}
            chain nat-output {{ type nat hook output priority -100;
                jump services
            }}
            chain service-ULMVA6XW-kube-system/kube-dns/udp/dns {{
                numgen random mod 1 vmap {{ 0 : goto endpoint-5OJB2KTY-dns }}
            }}
            chain endpoint-5OJB2KTY-dns {{
                meta l4proto udp dnat to {backend}:53
            }}
         }}"
    )
}

/// The old server's node is gone, and the network drops what is sent there without a word.
fn node() -> Topology {
    let t = Topology::new(
        &["worker", "vpc", "other", "dns", "envoy", "fresh"],
        &["worker", "vpc", "other"],
    );
    t.cable(("worker", "eth0"), ("vpc", "az-a"));
    t.cable(("other", "eth0"), ("vpc", "az-b"));
    t.ip(
        "vpc",
        "addr add 10.103.80.1/24 dev az-a
         addr add 10.103.76.1/24 dev az-b
         route add 10.103.83.0/24 via 10.103.80.8
         route add 10.103.79.0/24 via 10.103.76.9
         route add blackhole 10.103.78.0/24",
    );
    t.ip(
        "worker",
        "addr add 10.103.80.8/24 dev eth0
         route add default via 10.103.80.1",
    );
    t.ip(
        "other",
        "addr add 10.103.76.9/24 dev eth0
         route add default via 10.103.76.1",
    );
    t.routed_pod("other", "dns", "eni1", SERVER);
    t.routed_pod("worker", "envoy", "eni2", ENVOY);
    t.routed_pod("worker", "fresh", "eni3", FRESH);
    t.nft("worker", &kube_proxy("10.103.78.37"));
    t
}

fn names(t: &Topology) -> Diagnosis {
    Diagnosis::named(
        &t.netns("worker"),
        "12s",
        &[
            ("envoy-0", ENVOY),
            ("fresh-0", FRESH),
            ("coredns-1", SERVER),
        ],
    )
}

fn clients(t: &Topology) -> [Process; 2] {
    let name = "ledger.billing.svc.cluster.local";
    [
        resolver(&t.netns("envoy"), SERVICE, "21667", &[name]),
        resolver(&t.netns("fresh"), SERVICE, "0", &[name]),
    ]
}

/// What the resolvers heard, the pod with the one socket first.
fn heard(clients: [Process; 2]) -> [(usize, usize); 2] {
    clients.map(|client| {
        let ended = client.stop(Signal::SIGTERM);
        let count = |how: &str| ended.stderr.iter().filter(|l| l.ends_with(how)).count();
        (count(" ok"), count(" silent"))
    })
}

fn judged(t: &Topology) -> (Verdict, [(usize, usize); 2]) {
    let diagnosis = names(t);
    let _server = name_server(&t.netns("dns"), SERVER, &[]);
    let clients = clients(t);
    (diagnosis.verdict(), heard(clients))
}

#[test]
fn an_entry_that_outlives_the_endpoint() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node();
    // Before the change: the entry is made.
    let early = resolver(
        &t.netns("envoy"),
        SERVICE,
        "21667",
        &["ledger.billing.svc.cluster.local"],
    );
    wait_until("an entry", PATIENCE, || {
        entries(&t).contains("10.103.78.37")
    });
    drop(early);
    t.nft("worker", &kube_proxy(SERVER));
    let (verdict, [envoy, fresh]) = judged(&t);
    assert!(envoy.0 == 0 && envoy.1 >= 4, "{envoy:?}");
    assert!(fresh.0 >= 4 && fresh.1 == 0, "{fresh:?}");
    assert!(entries(&t).contains("10.103.78.37"));
    // That names are not resolved is told below it.
    let finding = verdict.root("service-stale-endpoint");
    assert_eq!(pods(finding), ["envoy-0"], "{finding:#}");
    let text = serde_json::to_string(finding).expect("JSON");
    for word in ["172.20.0.10", "10.103.78.37"] {
        assert!(text.contains(word), "{word}: {finding:#}");
    }
    repair(&t.netns("worker"), finding);
    let _server = name_server(&t.netns("dns"), SERVER, &[]);
    let [mut envoy, _fresh] = clients(&t);
    // Once the question that was under way has gone unanswered, if there was one.
    envoy.wait_for(" ok", PATIENCE);
}

fn entries(t: &Topology) -> String {
    exec(&t.netns("worker"), &["conntrack", "-L", "-p", "udp"])
}

#[test]
fn an_endpoint_that_changed_and_whose_entries_went_is_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    let t = node();
    t.nft("worker", &kube_proxy(SERVER));
    let (verdict, heard) = judged(&t);
    assert!(heard.iter().all(|(ok, silent)| *ok >= 4 && *silent == 0));
    verdict.healthy();
}
