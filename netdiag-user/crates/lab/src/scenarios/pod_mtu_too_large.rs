//! The pods believe in a larger MTU than the tunnel that their traffic leaves by. The node says
//! so with "fragmentation needed". Where the pods obey, every transfer to a new destination loses
//! its first packets; where they do not hear it, large transfers hang.
use super::{Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::Plan;
use crate::traffic::{Flow, Pmtu};

pub const SCENARIO: Scenario = Scenario {
    name: "pod-mtu-too-large",
    summary: "the pods' MTU is larger than that of the tunnel which their traffic leaves by",
    expected: &["pod-mtu-too-large"],
    shape,
    late: super::resized,
    traffic,
    fixable: |_| true,
    takes: &[Part::Uplink, Part::Tunnel],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

fn shape(plan: &mut Plan) {
    let (uplink, too_large) =
        plan.rng
            .pick(&[(1500, 1500), (1450, 1450), (1450, 1500), (1500, 1480)]);
    plan.mtu.uplink = uplink;
    plan.mtu.tunnel = uplink - 50;
    plan.mtu.pod = if plan.options.healthy {
        plan.mtu.tunnel
    } else {
        too_large
    };
    plan.deaf = !plan.options.healthy && plan.form() % 3 < 2;
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    // IPv6 senders have nothing that could be flushed, so there the incident only lasts when
    // they do not listen.
    let pmtu = match (plan.options.healthy, plan.deaf || plan.options.ipv6) {
        (true, _) => Pmtu::Obeys,
        (false, true) => Pmtu::Ignores,
        (false, false) => Pmtu::Forgets,
    };
    let large = bulk(300_000).into_iter().map(|flow| Flow { pmtu, ..flow });
    everyday().into_iter().chain(large).collect()
}
