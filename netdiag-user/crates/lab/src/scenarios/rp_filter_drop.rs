//! A host has two ways to node A and sends by the one from the address of the other. The node's
//! own way back leads elsewhere, and its strict reverse-path filter drops the packet.
use std::net::Ipv4Addr;

use super::{HTTP, POD_A, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Place, Plan, Second};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "rp-filter-drop",
    summary: "strict reverse-path filtering drops packets whose way back is another link",
    expected: &["rp-filter-drop"],
    no_ipv6: Some("needs IPv4: the kernel has no rp_filter for IPv6"),
    shape,
    late,
    traffic,
    fixable: |_| true,
    takes: &[Part::SecondNic],
    // A full table takes packets before the filter sees them.
    relies_on: &[Part::Connections, Part::Conntrack],
    ..Scenario::BASE
};

fn shape(plan: &mut Plan) {
    let subnet = plan.rng.byte(1, 250);
    let device = plan
        .rng
        .pick(&["eth1", "ens6", "storage0", "enp2s0"])
        .to_owned();
    let [node, outside] = [2, 3].map(|host| Ipv4Addr::new(10, 250, subnet, host));
    plan.second = Some(Second {
        device,
        node,
        outside,
    });
    // Loose filtering only asks for any way back, and there is one.
    plan.nodes[A].rp_filter = if plan.options.healthy { 2 } else { 1 };
}

/// Both are asked, and the larger one counts.
fn late(plan: &Plan) -> Vec<Step> {
    let node = &plan.nodes[A];
    let second = plan.second.iter().map(|it| &it.device);
    let links = [&node.uplink, &plan.bridge, &plan.tunnel.device];
    let each = links.into_iter().chain(second).map(String::as_str);
    let all = each.chain(["all"]).map(|link| Step::Sysctl {
        netns: node.netns.clone(),
        key: format!("net/ipv4/conf/{link}/rp_filter"),
        value: node.rp_filter.to_string(),
    });
    all.collect()
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let source = plan.second.as_ref().map(|second| second.outside.into());
    let crooked = [200, 300].map(|ms| Flow {
        source,
        ..Flow::new(Work::Request, Place::Outside, POD_A, HTTP, ms)
    });
    [everyday(), bulk(100_000), crooked.to_vec()].concat()
}
