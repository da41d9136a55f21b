//! The whole of an incident: the name server's pod is on a node whose pods are not routed, lookups
//! vanish, a sidecar does not find its control plane, and health checks are refused.
use super::Scenario;
use super::pod_route_missing;
use super::sidecar_blocked::{SIDECAR, daemons, led, traffic};
use crate::parts::Part;

pub const SCENARIO: Scenario = Scenario {
    name: "sidecar-without-dns",
    summary: "no route to the name server's pod, so that a sidecar never opens its ports",
    expected: &["pod-route-missing"],
    leads_to: &["dns-unreachable", "sidecar-blocked"],
    needs: SIDECAR,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults: |plan| {
        let mut steps = pod_route_missing::faults(plan);
        steps.push(led(plan));
        steps
    },
    traffic: |plan| traffic(plan, true),
    daemons: |plan| daemons(plan, true),
    takes: &[Part::Pod, Part::Connections, Part::NameServer, Part::Way],
    ..Scenario::BASE
};
