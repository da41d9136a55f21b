//! A next hop behind which nobody answers anybody, and whose neighbour entry somebody made: this node does not ask any more
//! whose it is, and whoever had that link-layer address may be gone.
use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::mac,
        journal::Thing,
        node::Neighbour,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
    unexplained::Symptoms,
};

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    each(facts, symptoms.by_hand(facts, findings), tell)
}

fn tell(case: &Case<'_, '_>, entry: &Neighbour) -> Option<Story> {
    let (address, lladdr) = (entry.address, mac(entry.lladdr.as_deref()?));
    let link = case.facts.node.link_name(entry.ifindex);
    let (client, what, asked) = (case.client, &case.what, case.asked);
    let summary = t!(
        "nobody behind {address} ({link}) answers anybody, and its neighbour entry is one that somebody made: {lladdr}; {client} asked {what}: {asked} times, unanswered"
    );
    let text = t!("the entry of {address} on {link} is permanent: {lladdr}");
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
    let shown = shell!(
        "ip neighbour show nud permanent to {} dev {}",
        address,
        link
    );
    line.confirm = Some(shown.showing(&[&lladdr]));
    let fix = Fix {
        summary: t!(
            "delete the entry, so that this node asks on {link} whose {address} is; find out who made it: whoever had {lladdr} may be gone"
        ),
        commands: vec![shell!("ip neighbour del {} dev {}", address, link)],
    };
    let entry = Thing::Neighbour { link, address };
    Some(Story::suspected(summary, [line.of([entry])], fix))
}
