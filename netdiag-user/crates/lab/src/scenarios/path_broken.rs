//! A pod's address is node A's own, too, as when somebody keeps a virtual address on the wrong host: the node takes what
//! the pod sends for forged, by a rule of the kernel's that no filter shows.
use super::{Scenario, VXLAN_IP, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;
use crate::timeline::Timeline;

pub const SCENARIO: Scenario = Scenario {
    name: "path-broken",
    summary: "a pod's address is the node's own, too: what the pod sends is taken for forged",
    expected: &["path-broken"],
    needs: VXLAN_IP,
    no_ipv6: Some("needs IPv4: IPv6 takes packets in with this host's own source"),
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    timeline,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |_| true,
    takes: &[Part::Way, Part::Connections],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// Form 0: on loopback, while conversations go on.
const UPLINK: u32 = 1;
/// Before the pod asks for its gateway.
const FIRST: u32 = 2;
/// A moment after the first conversations.
const AFTER_MS: u64 = 500;

fn address(plan: &Plan) -> Step {
    let node = &plan.nodes[A];
    let device = match plan.variant {
        UPLINK => node.uplink.as_str(),
        _ => "lo",
    };
    // One that nobody has beside the pods' is nobody's fault.
    let own = match plan.options.healthy {
        true => {
            let [a, b, c, _] = node.pods_ipv4.octets();
            [a, b, c, 250].into()
        }
        false => node.pods[0].ipv4,
    };
    Step::Run {
        netns: node.netns.clone(),
        program: "ip",
        arguments: ["address", "add", &format!("{own}/32"), "dev", device]
            .map(str::to_owned)
            .to_vec(),
        input: String::new(),
    }
}

fn faults(plan: &Plan) -> Vec<Step> {
    let first = plan.variant == FIRST;
    first.then(|| address(plan)).into_iter().collect()
}

fn timeline(plan: &Plan) -> Timeline {
    match plan.variant {
        FIRST => Timeline::default(),
        _ => Timeline::once(vec![(AFTER_MS, address(plan))]),
    }
}
