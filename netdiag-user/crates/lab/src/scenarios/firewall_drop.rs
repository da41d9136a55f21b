//! A rule on the node drops what one application sends; all else goes through.
use super::{POD_A, POD_B, Scenario, VXLAN_NFT, bulk, everyday};
use crate::nft::{Chain, End};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "firewall-drop",
    summary: "an nftables rule on the node drops one application's connections",
    expected: &["firewall-drop"],
    fixable: |_| true,
    needs: VXLAN_NFT,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic: |plan| {
        let (from, to) = ends(plan);
        let blocked = [200, 300].map(|ms| Flow::new(Work::Request, from, to, port(plan), ms));
        [everyday(), bulk(100_000), blocked.to_vec()].concat()
    },
    takes: &[Part::Firewall, Part::Database],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// Either direction crosses node A's forward hook.
fn ends(plan: &Plan) -> (Place, Place) {
    if plan.variant == 0 {
        (POD_A, POD_B)
    } else {
        (POD_B, POD_A)
    }
}

fn port(plan: &Plan) -> u16 {
    let ports = [5432, 3306, 6379, 443, 27017];
    ports[plan.options.seed as usize % ports.len()]
}

/// The healthy twin has the same rule for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let port = if plan.options.healthy { 1 } else { port(plan) };
    let chain = Chain::dropping(libc::IPPROTO_TCP as u8, End::To, port);
    vec![Step::Firewall {
        netns: plan.nodes[A].netns.clone(),
        chain,
    }]
}
