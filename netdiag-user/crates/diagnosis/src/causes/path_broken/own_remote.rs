//! A tunnel whose table has an address of this very node for another node's end: what it wraps comes back at once, until its
//! hops are used up.
use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::mac,
        node::{Fdb, Link},
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Subject},
    },
    pipeline::facts::Facts,
    shell,
    unexplained::{Symptom, Symptoms},
};

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let circling = symptoms.circling(facts, findings).into_iter();
    let led = circling.filter_map(|symptom| Some((entry(facts, symptom)?, symptom)));
    each(facts, led, |case, (tunnel, entry)| {
        tell(case, tunnel, entry)
    })
}

/// The tunnel that it left by, and its entry that leads to this node; that of the next hop, where it is known.
fn entry<'a>(facts: &Facts<'a>, symptom: &Symptom) -> Option<(&'a Link, &'a Fdb)> {
    let name = symptom.circles.as_ref()?;
    let mut links = facts.node.links.iter();
    let tunnel = links.find(|l| l.name == *name && l.is_tunnel())?;
    let way = facts.way(&facts.from_node(symptom.far()));
    let next = way.and_then(|way| way.gateway);
    let mut entries = facts.node.neighbours.iter();
    let known = entries.find(|n| n.ifindex == tunnel.index && Some(n.address) == next);
    let wanted = known.and_then(|n| n.lladdr.as_ref());
    let own = |f: &&Fdb| {
        let next = wanted.is_none_or(|mac| *mac == f.lladdr);
        f.ifindex == tunnel.index && next && facts.owns(f.vtep)
    };
    let entry = facts.node.fdb.iter().find(own)?;
    Some((tunnel, entry))
}

fn tell(case: &Case<'_, '_>, tunnel: &Link, entry: &Fdb) -> Story {
    let (name, own, whose) = (&tunnel.name, entry.vtep, mac(&entry.lladdr));
    let (client, what, asked) = (case.client, &case.what, case.asked);
    let summary = t!(
        "{name} sends what is for {whose} to {own}, which is an address of this very node: it comes back until its hops are used up; {client} asked {what}: {asked} packets, unanswered"
    );
    let line = |kind, text| Evidence::new(kind, Origin::Configured, text);
    let text = t!("the entry of {name} for {whose} leads to {own}, an address of this node");
    let mut leads = line(EvidenceKind::Fdb, text);
    leads.confirm = Some(shell!("bridge fdb show dev {}", name).showing(&[&own.to_string()]));
    let mut has = line(EvidenceKind::Link, t!("{own} is an address of this node"));
    has.confirm = Some(shell!("ip address show to {}", own).showing(&[&own.to_string()]));
    Story {
        confidence: Confidence::Confirmed,
        summary,
        evidence: vec![leads, has],
        blames: Some((Subject::Vtep { address: own }, None)),
        fix: Fix {
            summary: t!(
                "find out which node announces {own} as its own (an agent that detects its address took a bridge's or a dummy's, which every node has), let it take that of its NIC, and restart it; every node's tunnel then gets the right entry"
            ),
            commands: vec![
                shell!("bridge fdb show dev {}", name),
                shell!("kubectl get nodes -o wide"),
            ],
        },
    }
}

#[cfg(test)]
mod tests;
