//! What a finding about lost packets tells, whatever the cause.
use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use netdiag_common::loss::DropKey;
use netdiag_lang::t;

use super::{DropGroup, dropped_like};
use crate::{
    model::{
        shell::CommandLine,
        total::{Total, add},
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Origin, Severity},
    },
    pipeline::facts::Facts,
};

/// Flows that a finding names; more of them tell nothing new.
const FLOWS: usize = 10;

/// A confirmed finding with what all of them have: where packets died, whose, and when. The
/// cause adds its own evidence and the fix.
pub fn finding(
    facts: &Facts<'_>,
    cause: &str,
    severity: Severity,
    patterns: &[DropGroup<'_>],
    summary: String,
) -> Finding {
    let mut finding = Finding::new(cause, severity, Confidence::Confirmed, summary);
    finding.evidence = drop_evidence(patterns);
    finding.evidence.extend(beside(facts, patterns));
    finding.pods = patterns.iter().flat_map(|p| p.pods(facts)).collect();
    finding.pods.sort();
    finding.pods.dedup();
    let flows = patterns.iter().take(FLOWS);
    finding.flows = flows.map(|p| p.refer(facts)).collect();
    for pattern in patterns {
        let (source, destination) = pattern.ends();
        finding.scope.add(pattern.protocol, source, destination);
    }
    finding.about = patterns.iter().map(served).collect();
    let first = patterns.iter().map(DropGroup::first).min();
    let last = patterns.iter().map(DropGroup::last).max();
    finding.first_seen = facts.clock.text(first.unwrap_or(0));
    finding.last_seen = facts.clock.text(last.unwrap_or(0));
    finding
}

/// The server's end: clients have troubles of many kinds at once.
fn served(pattern: &DropGroup<'_>) -> IpAddr {
    if pattern.reply {
        pattern.source
    } else {
        pattern.destination
    }
}

/// Reason, function and link.
type Place<'a> = (&'a str, &'a str, Option<&'a str>);

/// One line per place where packets of the pattern died.
pub fn drop_evidence(patterns: &[DropGroup<'_>]) -> Vec<Evidence> {
    let mut sums: BTreeMap<Place<'_>, (u64, CommandLine)> = BTreeMap::new();
    for loss in patterns.iter().flat_map(|p| &p.losses) {
        let key = (
            loss.reason.as_str(),
            loss.symbol(),
            loss.interface.as_deref(),
        );
        let sum = sums.entry(key).or_insert_with(|| (0, dropped_like(loss)));
        add(&mut sum.0, loss.dropped.packets);
    }
    let line = |((reason, symbol, at), (packets, confirm)): (Place<'_>, (u64, CommandLine))| {
        let text = match at {
            Some(at) => t!("{packets} packets dropped on {at}: {reason} in {symbol}"),
            None => t!("{packets} packets dropped: {reason} in {symbol}"),
        };
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.at = at.map(str::to_owned);
        line.packets = Some(packets);
        line.reason = Some(reason.to_owned());
        line.location = Some(symbol.to_owned());
        line.confirm = Some(confirm);
        line
    };
    sums.into_iter().map(line).collect()
}

/// What died at the same places and has no row of its own: new flows came faster than they can be
/// kept, or others took their room.
fn beside(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> Option<Evidence> {
    let losses = patterns.iter().flat_map(|p| &p.losses);
    let places: HashSet<DropKey> = losses.map(|l| l.key.rest()).collect();
    let rest = facts.losses.iter().filter(|l| places.contains(&l.key));
    let packets = rest.map(|l| l.dropped.packets).total();
    let text = t!("{packets} more packets dropped there, of flows too many to keep apart");
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.packets = Some(packets);
    (packets > 0).then_some(line)
}
