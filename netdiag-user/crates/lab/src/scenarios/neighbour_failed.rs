//! The way to node B's pods is known, the neighbour on it is not: one of the two entries that the
//! overlay needs is missing, or node B is gone.
use super::{Scenario, VXLAN, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "neighbour-failed",
    summary: "the overlay lacks an entry for the other node, or the other node is gone",
    expected: &["neighbour-failed"],
    needs: VXLAN,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |plan| plan.variant != HOST_GONE,
    takes: &[Part::Uplink, Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// Form 0: the peer's lease was never entered as a neighbour.
const NO_FORWARDING: u32 = 1;
const HOST_GONE: u32 = 2;

fn faults(plan: &Plan) -> Vec<Step> {
    if plan.options.healthy {
        return Vec::new();
    }
    let peer = &plan.nodes[B];
    let (netns, device) = (plan.nodes[A].netns.clone(), plan.tunnel.device.clone());
    let step = match plan.variant {
        HOST_GONE => Step::Link {
            netns: peer.netns.clone(),
            device: peer.uplink.clone(),
            up: false,
        },
        NO_FORWARDING => Step::NoForwarding {
            netns,
            device,
            mac: peer.tunnel_mac,
        },
        _ => Step::NoNeighbour {
            netns,
            device,
            ip: if plan.options.ipv6 {
                peer.pods_ipv6.into()
            } else {
                peer.pods_ipv4.into()
            },
        },
    };
    vec![step]
}
