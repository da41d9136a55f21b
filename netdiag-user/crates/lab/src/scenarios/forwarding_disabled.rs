//! Node A forwards until something resets the sysctl, for all links or for the pods' alone.
use super::{Scenario, VXLAN, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;
use crate::timeline::Timeline;

pub const SCENARIO: Scenario = Scenario {
    name: "forwarding-disabled",
    summary: "a sysctl that was reset stops the node from forwarding its pods' packets",
    expected: &["forwarding-disabled"],
    fixable: |_| true,
    needs: VXLAN,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    timeline,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    takes: &[Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

const ALL_LINKS: u32 = 0;
/// A moment after the first conversations.
const AFTER_MS: u64 = 500;

/// The healthy twin switches on what is on.
fn timeline(plan: &Plan) -> Timeline {
    let key = match (plan.options.ipv6, plan.variant) {
        (true, _) => "net/ipv6/conf/all/forwarding".to_owned(),
        (false, ALL_LINKS) => "net/ipv4/ip_forward".to_owned(),
        (false, _) => format!("net/ipv4/conf/{}/forwarding", plan.bridge),
    };
    let value = if plan.options.healthy { "1" } else { "0" };
    let step = Step::Sysctl {
        netns: plan.nodes[A].netns.clone(),
        key,
        value: value.to_owned(),
    };
    Timeline::once(vec![(AFTER_MS, step)])
}
