//! A load balancer's address that the node's rules lead to a pod, and that nobody announces any more: who asks for it from
//! outside gets no answer to his ARP, and no packet of his comes to any node.
use std::net::{IpAddr, SocketAddr};

use super::{HTTP, KUBE_PROXY, POD_A, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Service};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "vip-not-answered",
    summary: "nobody announces a load balancer's address that the node's rules serve",
    expected: &["path-broken"],
    needs: KUBE_PROXY,
    faults,
    traffic,
    takes: &[Part::Services],
    relies_on: &[Part::Uplink],
    ..Scenario::BASE
};

/// Another than the rest of the traffic uses.
const BACKEND: u16 = HTTP + 2;

/// One of the nodes' network that nobody has.
fn address(plan: &Plan) -> IpAddr {
    let last = 160 + (plan.options.seed % 40) as u8;
    match plan.address(Place::Node(A)) {
        IpAddr::V4(node) => {
            let [a, b, c, _] = node.octets();
            IpAddr::from([a, b, c, last])
        }
        IpAddr::V6(node) => {
            let mut bytes = node.octets();
            (bytes[14], bytes[15]) = (0xee, last);
            IpAddr::from(bytes)
        }
    }
}

fn service(plan: &Plan) -> Service {
    Service {
        namespace: plan.nodes[A].pods[0].namespace.clone(),
        name: "gateway".to_owned(),
        protocol: "tcp",
        address: address(plan),
        port: 443,
        node_port: None,
        backends: vec![(plan.address(POD_A), BACKEND)],
    }
}

/// In the healthy twin the node itself has the address, and answers.
fn faults(plan: &Plan) -> Vec<Step> {
    let node = &plan.nodes[A];
    let mut steps = vec![kube_proxy::sync(
        plan,
        node,
        plan.proxy_mode(),
        &[service(plan)],
    )];
    if plan.options.healthy {
        let own = match address(plan) {
            IpAddr::V4(own) => vec![format!("{own}/32")],
            IpAddr::V6(own) => vec![format!("{own}/128"), "nodad".to_owned()],
        };
        let words = ["address", "add", "dev", &node.uplink].map(str::to_owned);
        steps.push(Step::Run {
            netns: node.netns.clone(),
            program: "ip",
            arguments: [words.to_vec(), own].concat(),
            input: String::new(),
        });
    }
    steps
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let asked = Flow {
        asks: Some(SocketAddr::new(address(plan), service(plan).port)),
        ..Flow::new(Work::Request, Place::Outside, POD_A, BACKEND, 300)
    };
    [everyday(), bulk(100_000), vec![asked]].concat()
}
