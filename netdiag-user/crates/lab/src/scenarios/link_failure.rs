//! The switch's port of node A's uplink fails while traffic goes on: for good, or again and again.
use super::{Scenario, VXLAN, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;
use crate::timeline::Timeline;
use crate::topology::PORT_A;

pub const SCENARIO: Scenario = Scenario {
    name: "link-failure",
    summary: "the uplink loses its carrier while it is in use, or flaps",
    expected: &["link-failure"],
    needs: VXLAN,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    timeline,
    takes: &[Part::Uplink, Part::Way],
    stops: |plan| match plan.variant {
        FLAPPING => &[],
        _ => &[Part::Way],
    },
    ..Scenario::BASE
};

const FLAPPING: u32 = 1;
/// A moment after the first conversations.
const AFTER_MS: u64 = 1500;
const FLAP_MS: u64 = 400;
/// A bad plug rests and begins again: less than half of what a diagnosis takes.
const AGAIN_MS: u64 = 7_000;

/// In the healthy twin somebody moves the cable once.
fn timeline(plan: &Plan) -> Timeline {
    let changes = match (plan.options.healthy, plan.variant) {
        (true, _) => 2,
        (false, FLAPPING) => 6,
        (false, _) => 1,
    };
    let step = |n: u64| Step::Link {
        netns: plan.switches[A].clone(),
        device: PORT_A.to_owned(),
        up: n % 2 == 1,
    };
    let steps = (0..changes).map(|n| (AFTER_MS + n * FLAP_MS, step(n)));
    match (plan.options.healthy, plan.variant) {
        (false, FLAPPING) => Timeline::again(AGAIN_MS, steps.collect()),
        _ => Timeline::once(steps.collect()),
    }
}
