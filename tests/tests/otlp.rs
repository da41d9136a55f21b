//! What the agent sends to an OpenTelemetry collector, and what it does where none is there.
#[path = "otlp/saved_queries.rs"]
mod saved_queries;

use std::{fs, path::Path, process::Command};

use netdiag_tests::{
    api::tls,
    lab::Lab,
    netdiag::{command_in, netdiag, sentence, start_in},
    netns::sh,
    process::{PATIENCE, Process, wait_until},
    require,
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
    if require::missing(&["ip", "nft", "curl", ROTEL]) {
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

const BEHIND_TLS: &str = "https://127.0.0.1:4319";
/// What the gateway asks of whoever sends.
const TENANT: &str = "x-tenant=shop";

/// nginx before the collector, as gateways stand before it in clusters: TLS, and a header.
fn gateway(netns: &str, folder: &Path) -> Process {
    let (certificate, key) = tls::make([127, 0, 0, 1].into()).written(folder);
    let at = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr notice; events {{}}
        http {{
            access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
            fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
            server {{
                listen 127.0.0.1:4319 ssl http2;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                location / {{
                    if ($http_x_tenant != shop) {{ return 403; }}
                    grpc_pass grpc://127.0.0.1:4317;
                }}
            }}
        }}"
    );
    let config = folder.join("nginx.conf");
    fs::write(&config, text).expect("nginx's configuration");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "nginx", "-e", "stderr", "-c"]);
    let mut process = Process::start(command.arg(config));
    process.wait_for("event method", PATIENCE);
    process
}

/// An agent that trusts this CA alone, and sends these headers.
fn agent_behind_tls(lab: &Lab, ca: &Path, headers: &str) -> Process {
    let usual = ["agent", "--cni-dir", &lab.cni_dirs[0], "--otlp", BEHIND_TLS];
    let mut command = command_in(&lab.nodes[0], &usual);
    command
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca)
        .env("OTEL_EXPORTER_OTLP_HEADERS", headers);
    Process::start(&mut command)
}

#[test]
fn records_pass_a_gateway_that_asks_for_tls_and_a_header() {
    if require::missing(&["ip", "nft", "nginx", ROTEL]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("ca.pem");
    let lab = Lab::up(&["firewall-drop"]);
    let mut collector = rotel(&lab.nodes[0]);
    let gateway = gateway(&lab.nodes[0], folder.path());
    let traffic = lab.traffic();
    // Who lacks the header gets nothing in, and is told so.
    let mut stranger = agent_behind_tls(&lab, &ca, "x-tenant=other");
    stranger.wait_for("takes no records", PATIENCE);
    drop(stranger);
    let agent = agent_behind_tls(&lab, &ca, TENANT);
    collector.wait_for("netdiag.cause: Str(firewall-drop)", PATIENCE);
    drop((agent, traffic, gateway));
}

#[test]
fn a_collector_whose_certificate_nobody_knows_gets_nothing() {
    if require::missing(&["ip", "nginx"]) {
        return;
    }
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let [own, other] = folders.each_ref().map(tempfile::TempDir::path);
    tls::make([127, 0, 0, 1].into()).written(other);
    let lab = Lab::up(&["healthy"]);
    let gateway = gateway(&lab.nodes[0], own);
    let mut agent = agent_behind_tls(&lab, &other.join("ca.pem"), TENANT);
    agent.wait_for("takes no records", PATIENCE);
    drop(gateway);
}

#[test]
fn a_collector_that_is_not_there_is_told_of_once_and_keeps_nobody() {
    if require::missing(&["ip", "curl"]) {
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
