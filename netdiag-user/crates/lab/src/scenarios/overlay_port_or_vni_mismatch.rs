//! Node B's tunnel was made with another VNI, or for another port, than node A's.
use super::{Scenario, VXLAN, bulk, everyday};
use crate::parts::Part;
use crate::plan::{B, Plan};

pub const SCENARIO: Scenario = Scenario {
    name: "overlay-port-or-vni-mismatch",
    summary: "the two ends of the tunnel use different VNIs or ports",
    expected: &["overlay-port-or-vni-mismatch"],
    needs: VXLAN,
    shape,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    observer: |plan| plan.options.seed as usize % 2,
    takes: &[Part::Tunnel, Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// What IPv6 underneath takes from the tunnel's MTU.
const OVERHEAD: u32 = 70;

fn shape(plan: &mut Plan) {
    plan.variant = (plan.form() % 2) as u32;
    if plan.options.ipv6 {
        plan.ipv6_underlay();
        plan.mtu.tunnel = plan.mtu.uplink - OVERHEAD;
        plan.mtu.pod = plan.mtu.tunnel;
    }
    if plan.options.healthy {
        return;
    }
    let (vni, port) = (plan.tunnel.vni, plan.tunnel.port);
    let other = if port == 4789 { 8472 } else { 4789 };
    plan.nodes[B].overlay = Some(match plan.variant {
        0 => (vni + 1, port),
        _ => (vni, other),
    });
}
