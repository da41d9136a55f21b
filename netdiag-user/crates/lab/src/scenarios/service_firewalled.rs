//! A rule on the node drops what a Service's address was translated to: as pods ask for it, and as
//! somebody outside does by the node's port.
use std::net::{IpAddr, SocketAddr};

use super::{HTTP, KUBE_PROXY, POD_A, POD_B, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Mode, Service};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "service-firewalled",
    summary: "a rule on the node drops what Services were translated to",
    expected: &["firewall-drop"],
    needs: KUBE_PROXY,
    faults: |plan| faults(plan, plan.proxy_mode()),
    traffic,
    translated,
    takes: &[Part::Firewall, Part::Services],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

pub const IPVS: Scenario = Scenario {
    name: "service-firewalled-ipvs",
    summary: "the same, where kube-proxy translates by IPVS",
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::Program("nft"),
        Need::Program("iptables"),
        Need::Program("ipvsadm"),
        Need::Ipvs,
    ],
    faults: |plan| faults(plan, Mode::Ipvs),
    ..SCENARIO
};

/// Another than the rest of the traffic uses.
const BACKEND: u16 = HTTP + 1;

fn service(plan: &Plan) -> Service {
    Service {
        namespace: plan.nodes[B].pods[0].namespace.clone(),
        name: "web".to_owned(),
        protocol: "tcp",
        address: plan.cluster_ip(31),
        port: 80,
        node_port: Some(30_000 + (plan.options.seed * 61 % 2_700) as u16),
        backends: vec![(plan.address(POD_B), BACKEND)],
    }
}

fn by_node_port(plan: &Plan) -> SocketAddr {
    let port = service(plan).node_port.unwrap_or_default();
    SocketAddr::new(plan.address(Place::Node(A)), port)
}

fn by_cluster_ip(plan: &Plan) -> SocketAddr {
    let service = service(plan);
    SocketAddr::new(service.address, service.port)
}

/// The healthy twin's rule is for a port that nobody uses.
fn faults(plan: &Plan, mode: Mode) -> Vec<Step> {
    let port = if plan.options.healthy { 1 } else { BACKEND };
    let policy = format!(
        "table inet site-policy {{\n chain leaving {{\n  type filter hook postrouting priority 0;\n  \
         tcp dport {port} counter drop\n }}\n}}\n"
    );
    let drop = Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "nft",
        arguments: vec!["-f".into(), "-".into()],
        input: policy,
    };
    let sync = kube_proxy::sync(plan, &plan.nodes[A], mode, &[service(plan)]);
    vec![sync, drop]
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let ask = |from: Place, to: SocketAddr, ms: u64| Flow {
        asks: Some(to),
        ..Flow::new(Work::Request, from, POD_B, BACKEND, ms)
    };
    let asked = vec![
        ask(POD_A, by_cluster_ip(plan), 200),
        ask(Place::Outside, by_node_port(plan), 300),
    ];
    [everyday(), bulk(100_000), asked].concat()
}

fn translated(plan: &Plan) -> Vec<(IpAddr, SocketAddr)> {
    vec![
        (plan.address(POD_A), by_cluster_ip(plan)),
        (plan.address(Place::Outside), by_node_port(plan)),
    ]
}
