//! A Service's traffic policy is Local and its pod is on the other node: connections to it die on this
//! one, those from outside by the node's port, or those of pods here by the ClusterIP.
use std::net::SocketAddr;

use super::{HTTP, KUBE_PROXY, POD_A, POD_B, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Policy, Service};
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "service-local-only",
    summary: "a Service's traffic policy is Local, and its pod is on the other node",
    expected: &["service-local-only"],
    needs: KUBE_PROXY,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic,
    takes: &[Part::Services],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// Which of the two policies it is.
const EXTERNAL: u32 = 0;
const PORT: u16 = 80;

/// In the healthy twin a pod of this node backs the Service that outsiders ask, and the other has the
/// usual policy.
fn service(plan: &Plan) -> Service {
    let there = (plan.address(POD_B), HTTP);
    let here = (plan.address(POD_A), HTTP);
    let backends = match (plan.options.healthy, plan.variant) {
        (true, EXTERNAL) => vec![here],
        _ => vec![there],
    };
    Service {
        namespace: plan.nodes[B].pods[0].namespace.clone(),
        name: "web".to_owned(),
        protocol: "tcp",
        address: plan.cluster_ip(77),
        port: PORT,
        node_port: Some(30_000 + (plan.options.seed * 53 % 2_700) as u16),
        backends,
    }
}

fn faults(plan: &Plan) -> Vec<Step> {
    let policy = match (plan.options.healthy, plan.variant) {
        (_, EXTERNAL) => Policy::ExternalLocal,
        (true, _) => Policy::Cluster,
        (false, _) => Policy::InternalLocal,
    };
    let (mode, all) = (plan.proxy_mode(), [service(plan)]);
    let rules = [A, B].map(|node| kube_proxy::sync_by(plan, &plan.nodes[node], mode, &all, policy));
    rules.into_iter().chain(greetings(plan)).collect()
}

/// The node that asks is known as one by its tunnel's address, whatever family it asks over.
fn greetings(plan: &Plan) -> [Step; 2] {
    let other = &plan.nodes[B];
    [other.ipv4.into(), other.ipv6.into()].map(|to| Step::Greet {
        netns: plan.nodes[A].netns.clone(),
        to,
    })
}

/// Two clients ask it; one of the two ways that each has is the one that the policy is about.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let service = service(plan);
    let node_port = service.node_port.unwrap_or_default();
    let by_port = SocketAddr::new(plan.address(Place::Node(A)), node_port);
    let by_address = SocketAddr::new(service.address, service.port);
    let ask = |from, to, asks, ms| Flow {
        asks: Some(asks),
        ..Flow::new(Work::Request, from, to, HTTP, ms)
    };
    let asked = match (plan.variant, plan.options.healthy) {
        (EXTERNAL, true) => vec![ask(Place::Outside, POD_A, by_port, 300)],
        // A stranger's probe may be meant to fail on a node without an endpoint; a node's own is not.
        (EXTERNAL, false) => vec![
            ask(Place::Node(B), POD_B, by_port, 300),
            // The node itself is led to any endpoint by the ClusterIP.
            ask(Place::Node(A), POD_B, by_address, 350),
        ],
        _ => vec![ask(POD_A, POD_B, by_address, 300)],
    };
    [everyday(), bulk(100_000), asked].concat()
}
