//! A Service whose pods are not ready: kube-proxy rejects what goes to it.
use std::net::SocketAddr;

use super::{HTTP, KUBE_PROXY, POD_A, POD_B, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Service};
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "service-no-endpoints",
    summary: "a Service has no ready endpoints, and the node rejects what goes to it",
    expected: &["service-no-endpoints"],
    needs: KUBE_PROXY,
    faults,
    traffic,
    takes: &[Part::Services],
    relies_on: &[Part::Connections],
    ..Scenario::BASE
};

const PORT: u16 = 80;

/// One that has a pod, and one whose pods are not ready; in the healthy twin they are.
fn services(plan: &Plan) -> [Service; 2] {
    let service = |name: &str, number, ready| Service {
        namespace: plan.nodes[B].pods[0].namespace.clone(),
        name: name.to_owned(),
        protocol: "tcp",
        address: plan.cluster_ip(number),
        port: PORT,
        node_port: None,
        backends: if ready {
            vec![(plan.address(POD_B), HTTP)]
        } else {
            Vec::new()
        },
    };
    [
        service("web", 9, true),
        service("cart", 77, plan.options.healthy),
    ]
}

fn faults(plan: &Plan) -> Vec<Step> {
    let (mode, all) = (plan.proxy_mode(), services(plan));
    [A, B]
        .map(|node| kube_proxy::sync(plan, &plan.nodes[node], mode, &all))
        .to_vec()
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let asked = services(plan).map(|service| Flow {
        asks: Some(SocketAddr::new(service.address, service.port)),
        ..Flow::new(Work::Request, POD_A, POD_B, HTTP, 300)
    });
    [everyday(), bulk(100_000), asked.to_vec()].concat()
}
