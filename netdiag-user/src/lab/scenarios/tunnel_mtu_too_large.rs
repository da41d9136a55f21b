//! A GRE tunnel was given its uplink's own MTU. The outer header and the key take 28 bytes; "don't
//! fragment" is copied, the node drops what has become too large, and the pods do not hear of it.
use super::{Scenario, bulk, everyday};
use crate::lab::needs::Need;
use crate::lab::plan::{Kind, Plan};
use crate::lab::traffic::{Flow, Pmtu};

pub const SCENARIO: Scenario = Scenario {
    name: "tunnel-mtu-too-large",
    summary: "a GRE device's MTU leaves no room for the outer header and the key",
    topology: Kind::Gre,
    expected: &["tunnel-mtu-too-large"],
    needs: &[Need::Veth, Need::Bridge, Need::Gre],
    shape,
    traffic,
    fixable: |_| true,
    ..Scenario::BASE
};

/// What the outer IPv4 header (20), GRE's (4) and its key (4) take.
const OVERHEAD: u32 = 28;

fn shape(plan: &mut Plan) {
    let (uplink, too_large) =
        plan.rng
            .pick(&[(1450, 1450), (1500, 1500), (1500, 1476), (1400, 1440)]);
    let tunnel = if plan.options.healthy {
        uplink - OVERHEAD
    } else {
        too_large
    };
    plan.mtu.uplink = uplink;
    plan.mtu.tunnel = tunnel;
    plan.mtu.pod = tunnel;
    plan.deaf = !plan.options.healthy;
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let pmtu = if plan.deaf {
        Pmtu::Ignores
    } else {
        Pmtu::Obeys
    };
    let large = bulk(300_000).into_iter().map(|flow| Flow { pmtu, ..flow });
    everyday().into_iter().chain(large).collect()
}
