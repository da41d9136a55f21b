//! A next hop behind which nobody answers anybody, and whose neighbour entry somebody made: this node does not ask any more
//! whose it is, and whoever had that link-layer address may be gone.
use netdiag_lang::t;

use super::{ID, conversations};
use crate::{
    model::{
        address::mac,
        journal::Thing,
        node::Neighbour,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::Facts,
    shell,
    unexplained::{Symptom, Symptoms, grouped},
};

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let entries = grouped(symptoms.by_hand(facts, findings)).into_iter();
    let told = entries.filter_map(|(entry, all)| finding(facts, entry, &all));
    told.collect()
}

fn finding(facts: &Facts<'_>, entry: &Neighbour, all: &[&Symptom]) -> Option<Finding> {
    let (address, lladdr) = (entry.address, mac(entry.lladdr.as_deref()?));
    let link = facts.node.link_name(entry.ifindex);
    let asked: u64 = all.iter().map(|c| c.asked).total();
    let (client, refer) = (all[0].client, all[0].refer());
    let summary = t!(
        "nobody behind {address} ({link}) answers anybody, and its neighbour entry is one that somebody made: {lladdr}; {client} asked {} {}: {asked} times, unanswered",
        refer.protocol,
        refer.destination
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Suspected, summary);
    let text = t!("the entry of {address} on {link} is permanent: {lladdr}");
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
    let shown = shell!(
        "ip neighbour show nud permanent to {} dev {}",
        address,
        link
    );
    line.confirm = Some(shown.showing(&[&lladdr]));
    finding.evidence.push(line.of([Thing::Neighbour {
        link: link.clone(),
        address,
    }]));
    conversations(facts, &mut finding, all);
    finding.fix = Fix {
        summary: t!(
            "delete the entry, so that this node asks on {link} whose {address} is; find out who made it: whoever had {lladdr} may be gone"
        ),
        commands: vec![shell!("ip neighbour del {} dev {}", address, link)],
    };
    Some(finding)
}
