//! A tunnel whose table has an address of this very node for another node's end: what it wraps comes back at once, until its
//! hops are used up.
use netdiag_lang::t;

use super::{ID, conversations};
use crate::{
    model::{
        address::mac,
        node::{Fdb, Link},
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    pipeline::facts::Facts,
    shell,
    unexplained::{Symptom, Symptoms, grouped},
};

struct Own<'a> {
    tunnel: &'a Link,
    entry: &'a Fdb,
    all: Vec<&'a Symptom>,
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let circling = symptoms.circling(facts, findings).into_iter();
    let led = circling.filter_map(|symptom| {
        let (tunnel, entry) = entry(facts, symptom)?;
        Some((tunnel.index, (tunnel, entry, symptom)))
    });
    let tunnels = grouped(led).into_iter().map(|(_, led)| {
        let (tunnel, entry, _) = led[0];
        let all = led.iter().map(|(.., symptom)| *symptom).collect();
        Own { tunnel, entry, all }.finding(facts)
    });
    tunnels.collect()
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

impl Own<'_> {
    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let (name, own, whose) = (&self.tunnel.name, self.entry.vtep, mac(&self.entry.lladdr));
        let asked: u64 = self.all.iter().map(|c| c.asked).total();
        let (client, refer) = (self.all[0].client, self.all[0].refer());
        let summary = t!(
            "{name} sends what is for {whose} to {own}, which is an address of this very node: it comes back until its hops are used up; {client} asked {} {}: {asked} packets, unanswered",
            refer.protocol,
            refer.destination
        );
        let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
        let text = t!("the entry of {name} for {whose} leads to {own}, an address of this node");
        let mut line = Evidence::new(EvidenceKind::Fdb, Origin::Configured, text);
        line.confirm = Some(shell!("bridge fdb show dev {}", name).showing(&[&own.to_string()]));
        finding.evidence.push(line);
        let mut line = Evidence::new(
            EvidenceKind::Link,
            Origin::Configured,
            t!("{own} is an address of this node"),
        );
        line.confirm = Some(shell!("ip address show to {}", own).showing(&[&own.to_string()]));
        finding.evidence.push(line);
        conversations(facts, &mut finding, &self.all);
        finding.blames(Subject::Vtep { address: own });
        finding.fix = Fix {
            summary: t!(
                "find out which node announces {own} as its own (an agent that detects its address took a bridge's or a dummy's, which every node has), let it take that of its NIC, and restart it; every node's tunnel then gets the right entry"
            ),
            commands: vec![
                shell!("bridge fdb show dev {}", name),
                shell!("kubectl get nodes -o wide"),
            ],
        };
        finding
    }
}

#[cfg(test)]
mod tests;
