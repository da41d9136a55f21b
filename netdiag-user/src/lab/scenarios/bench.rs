//! Two nodes on one cable, and a rule that drops what goes to one port: where `lab bench`
//! measures. No incident, so it is not listed.
use super::{Scenario, VXLAN_NFT};
use crate::lab::bench::STORM_PORT;
use crate::lab::nft::{Action, Chain, Hook, Rule, Test};
use crate::lab::plan::{A, Plan};
use crate::lab::step::Step;

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
    let rule = Rule {
        tests: vec![
            Test::Transport(libc::IPPROTO_UDP as u8),
            Test::Payload {
                offset: 2,
                value: STORM_PORT.to_be_bytes().into(),
            },
        ],
        action: Action::Drop,
    };
    let chain = Chain {
        table: "filter".to_owned(),
        hook: Hook::Forward,
        rules: vec![rule],
    };
    vec![Step::Firewall {
        netns: plan.nodes[A].netns.clone(),
        chain,
    }]
}
