//! What the agent sends to an OpenTelemetry collector, and what it does where none is there.
use std::process::Command;

use netdiag_tests::{
    lab::Lab,
    need,
    netdiag::{netdiag, sentence, start_in},
    netns::sh,
    process::{PATIENCE, Process, wait_until},
};

const COLLECTOR: &str = "http://127.0.0.1:4317";
/// The collector within PyPI's `rotel`.
const ROTEL: &str = "rotel-agent";

fn agent(lab: &Lab) -> Process {
    let usual = ["agent", "--cni-dir", &lab.cni_dirs[0], "--otlp", COLLECTOR];
    start_in(&lab.nodes[0], &usual)
}

fn get(netns: &str, path: &str) -> String {
    let url = format!("http://127.0.0.1:9464/{path}");
    sh(&["ip", "netns", "exec", netns, "curl", "--silent", &url])
}

/// Rotel in a namespace, which says each record that it takes.
fn rotel(netns: &str) -> Process {
    let begin = "exec rotel-agent start --otlp-grpc-endpoint 127.0.0.1:4317 --exporter blackhole \
        --debug-log logs --debug-log-verbosity detailed >&2";
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "sh", "-c", begin]);
    let mut process = Process::start(&mut command);
    process.wait_for("Starting Rotel", PATIENCE);
    process
}

#[test]
fn a_real_collector_takes_a_finding_its_drops_and_its_legs() {
    if need::missing(&["ip", "nft", "curl", ROTEL]) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let mut collector = rotel(&lab.nodes[0]);
    let agent = agent(&lab);
    let traffic = lab.traffic();
    // In the order in which they come; each line of the collector's is read once.
    for line in [
        "EventName: netdiag.node",
        "EventName: netdiag.coverage",
        "EventName: netdiag.finding",
        "netdiag.cause: Str(firewall-drop)",
        "EventName: netdiag.drop",
        "netdiag.drop.reason: Str(NETFILTER_DROP)",
        "EventName: netdiag.leg",
    ] {
        collector.wait_for(line, PATIENCE);
    }
    let page = get(&lab.nodes[0], "metrics");
    for line in [
        "netdiag_otlp_records_total{result=\"queue-full\"} 0",
        "netdiag_otlp_records_total{result=\"failed\"} 0",
    ] {
        assert!(page.contains(line), "{page}");
    }
    drop((traffic, agent));
}

#[test]
fn a_collector_that_is_not_there_is_told_of_once_and_keeps_nobody() {
    if need::missing(&["ip", "curl"]) {
        return;
    }
    let lab = Lab::up(&["healthy"]);
    let mut agent = agent(&lab);
    agent.wait_for("takes no records", PATIENCE);
    wait_until("what is not sent is counted", PATIENCE, || {
        let page = get(&lab.nodes[0], "metrics");
        let failed = page
            .lines()
            .find_map(|line| line.strip_prefix("netdiag_otlp_records_total{result=\"failed\"} "));
        failed.is_some_and(|count| count != "0")
    });
    assert!(get(&lab.nodes[0], "readyz").starts_with("ready"));
}

#[test]
fn what_is_no_collectors_address_is_wrong_usage() {
    let ended = netdiag(&["agent", "--otlp", "collector:4317"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(
        said.contains("'collector:4317' is no address of a collector, like http://"),
        "{said}"
    );
    let ended = netdiag(&["agent", "queries", "nothing"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let mut command = netdiag_tests::netdiag::command(&["agent", "--print-config"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let ended = netdiag_tests::process::run(&mut command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(sentence(&ended).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
}
