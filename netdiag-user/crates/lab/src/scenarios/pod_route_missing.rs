//! The route to the other node's pods is gone, as when somebody flushed it or BGP withdrew it:
//! what is meant for them follows the default route.
use std::net::Ipv6Addr;

use super::{Scenario, VXLAN_IP, everyday};
use crate::parts::Part;
use crate::plan::{A, B, Node, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "pod-route-missing",
    summary: "the route to the other node's pods is gone; packets leave by the default route",
    expected: &["pod-route-missing"],
    needs: VXLAN_IP,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    traffic: |_| everyday(),
    fixable: |plan| plan.variant == ROUTE_ONLY,
    takes: &[Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// The tunnel still knows node B's end of it.
const ROUTE_ONLY: u32 = 0;
/// Nothing is left but what flannel wrote when it started.
const FILE_ONLY: u32 = 2;

/// Where a third node's network is routed, nobody talks to it.
pub fn faults(plan: &Plan) -> Vec<Step> {
    let mut steps = match plan.variant {
        FILE_ONLY => vec![subnet_env(plan)],
        _ => third_node(plan),
    };
    if plan.options.healthy {
        return steps;
    }
    let peer = &plan.nodes[B];
    let networks = networks(peer);
    for (network, _) in &networks {
        steps.push(ip(plan, &["route", "del", network]));
    }
    if plan.variant != ROUTE_ONLY {
        for (_, end) in &networks {
            let device = &plan.tunnel.device;
            steps.push(ip(plan, &["neighbour", "del", end, "dev", device]));
        }
    }
    steps
}

fn networks(node: &Node) -> [(String, String); 2] {
    let (ipv4, ipv6) = (node.pods_ipv4, node.pods_ipv6);
    [
        (format!("{ipv4}/24"), ipv4.to_string()),
        (format!("{ipv6}/64"), ipv6.to_string()),
    ]
}

/// Its number in the pods' network lies above those of the two that are there.
fn third_node(plan: &Plan) -> Vec<Step> {
    let mut third = plan.nodes[B].clone();
    let [a, b, ..] = third.pods_ipv4.octets();
    third.pods_ipv4 = [a, b, 230, 0].into();
    let mut segments = third.pods_ipv6.segments();
    segments[3] = 230;
    third.pods_ipv6 = segments.into();
    let device = &plan.tunnel.device;
    let add = |(network, end): &(String, String)| {
        ip(
            plan,
            &["route", "add", network, "via", end, "dev", device, "onlink"],
        )
    };
    networks(&third).iter().map(add).collect()
}

/// What flannel's CNI plugin reads (flannel, pkg/subnet/subnet.go).
fn subnet_env(plan: &Plan) -> Step {
    let node = &plan.nodes[A];
    let [a, b, ..] = node.pods_ipv4.octets();
    let mut segments = node.pods_ipv6.segments();
    segments[3] = 0;
    let ipv6 = Ipv6Addr::from(segments);
    let file = format!("FLANNEL_NETWORK={a}.{b}.0.0/16\nFLANNEL_IPV6_NETWORK={ipv6}/48\n");
    let write = "mkdir -p {root}/run/flannel && cat > {root}/run/flannel/subnet.env";
    Step::Run {
        netns: node.netns.clone(),
        program: "sh",
        arguments: vec!["-c".to_owned(), write.to_owned()],
        input: file,
    }
}

fn ip(plan: &Plan, arguments: &[&str]) -> Step {
    let v6 = arguments.iter().any(|a| a.contains(':'));
    let family = if v6 { "-6" } else { "-4" };
    let arguments = [&[family], arguments].concat();
    Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "ip",
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        input: String::new(),
    }
}
