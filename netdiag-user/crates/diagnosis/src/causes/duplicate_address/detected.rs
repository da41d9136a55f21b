//! An address that the kernel asked for before it used it, and that somebody has already: whoever was given it later does not
//! use it (RFC 4862, 5.4; `dadfailed`).
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::is_link_local,
        gather::Want,
        node::{Link, PodSide},
        pod::label,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
        world::address::Flags,
    },
    pipeline::facts::Facts,
    shell,
};

/// Pods of a reading that are asked.
const ASKED: usize = 8;
/// What more have is each one's own, as inner bridges have theirs.
const HOLDERS: usize = 4;

/// A pod here, and its link on this node.
type End<'a> = (&'a PodSide, &'a Link);

/// What the namespaces of two pods on one bridge say of an address that both have.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let twice = twice(facts).into_values().flatten();
    let asked = twice.map(|(side, _)| Want::Stack(side.netns));
    asked.take(ASKED).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let told = twice(facts).into_iter().filter_map(|(address, ends)| {
        let failed = |(side, _): &End<'_>| has_failed(facts, side, address);
        let without = *ends.iter().find(|end| failed(end) == Some(true))?;
        let with = *ends.iter().find(|end| failed(end) == Some(false))?;
        Some(finding(facts, address, without, with))
    });
    told.collect()
}

/// Of IPv6, which alone looks before it uses an address.
fn twice<'a>(facts: &Facts<'a>) -> BTreeMap<IpAddr, Vec<End<'a>>> {
    let mut all: BTreeMap<IpAddr, Vec<End<'_>>> = BTreeMap::new();
    for link in facts.node.links.iter().filter(|l| l.master.is_some()) {
        let side = link.peer_netns.and_then(|netns| facts.node.pod_side(netns));
        for address in side.into_iter().flat_map(|side| &side.addresses) {
            let ends = all.entry(*address).or_default();
            ends.extend(side.map(|side| (side, link)));
        }
    }
    all.retain(|address, ends| {
        let (one, own) = (ends[0].1.master, ends[0].0.netns);
        let bridge = ends.iter().all(|(_, link)| link.master == one);
        let own_link = is_link_local(*address);
        let few = ends.len() <= HOLDERS;
        address.is_ipv6()
            && !own_link
            && few
            && bridge
            && ends.iter().any(|(side, _)| side.netns != own)
    });
    all
}

/// Nothing where it is not known.
fn has_failed(facts: &Facts<'_>, side: &PodSide, address: IpAddr) -> Option<bool> {
    let all = facts.gathered.stack(side.netns)?.addresses.some()?;
    let own = all.iter().find(|a| a.own.address == address)?;
    Some(own.flags.has(Flags::DAD_FAILED))
}

fn finding(facts: &Facts<'_>, address: IpAddr, without: End<'_>, with: End<'_>) -> Finding {
    let (loser, holder) = (&without.1.name, &with.1.name);
    let summary = t!(
        "{address} is given to two pods of this node: the one behind {loser} found it taken (duplicate address detection) and does not use it, the one behind {holder} has it"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    for ((side, link), word) in [(without, "dadfailed"), (with, "")] {
        let pod = facts.pods.by_interface(&link.name);
        let pod = pod.map(|pod| pod.refer(Some(address), Some(PodRole::Server)));
        let whose = pod.as_ref().map_or_else(|| t!("a pod").into(), label);
        let text = match word {
            "" => t!("{whose} behind {} has {address}", link.name),
            _ => t!("{whose} behind {} has {address} as {word}", link.name),
        };
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
        let shown = shell!("ip address show to {}", address);
        let shown = facts.node.inside(side.netns, shown);
        let address = address.to_string();
        let words: &[&str] = if word.is_empty() {
            &[&address]
        } else {
            &[&address, word]
        };
        line.confirm = Some(shown.showing(words));
        finding.evidence.push(line);
        finding.pods.extend(pod);
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.about.push(address);
    finding.scope.add_hosts(&[address]);
    let because = t!("another pod that holds {address}, too, gets its packets");
    finding.ties.blame(Subject::Address { address }, because);
    finding.blames(Subject::Address { address });
    finding.fix = fix(facts, address, without, with);
    let now = facts.clock.text(facts.now);
    (finding.first_seen, finding.last_seen) = (now.clone(), now);
    finding
}

fn fix(facts: &Facts<'_>, address: IpAddr, without: End<'_>, with: End<'_>) -> Fix {
    let list = shell!("ip address show to {}", address);
    Fix {
        summary: t!(
            "see which of the two is left over (a sandbox whose pod is gone) and remove it; the other one uses {address} only once it is given to it again: recreate that pod"
        ),
        commands: [with, without]
            .map(|(side, _)| facts.node.inside(side.netns, list.clone()))
            .into(),
    }
}

#[cfg(test)]
mod tests;
