//! Two pods on one bridge with one link-layer address, as clones have: the bridge sends what is for the one to whoever spoke last.
use std::collections::BTreeMap;

use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::mac,
        flow::ends,
        node::{Link, Neighbour, PodSide},
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
    },
    pipeline::facts::{Facts, Loss},
    shared::losses::{self, PATTERN},
    shell,
};

/// A pod behind a port of the bridge, and what this node knows of it.
type End<'a> = (&'a PodSide, &'a Link, &'a Neighbour);

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all: BTreeMap<(u32, &[u8]), Vec<End<'_>>> = BTreeMap::new();
    for entry in facts.node.neighbours.iter().filter(|n| !n.failed) {
        let end = end(facts, entry).zip(entry.lladdr.as_deref());
        if let Some((end, lladdr)) = end {
            all.entry((entry.ifindex, lladdr)).or_default().push(end);
        }
    }
    let twice = all.into_iter().filter_map(|((bridge, lladdr), ends)| {
        let bridge = facts.link(bridge)?;
        let pairs = ends.iter().enumerate();
        let mut pairs = pairs.flat_map(|(n, one)| ends[n + 1..].iter().map(|other| [*one, *other]));
        pairs.find_map(|pair| finding(facts, bridge, lladdr, pair))
    });
    twice.collect()
}

/// Of a pod that is on the bridge on which it is known.
fn end<'a>(facts: &Facts<'a>, entry: &'a Neighbour) -> Option<End<'a>> {
    let side = facts.pod_side_of(entry.address)?;
    let mut links = facts.node.links.iter();
    let port = links.find(|l| l.peer_netns == Some(side.netns))?;
    (port.master == Some(entry.ifindex)).then_some((side, port, entry))
}

/// What is for one of them and died in the other one, which has no such address.
fn strayed<'a>(facts: &'a Facts<'_>, [one, other]: [End<'_>; 2]) -> Vec<&'a Loss> {
    let wrong = |loss: &Loss, here: End<'_>, meant: End<'_>| {
        let (_, to) = ends(loss.flow());
        loss.key.netns == here.0.netns
            && meant.0.addresses.contains(&to)
            && !here.0.addresses.contains(&to)
    };
    let all = facts.losses.iter();
    all.filter(|l| wrong(l, one, other) || wrong(l, other, one))
        .collect()
}

fn finding(facts: &Facts<'_>, bridge: &Link, lladdr: &[u8], both: [End<'_>; 2]) -> Option<Finding> {
    let [(one, _, own), (other, _, others)] = both;
    if one.netns == other.netns {
        return None;
    }
    let (name, whose) = (&bridge.name, mac(lladdr));
    let strayed = strayed(facts, both);
    let packets = strayed.iter().map(|l| l.dropped.packets).total();
    let worst = strayed.first().filter(|_| packets >= PATTERN)?;
    let summary = t!(
        "two pods on {name} have one link-layer address ({whose}): {} and {}; the bridge sends what is for the one to whoever spoke last, and {packets} packets died in the wrong pod",
        own.address,
        others.address
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    let text = t!("{packets} packets died in a pod that has not their address");
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.reason = Some(worst.reason.clone());
    line.location = Some(worst.symbol().to_owned());
    line.packets = Some(packets);
    line.confirm = Some(losses::dropped_like(worst));
    finding.evidence.push(line);
    for (_, port, entry) in both {
        let text = t!("{} behind {} has {whose}", entry.address, port.name);
        let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
        let shown = shell!("ip neighbour show to {} dev {}", entry.address, name);
        line.confirm = Some(shown.showing(&[&whose]));
        finding.evidence.push(line);
        finding
            .pods
            .extend(facts.pod(entry.address, PodRole::Server));
        finding.about.push(entry.address);
        let because = t!(
            "another pod with the link-layer address of {} gets its packets",
            entry.address
        );
        let subject = Subject::Address {
            address: entry.address,
        };
        finding.ties.blame(subject, because);
    }
    finding.scope.add_hosts(&finding.about.clone());
    finding.fix = fix(facts, both);
    let first = strayed.iter().map(|l| l.dropped.first).min();
    let last = strayed.iter().map(|l| l.dropped.last).max();
    finding.first_seen = facts.clock.text(first.unwrap_or(0));
    finding.last_seen = facts.clock.text(last.unwrap_or(0));
    Some(finding)
}

fn fix(facts: &Facts<'_>, both: [End<'_>; 2]) -> Fix {
    let shown = both.map(|(side, ..)| facts.node.inside(side.netns, shell!("ip link show")));
    Fix {
        summary: t!(
            "give one of the two another link-layer address: recreate that pod, and find out who set it (a template, a cloned machine, a CNI configuration with a fixed mac)"
        )
        .into(),
        commands: shown.into(),
    }
}

#[cfg(test)]
mod tests;
