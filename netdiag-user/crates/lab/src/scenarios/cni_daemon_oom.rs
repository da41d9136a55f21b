//! A daemon of the network grows beyond its memory limit, in a real cgroup, and the kernel kills
//! it, once or again and again.
use super::{Scenario, bulk, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::timeline::Timeline;

pub const SCENARIO: Scenario = Scenario {
    name: "cni-daemon-oom",
    summary: "a daemon of the network outgrows its memory limit and is killed",
    expected: &["cni-daemon-oom"],
    needs: &[Need::Veth, Need::Bridge, Need::Vxlan, Need::MemoryCgroup],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    timeline,
    takes: &[Part::Cgroup],
    ..Scenario::BASE
};

/// Started anew, it grows again: less than a diagnosis takes.
const AGAIN_MS: u64 = 12_000;

/// In the healthy twin nobody is killed.
fn timeline(plan: &Plan) -> Timeline {
    if plan.options.healthy {
        return Timeline::default();
    }
    // The node's own daemons, and one that runs in a pod.
    let (name, place) = match plan.variant {
        0 => ("flanneld", Place::Node(A)),
        1 => ("coredns", Place::Pod(A, 1)),
        _ => ("kube-proxy", Place::Node(A)),
    };
    let sizes = [24, 32, 48];
    let limit = sizes[plan.options.seed as usize % sizes.len()] << 20;
    let kill = |after| {
        let netns = plan.netns(place).to_owned();
        let name = name.to_owned();
        (after, Step::OutOfMemory { netns, name, limit })
    };
    let kills = match plan.variant {
        1 => vec![kill(800)],
        _ => vec![kill(800), kill(1500)],
    };
    Timeline::again(AGAIN_MS, kills)
}
