//! What changed before it began to fail: of each finding the last change of what it shows, or of what its packets go by, as
//! the journal of the node has it, and who did that where the kernel says so.
mod words;

use std::net::IpAddr;

use netdiag_common::flow::FlowKey;

use crate::{
    model::{
        flow,
        journal::{Change, How, Thing},
        netfilter::Family,
        verdict::{Evidence, EvidenceKind, Finding, Severity, Subject},
    },
    pipeline::facts::Facts,
};

/// The kernel counts a packet before it tells of what it was lost for.
const GRACE_NS: u64 = 1_000_000_000;
/// Told of one finding: a route that was replaced is gone and there again.
const MOST: usize = 2;
/// How long before the first loss rules changed that are told beside it without being shown, ns: connections go by new
/// rules at once, and a client asks every few seconds.
const NEAR_NS: u64 = 10_000_000_000;
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
            .map(|change| words::evidence(facts, &change, began))
            .collect();
        finding.evidence.extend(told);
    }
}

/// When the first of its packets was lost, where any was; else when the first of its questions came that stayed unanswered.
fn began(facts: &Facts<'_>, finding: &Finding) -> Option<u64> {
    let about =
        |flow: &FlowKey| finding.scope.has_key(flow) || finding.scope.has_key(&flow.reversed());
    let lost = facts.losses.iter();
    let lost = lost.filter(|loss| !loss.harmless && about(loss.flow()));
    let lost = lost.map(|loss| loss.dropped.first).min();
    let journeys = facts.journeys();
    let silent = || {
        let asked = facts.flows.iter().filter(|hop| {
            finding.scope.has_key(hop.flow()) && !journeys.contains_key(&hop.flow().reversed())
        });
        asked.map(|hop| hop.hop.first).min()
    };
    lost.or_else(silent)
}

/// The last ones that it may come of: of what it shows, else of rules that are near to those.
fn before(facts: &Facts<'_>, finding: &Finding, began: Option<u64>) -> Vec<Change> {
    let latest = began.map_or(facts.now, |began| began.saturating_add(GRACE_NS));
    let changes = facts.node.changes.iter();
    let changes: Vec<&Change> = changes.filter(|change| change.at <= latest).collect();
    let of = |tie: &dyn Fn(&Change) -> bool| -> Vec<&Change> {
        changes.iter().copied().filter(|it| tie(it)).collect()
    };
    let mut all = of(&|change| matters(facts, finding, change));
    if all.is_empty() {
        let earliest = latest.saturating_sub(NEAR_NS + GRACE_NS);
        all = of(&|change| change.at >= earliest && is_near(finding, change));
    }
    let Some(last) = all.last().map(|change| change.at) else {
        return Vec::new();
    };
    all.retain(|change| last - change.at < APART_NS);
    match whole_table(&changes, &all) {
        Some(table) if all.len() > MOST => vec![table],
        _ => {
            let last = all[all.len().saturating_sub(MOST)..].iter();
            last.copied().cloned().collect()
        }
    }
}

/// All of them as a change of the one table that they are in: whoever writes rules writes many at once.
fn whole_table(changes: &[&Change], all: &[&Change]) -> Option<Change> {
    let last = all.last()?;
    let (family, table) = last.of.table()?;
    let one = all.iter().all(|it| it.of.table() == Some((family, table)));
    let table = table.to_owned();
    let of = Thing::Table { family, table };
    let itself = |it: &&&Change| it.of == of && it.at.abs_diff(last.at) < APART_NS;
    let how = changes.iter().find(itself).map(|it| it.how);
    one.then(|| Change {
        how: how.unwrap_or(How::Replaced),
        translates: None,
        of: of.clone(),
        ..(*last).clone()
    })
}

/// Whether rules of a table that it shows changed, or one is gone that did what none does now.
fn is_near(finding: &Finding, change: &Change) -> bool {
    let Some((family, name)) = change.of.table() else {
        return false;
    };
    finding.evidence.iter().any(|line| {
        let within = |shown: &Thing| match shown {
            Thing::Table { family: of, table } => {
                table == name && (*of == family || family == Family::Inet)
            }
            _ => false,
        };
        let gone = line.lacks.is_some_and(|(ipv6, translates)| {
            change.how == How::Vanished && change.translates == Some(translates) && family.has(ipv6)
        });
        gone || line.shows.iter().any(within)
    })
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
        Thing::Queue { link } => at(link, |kind| kind == EvidenceKind::Link),
        Thing::Filter { link } => at(link, |kind| kind == EvidenceKind::Rule),
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
