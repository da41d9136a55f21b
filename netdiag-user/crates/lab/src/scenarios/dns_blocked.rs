//! A rule on the node drops the pods' DNS queries: the firewall is the cause, and names that do
//! not resolve are what comes of it.
use super::{Scenario, VXLAN_NFT, bulk, everyday};
use crate::nft::{Chain, End};
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;
use crate::traffic::DNS_PORT;

pub const SCENARIO: Scenario = Scenario {
    name: "dns-blocked",
    summary: "an nftables rule on the node drops DNS queries, or their answers",
    expected: &["firewall-drop"],
    needs: VXLAN_NFT,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |_| true,
    takes: &[Part::Firewall, Part::NameServer],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// The healthy twin has the same rule for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let port = if plan.options.healthy { 1 } else { DNS_PORT };
    // Queries by where they go, answers by where they come from.
    let end = if plan.variant == 0 {
        End::To
    } else {
        End::From
    };
    let chain = Chain::dropping(libc::IPPROTO_UDP as u8, end, port);
    vec![Step::Firewall {
        netns: plan.nodes[A].netns.clone(),
        chain,
    }]
}
