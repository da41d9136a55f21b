//! A rule on the node drops the pods' DNS queries: the firewall is the cause, and names that do
//! not resolve are what comes of it.
use super::{Scenario, VXLAN_NFT, bulk, everyday};
use crate::lab::nft::{Action, Chain, Hook, Rule, Test};
use crate::lab::plan::{A, Plan};
use crate::lab::step::Step;
use crate::lab::traffic::DNS_PORT;

pub const SCENARIO: Scenario = Scenario {
    name: "dns-blocked",
    summary: "an nftables rule on the node drops DNS queries, or their answers",
    expected: &["firewall-drop"],
    needs: VXLAN_NFT,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    ..Scenario::BASE
};

/// The healthy twin has the same rule for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let port = if plan.options.healthy { 1 } else { DNS_PORT };
    let rule = Rule {
        tests: vec![
            Test::Transport(libc::IPPROTO_UDP as u8),
            Test::Payload {
                // Source port of answers, destination port of queries.
                offset: if plan.variant == 0 { 2 } else { 0 },
                value: port.to_be_bytes().into(),
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
