//! Two nodes on one cable, and a rule that drops what goes to one port: where `lab bench`
//! measures. No incident, so it is not listed.
use super::{Scenario, VXLAN_NFT};
use crate::bench::STORM_PORT;
use crate::nft::{Chain, End};
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "bench",
    summary: "floods through an overlay, and a rule that drops some of them",
    needs: VXLAN_NFT,
    shape: |plan| plan.direct = true,
    faults,
    traffic: |_| Vec::new(),
    ..Scenario::BASE
};

fn faults(plan: &Plan) -> Vec<Step> {
    let chain = Chain::dropping(libc::IPPROTO_UDP as u8, End::To, STORM_PORT);
    vec![Step::Firewall {
        netns: plan.nodes[A].netns.clone(),
        chain,
    }]
}
