//! A pod asks a Service of which it is a backend itself: the bridge translates by netfilter, and sends
//! no frame out of the port that it came by.
use std::net::SocketAddr;

use super::{HTTP, POD_A, POD_B, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Service};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "hairpin-off",
    summary: "a pod cannot reach itself by its own Service: its bridge port has hairpin mode off",
    expected: &["hairpin-off"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::BridgeNetfilter,
        Need::Program("bridge"),
        Need::Program("nft"),
        Need::Program("iptables-legacy-restore"),
        Need::Program("iptables-nft-restore"),
    ],
    faults,
    traffic,
    translated: |plan| {
        let [own, _] = services(plan);
        vec![(plan.address(POD_A), SocketAddr::new(own.address, own.port))]
    },
    fixable: |_| true,
    takes: &[Part::Services],
    relies_on: &[Part::Connections],
    ..Scenario::BASE
};

const PORT: u16 = 80;
const ECHO: u16 = 7;

/// One that has no other backend, and one with a pod on the other node: a part of what is asked
/// of that goes there.
fn services(plan: &Plan) -> [Service; 2] {
    let service = |name: &str, protocol, number, port, backends: &[_]| Service {
        namespace: plan.nodes[A].pods[0].namespace.clone(),
        name: name.to_owned(),
        protocol,
        address: plan.cluster_ip(number),
        port,
        node_port: None,
        backends: backends
            .iter()
            .map(|(place, to)| (plan.address(*place), *to))
            .collect(),
    };
    [
        service("own", "tcp", 77, PORT, &[(POD_A, HTTP)]),
        service("echo", "udp", 78, ECHO, &[(POD_A, ECHO), (POD_B, ECHO)]),
    ]
}

/// In the healthy twin the port is in hairpin mode.
fn faults(plan: &Plan) -> Vec<Step> {
    let (mode, all) = (plan.proxy_mode(), services(plan));
    let call = ["iptables", "ip6tables"].map(|tables| Step::Sysctl {
        netns: plan.nodes[A].netns.clone(),
        key: format!("net/bridge/bridge-nf-call-{tables}"),
        value: "1".to_owned(),
    });
    let sync = [A, B].map(|node| kube_proxy::sync(plan, &plan.nodes[node], mode, &all));
    let port = &plan.nodes[A].pods[0].veth;
    let mode = if plan.options.healthy { "on" } else { "off" };
    let words = format!("link set dev {port} hairpin {mode}");
    let hairpin = Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "bridge",
        arguments: words.split(' ').map(str::to_owned).collect(),
        input: String::new(),
    };
    sync.into_iter().chain(call).chain([hairpin]).collect()
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let [own, echo] = services(plan);
    let ask = |service: &Service, flow: Flow| Flow {
        asks: Some(SocketAddr::new(service.address, service.port)),
        ..flow
    };
    let asked = vec![
        ask(&own, Flow::new(Work::Request, POD_A, POD_A, HTTP, 250)),
        ask(&own, Flow::new(Work::Request, POD_B, POD_A, HTTP, 300)),
        ask(&echo, Flow::new(Work::Datagram, POD_A, POD_A, ECHO, 300)),
    ];
    [everyday(), bulk(100_000), asked].concat()
}
