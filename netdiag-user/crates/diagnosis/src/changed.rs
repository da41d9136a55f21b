//! What changed before it began to fail: of each finding the last change of what it shows, or of what its packets go by, as
//! the journal of the node has it, and who did that where the kernel says so.
mod words;

use std::net::IpAddr;

use crate::{
    model::{
        flow,
        journal::{Change, How, Thing},
        verdict::{Evidence, EvidenceKind, Finding, Severity, Subject},
    },
    pipeline::facts::Facts,
};

/// The kernel counts a packet before it tells of what it was lost for.
const GRACE_NS: u64 = 1_000_000_000;
/// Told of one finding: a route that was replaced is gone and there again.
const MOST: usize = 2;
/// What of one doing is told apart, ns.
const APART_NS: u64 = 1_000_000_000;

pub fn tell(facts: &Facts<'_>, findings: &mut [Finding]) {
    if facts.node.changes.is_empty() {
        return;
    }
    let bad = |finding: &&mut Finding| finding.severity > Severity::Info;
    for finding in findings.iter_mut().filter(bad) {
        let began = began(facts, finding);
        let told: Vec<Evidence> = before(facts, finding, began)
            .into_iter()
            .map(|change| words::evidence(facts, change, began))
            .collect();
        finding.evidence.extend(told);
    }
}

/// When the first of its packets was lost, where any was.
fn began(facts: &Facts<'_>, finding: &Finding) -> Option<u64> {
    let own = facts.losses.iter().filter(|loss| {
        let flow = loss.flow();
        !loss.harmless && (finding.scope.has_key(flow) || finding.scope.has_key(&flow.reversed()))
    });
    own.map(|loss| loss.dropped.first).min()
}

/// The last ones that it may come of.
fn before<'a>(facts: &Facts<'a>, finding: &Finding, began: Option<u64>) -> Vec<&'a Change> {
    let latest = began.map_or(facts.now, |began| began.saturating_add(GRACE_NS));
    let mut all: Vec<&Change> = facts
        .node
        .changes
        .iter()
        .filter(|change| change.at <= latest && matters(facts, finding, change))
        .collect();
    let Some(last) = all.last().map(|change| change.at) else {
        return all;
    };
    all.retain(|change| last - change.at < APART_NS);
    all.drain(..all.len().saturating_sub(MOST));
    all
}

/// Whether the finding shows that very thing, or is about packets that go by it.
fn matters(facts: &Facts<'_>, finding: &Finding, change: &Change) -> bool {
    let shown = || {
        let mut shown = finding.evidence.iter().flat_map(|line| &line.shows);
        shown.any(|thing| is_of(thing, &change.of))
    };
    let of = |kind: EvidenceKind| finding.evidence.iter().any(|line| line.kind == kind);
    let at = |name: &str, is: fn(EvidenceKind) -> bool| {
        let mut lines = finding.evidence.iter();
        lines.any(|line| is(line.kind) && line.at.as_deref() == Some(name))
    };
    let near = match &change.of {
        // Whatever is too large is told at the link whose limit it is.
        Thing::Link { name } if matches!(change.how, How::Mtu { .. }) => at(name, |_| true),
        Thing::Link { name } | Thing::Port { name } => {
            at(name, |kind| kind == EvidenceKind::Link) || is_link(finding, name)
        }
        Thing::Address { prefix, .. } => {
            is_address(finding, prefix.address) || finding.about.contains(&prefix.address)
        }
        Thing::Route { to, .. } => {
            of(EvidenceKind::Route) && meets(facts, finding, |address| to.contains(address))
        }
        // Of a rule that is gone nothing is left to show.
        Thing::Policy { .. } => change.how == How::Vanished && of(EvidenceKind::Route),
        Thing::Neighbour { address, .. } => {
            of(EvidenceKind::Neighbour) && finding.about.contains(address)
        }
        Thing::Forwarding { link, .. } => at(link, |kind| kind == EvidenceKind::Fdb),
        Thing::Setting { sysctl } => at(sysctl, |kind| kind == EvidenceKind::Sysctl),
        Thing::Rule { .. } | Thing::Chain { .. } | Thing::Table { .. } | Thing::Set { .. } => false,
    };
    near || shown()
}

/// Of a rule whose number nobody knows, any of its chain.
fn is_of(shown: &Thing, changed: &Thing) -> bool {
    match (shown, changed) {
        (Thing::Chain { chain }, Thing::Rule { chain: of, .. }) => chain == of,
        (shown, changed) => shown == changed,
    }
}

fn is_link(finding: &Finding, name: &str) -> bool {
    let blamed = |subject: &Subject| matches!(subject, Subject::Link { name: of } if of == name);
    let at_fault = finding.ties.at_fault.iter().map(|tie| &tie.subject);
    finding.subject.iter().chain(at_fault).any(blamed)
}

fn is_address(finding: &Finding, address: IpAddr) -> bool {
    let blamed =
        |subject: &Subject| matches!(subject, Subject::Address { address: of } if *of == address);
    let at_fault = finding.ties.at_fault.iter().map(|tie| &tie.subject);
    finding.subject.iter().chain(at_fault).any(blamed)
}

/// Whether any address of its packets is such a one.
fn meets(facts: &Facts<'_>, finding: &Finding, is: impl Fn(IpAddr) -> bool) -> bool {
    let mut lost = facts.losses.iter().filter(|loss| {
        let flow = loss.flow();
        finding.scope.has_key(flow) || finding.scope.has_key(&flow.reversed())
    });
    let ends = |loss: &crate::pipeline::facts::Loss| {
        let (source, destination) = flow::ends(loss.flow());
        is(source) || is(destination)
    };
    finding.about.iter().any(|address| is(*address)) || lost.any(ends)
}

#[cfg(test)]
mod tests;
