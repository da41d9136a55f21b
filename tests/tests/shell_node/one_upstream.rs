//! A cluster's name server with two upstream servers, one of which is not there: coredns/coredns
//! issue 2514.
use netdiag_tests::{
    process::Process,
    require,
    shell_node::{Diagnosis, Verdict},
    topology::Topology,
    traffic::{name_server, resolver},
};
use nix::sys::signal::Signal;

const DNS: &str = "10.42.6.2";
const APP: &str = "10.42.6.30";
const GOOD: &str = "10.116.102.246";
const BAD: &str = "10.116.102.247";
const NAMES: [&str; 4] = [
    "kafka.billing.svc.cluster.local",
    "kafka-dev-1.corp.example.com",
    "images.example.net",
    "time.example.org",
];
const TOOLS: [&str; 3] = ["ip", "sysctl", "python3"];

fn node() -> Topology {
    let t = Topology::new(&["node", "corp", "dns", "app"], &["node", "corp"]);
    t.cable(("node", "eno1"), ("corp", "lan"));
    t.ip(
        "corp",
        "addr add 10.116.5.1/24 dev lan
         addr add 10.116.102.246/32 dev lo
         route add 10.42.6.0/24 via 10.116.5.20
         route add blackhole 10.116.102.247/32",
    );
    t.ip(
        "node",
        "addr add 10.116.5.20/24 dev eno1
         route add default via 10.116.5.1
         link add cni0 type bridge
         addr add 10.42.6.1/24 dev cni0
         link set cni0 up",
    );
    t.bridged_pod("node", "dns", "cni0", "vethd0", DNS);
    t.bridged_pod("node", "app", "cni0", "vetha1", APP);
    t
}

/// The verdict, and how many external names were answered and how many failed.
fn judged(t: &Topology, upstreams: &[&str]) -> (Verdict, usize, usize) {
    let pods = [("coredns-0", DNS), ("app-0", APP)];
    let diagnosis = Diagnosis::named(&t.netns("node"), "12s", &pods);
    let _servers = [
        name_server(&t.netns("corp"), GOOD, &[]),
        name_server(&t.netns("dns"), DNS, upstreams),
    ];
    let clients: [Process; 3] =
        std::array::from_fn(|_| resolver(&t.netns("app"), DNS, "0", &NAMES));
    let verdict = diagnosis.verdict();
    let lines = clients.map(|client| client.stop(Signal::SIGTERM).stderr);
    let external = lines.iter().flatten().filter(|l| l.contains("example"));
    let (ok, not): (Vec<_>, Vec<_>) = external.partition(|l| l.ends_with(" ok"));
    (verdict, ok.len(), not.len())
}

#[test]
fn one_of_two_upstreams_is_silent() {
    if require::missing(&TOOLS) {
        return;
    }
    let (verdict, ok, failed) = judged(&node(), &[GOOD, BAD]);
    assert!(ok >= 4 && failed >= 4, "{ok} {failed}");
    let finding = verdict.only("dns-upstream-failing");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
    let text = serde_json::to_string(finding).expect("JSON");
    assert!(text.contains(BAD), "{finding:#}");
    let summary = finding["summary"].as_str().expect("a sentence");
    assert!(summary.contains(BAD), "{summary}");
}

#[test]
fn two_upstreams_that_answer_are_healthy() {
    if require::missing(&TOOLS) {
        return;
    }
    let (verdict, ok, failed) = judged(&node(), &[GOOD, GOOD]);
    assert!(ok >= 4 && failed == 0, "{ok} {failed}");
    verdict.healthy();
}
