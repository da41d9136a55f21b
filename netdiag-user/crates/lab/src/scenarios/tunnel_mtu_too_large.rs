//! A GRE tunnel was given its uplink's own MTU. The outer header and the key take 28 bytes; "don't
//! fragment" is copied, the node drops what has become too large, and the pods do not hear of it.
use super::{Scenario, everyday_and_large, tunnel_over};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{Kind, Plan};

pub const SCENARIO: Scenario = Scenario {
    name: "tunnel-mtu-too-large",
    summary: "a GRE device's MTU leaves no room for the outer header and the key",
    topology: Kind::Gre,
    expected: &["tunnel-mtu-too-large"],
    needs: &[Need::Veth, Need::Bridge, Need::Gre],
    shape,
    late: super::resized,
    traffic: everyday_and_large,
    fixable: |_| true,
    takes: &[Part::Uplink, Part::Tunnel],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// What the outer IPv4 header (20), GRE's (4) and its key (4) take.
const OVERHEAD: u32 = 28;

fn shape(plan: &mut Plan) {
    let (uplink, too_large) =
        plan.rng
            .pick(&[(1450, 1450), (1500, 1500), (1500, 1476), (1400, 1440)]);
    tunnel_over(plan, uplink, OVERHEAD, too_large);
}
