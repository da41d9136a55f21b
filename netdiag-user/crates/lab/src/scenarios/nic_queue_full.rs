//! Somebody shaped node A's uplink so tightly that its queue overflows.
use super::{POD_A, POD_B, Scenario, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "nic-queue-full",
    summary: "a shaper on the uplink has a short queue, and more is sent than it lets through",
    expected: &["nic-queue-full"],
    needs: &[Need::Veth, Need::Bridge, Need::Vxlan, Need::Tbf],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    traffic: |_| {
        let metrics = Work::Metrics { slow: false };
        let stream = Flow::new(metrics, POD_A, POD_B, 8125, 40);
        [everyday(), vec![stream]].concat()
    },
    fixable: |plan| plan.variant == BURSTS,
    takes: &[Part::Uplink, Part::Way],
    ..Scenario::BASE
};

/// The rate has room, and the queue none for twenty datagrams at once.
const BURSTS: u32 = 2;

/// Twenty datagrams of some 480 bytes each 40 ms are near 2 Mbit/s. The healthy twin is shaped as
/// well, with room to spare.
fn faults(plan: &Plan) -> Vec<Step> {
    let device = &plan.nodes[A].uplink;
    let (rate, limit) = match (plan.options.healthy, plan.variant) {
        (true, _) => ("100mbit", "1mb"),
        (false, 0) => ("800kbit", "6kb"),
        (false, BURSTS) => ("8mbit", "2kb"),
        (false, _) => ("500kbit", "4kb"),
    };
    let words = format!("qdisc replace dev {device} root tbf rate {rate} burst 5kb limit {limit}");
    vec![Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "tc",
        arguments: words.split(' ').map(str::to_owned).collect(),
        input: String::new(),
    }]
}
