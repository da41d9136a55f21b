//! A pod of a Service is gone, and the node's rules still send connections to its address.
use std::net::{IpAddr, SocketAddr};

use super::{HTTP, KUBE_PROXY, POD_A, POD_B, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Service};
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "service-stale-endpoint",
    summary: "kube-proxy's rules name a backend whose pod is gone",
    expected: &["service-stale-endpoint"],
    needs: KUBE_PROXY,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic,
    takes: &[Part::Services],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

const PORT: u16 = 80;

/// A pod that is there, and one that was: on this node or on the other.
fn service(plan: &Plan) -> Service {
    let mut backends = vec![(plan.address(POD_B), HTTP)];
    if !plan.options.healthy {
        backends.push((vacant(plan), HTTP));
    }
    Service {
        namespace: plan.nodes[B].pods[0].namespace.clone(),
        name: "web".to_owned(),
        protocol: "tcp",
        address: plan.cluster_ip(77),
        port: PORT,
        node_port: None,
        backends,
    }
}

/// Pods have host numbers up to 219.
fn vacant(plan: &Plan) -> IpAddr {
    let node = &plan.nodes[[A, B][plan.variant as usize]];
    if plan.options.ipv6 {
        let [a, b, c, d, ..] = node.pods_ipv6.segments();
        return IpAddr::from([a, b, c, d, 0, 0, 0, 231]);
    }
    let [a, b, c, _] = node.pods_ipv4.octets();
    IpAddr::from([a, b, c, 231])
}

fn faults(plan: &Plan) -> Vec<Step> {
    let (mode, all) = (plan.proxy_mode(), [service(plan)]);
    [A, B]
        .map(|node| kube_proxy::sync(plan, &plan.nodes[node], mode, &all))
        .to_vec()
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let service = service(plan);
    let asked = [150, 250, 350].map(|ms| Flow {
        asks: Some(SocketAddr::new(service.address, service.port)),
        ..Flow::new(Work::Request, POD_A, POD_B, HTTP, ms)
    });
    [everyday(), bulk(100_000), asked.to_vec()].concat()
}
