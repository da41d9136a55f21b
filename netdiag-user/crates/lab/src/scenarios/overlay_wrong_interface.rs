//! Node A has a second NIC, to the internet and with the default route, and the tunnel took that
//! one. Its packets leave with an address that the other nodes' network does not know; the answers
//! go to a gateway that passes nothing on.
use std::net::Ipv4Addr;

use super::{Scenario, VXLAN_IP, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Plan, Second};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "overlay-wrong-interface",
    summary: "the tunnel uses the default route's NIC and not the one to the other nodes",
    expected: &["overlay-wrong-interface"],
    needs: VXLAN_IP,
    shape,
    faults: default_route,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    takes: &[Part::Tunnel, Part::Way, Part::SecondNic],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

fn shape(plan: &mut Plan) {
    let subnet = plan.rng.byte(1, 250);
    let device = plan
        .rng
        .pick(&["wan0", "ens3", "enp3s0", "public"])
        .to_owned();
    let [node, outside] = [2, 1].map(|host| Ipv4Addr::new(59, 110, subnet, host));
    let a = &mut plan.nodes[A];
    a.told = Some(a.ipv4.into());
    if !plan.options.healthy {
        a.tunnel_on_second = true;
        a.local = node.into();
        // Node B knows the address that flannel announced here.
        a.known_as = node.into();
    }
    plan.second = Some(Second {
        device,
        node,
        outside,
    });
}

/// In the healthy twin as well: pods' own traffic to the world leaves there.
fn default_route(plan: &Plan) -> Vec<Step> {
    let Some(second) = &plan.second else {
        return Vec::new();
    };
    let gateway = second.outside.to_string();
    let arguments = [
        "route",
        "replace",
        "default",
        "via",
        &gateway,
        "dev",
        &second.device,
    ];
    vec![Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "ip",
        arguments: arguments.map(str::to_owned).into(),
        input: String::new(),
    }]
}
