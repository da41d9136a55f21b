//! Node A has no way to the other node's pods: its routes were flushed, or one refuses. Neighbours
//! on the same network are reached all the same.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Scenario, VXLAN, bulk, everyday};
use crate::net::Refusal;
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::timeline::Timeline;

pub const SCENARIO: Scenario = Scenario {
    name: "no-route",
    summary: "the node's routes to the other pods were flushed, or refuse them",
    expected: &["no-route"],
    needs: VXLAN,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    timeline,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |_| true,
    takes: &[Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// As after a restart of the daemon that manages the links: the default route went as well.
const FLUSHED: u32 = 0;
const UNREACHABLE: u32 = 1;

/// A moment after the first conversations.
const AFTER_MS: u64 = 500;

fn timeline(plan: &Plan) -> Timeline {
    if plan.options.healthy {
        return Timeline::default();
    }
    let peer = &plan.nodes[B];
    let (pods, any): ((IpAddr, u8), IpAddr) = if plan.options.ipv6 {
        ((peer.pods_ipv6.into(), 64), Ipv6Addr::UNSPECIFIED.into())
    } else {
        ((peer.pods_ipv4.into(), 24), Ipv4Addr::UNSPECIFIED.into())
    };
    let netns = || plan.nodes[A].netns.clone();
    let steps = match plan.variant {
        FLUSHED => [pods, (any, 0)]
            .map(|to| Step::Unroute { netns: netns(), to })
            .to_vec(),
        form => {
            let refusal = if form == UNREACHABLE {
                Refusal::Unreachable
            } else {
                Refusal::Prohibit
            };
            let replaced = Step::Unroute {
                netns: netns(),
                to: pods,
            };
            vec![
                replaced,
                Step::Refuse {
                    netns: netns(),
                    to: pods,
                    refusal,
                },
            ]
        }
    };
    let steps = steps.into_iter().map(|step| (AFTER_MS, step));
    Timeline::once(steps.collect())
}
