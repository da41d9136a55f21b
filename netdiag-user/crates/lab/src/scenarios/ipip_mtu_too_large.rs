//! Calico's tunl0 believes in an MTU that its uplink cannot carry: a 1450-byte packet becomes
//! one of 1470 on a link of 1450. The outer header copies "don't fragment", so it is dropped; the
//! pods do not hear of it, and large transfers hang.
use super::{Scenario, everyday_and_large, tunnel_over};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{Kind, Plan};

pub const SCENARIO: Scenario = Scenario {
    name: "ipip-mtu-too-large",
    summary: "tunl0's MTU leaves no room for the outer header: 1450 bytes become 1470",
    topology: Kind::Ipip,
    expected: &["ipip-mtu-too-large"],
    needs: &[Need::Veth, Need::Bridge, Need::Ipip],
    no_ipv6: Some("needs IPv4: an IPIP tunnel carries no IPv6"),
    shape,
    late: super::resized,
    traffic: everyday_and_large,
    fixable: |_| true,
    takes: &[Part::Uplink, Part::Tunnel],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// The usual mistake is to give the tunnel the uplink's own MTU; 20 bytes go to the outer header.
fn shape(plan: &mut Plan) {
    let (uplink, too_large) =
        plan.rng
            .pick(&[(1450, 1450), (1450, 1450), (1500, 1500), (1400, 1440)]);
    tunnel_over(plan, uplink, 20, too_large);
}
