//! The verdict: findings ranked, drops summed, and what could not be checked.
use std::collections::{BTreeMap, HashMap};

use super::{facts::Facts, journey, scene::Run};
use crate::{
    causes,
    model::{
        observation::Observation,
        verdict::{Drop, Finding, FlowRef, Observer, Outcome, PodRef, SCHEMA, Severity, Verdict},
    },
};

/// One event or flow in so many may be lost without hiding a finding: each needs a pattern that persists.
const HARMLESS_LOSS: u64 = 1000;

/// When each cause was first named, which outlives the single evaluation.
#[derive(Default)]
pub struct Naming {
    first: HashMap<String, String>,
}

/// All findings, root causes first, worst first.
pub fn findings(facts: &Facts<'_>, naming: &mut Naming) -> Vec<Finding> {
    let mut findings = causes::evaluate(facts);
    let now = facts.clock.text(facts.now);
    for finding in &mut findings {
        let named = naming
            .first
            .entry(finding.cause.clone())
            .or_insert_with(|| now.clone());
        finding.named_at = Some(named.clone());
    }
    findings.sort_by(|a, b| {
        let rank = |f: &Finding| {
            (
                f.consequence_of.is_some(),
                std::cmp::Reverse((f.severity, f.confidence)),
            )
        };
        rank(a).cmp(&rank(b)).then_with(|| a.cause.cmp(&b.cause))
    });
    findings
}

pub fn verdict(
    facts: &Facts<'_>,
    observation: &Observation,
    run: Run,
    naming: &mut Naming,
) -> Verdict {
    let findings = findings(facts, naming);
    let observer = observer(observation, run.hooks);
    let bad = findings.iter().any(|f| f.severity > Severity::Info);
    let added = observation.counter(netdiag_common::config::counter::FLOWS_ADDED);
    let hidden = run.blind
        || observer.lost > observer.events / HARMLESS_LOSS
        || observer.overflowed_flows > added / HARMLESS_LOSS;
    Verdict {
        schema: SCHEMA.into(),
        node: facts.node.name.clone(),
        kernel: facts.node.kernel.clone(),
        started: facts.clock.text(run.started),
        duration: (facts.now.saturating_sub(run.started)) as f64 / 1e9,
        verdict: match (bad, hidden) {
            (true, _) => Outcome::Findings,
            (false, true) => Outcome::Incomplete,
            (false, false) if findings.is_empty() => Outcome::Healthy,
            (false, false) => Outcome::Findings,
        },
        findings,
        drops: drops(facts),
        retransmits: retransmits(facts),
        not_checked: run.not_checked,
        observer,
        lab: None,
    }
}

fn observer(observation: &Observation, hooks: u64) -> Observer {
    use netdiag_common::config::counter;
    let oversize: u64 = observation.flows.iter().map(|(_, f)| f.oversize).sum();
    let retransmits: u64 = observation.retransmits.iter().map(|(_, r)| r.packets).sum();
    Observer {
        hooks,
        events: observation.counter(counter::DROPS) + oversize + retransmits,
        lost: observation.lost(),
        overflowed_flows: observation.evicted_flows,
        foreign: observation.counter(counter::FOREIGN),
    }
}

/// Flows that a verdict names for their retransmits at most.
const MOST_FLOWS: usize = 20;

/// The flows that were sent again most, with the hop where they were last seen.
fn retransmits(facts: &Facts<'_>) -> Vec<FlowRef> {
    let journeys = journey::journeys(facts);
    let again = journeys.values().filter(|j| j.retransmits() > 0);
    let mut flows: Vec<_> = again.map(journey::Journey::refer).collect();
    flows.sort_by(|a, b| {
        let rank = |f: &FlowRef| std::cmp::Reverse(f.retransmits);
        (rank(a), &a.source, &a.destination).cmp(&(rank(b), &b.source, &b.destination))
    });
    flows.truncate(MOST_FLOWS);
    flows
}

/// Drops by reason, location, interface and pod, most first. What every healthy node shows is
/// left out.
pub fn drops(facts: &Facts<'_>) -> Vec<Drop> {
    type Key = (String, String, Option<String>, Option<PodRef>);
    let mut sums: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for loss in facts.losses.iter().filter(|l| !l.harmless) {
        let pod = match &loss.inside {
            Some(pod) => Some(pod.refer(None, None)),
            None => facts.pods_of(loss.flow()).into_iter().next(),
        };
        let key = (
            loss.reason.clone(),
            loss.location.clone(),
            loss.interface.clone(),
            pod,
        );
        let sum = sums.entry(key).or_default();
        sum.0 += loss.dropped.packets;
        sum.1 += loss.dropped.bytes;
    }
    let mut drops: Vec<Drop> = sums
        .into_iter()
        .map(
            |((reason, location, interface, pod), (packets, bytes))| Drop {
                reason,
                location,
                interface,
                pod,
                packets,
                bytes,
            },
        )
        .collect();
    drops.sort_by_key(|d| std::cmp::Reverse(d.packets));
    drops
}
