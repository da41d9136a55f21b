//! The findings of the MTU causes: what traffic shows, and what the numbers alone say.
use netdiag_lang::t;

use super::mtu::{self, Oversize, TooLarge};
use crate::{
    model::{
        limits::LimitFrom,
        node::LinkKind,
        verdict::{Confidence, Evidence, Finding, Fix, PodRef, Severity},
    },
    pipeline::facts::Facts,
};

/// What one cause says of oversize packets towards a device.
pub struct Told {
    pub id: &'static str,
    /// The first half of the summary; how the flows fare follows.
    pub what: String,
    /// How they fare while they go on, and when they stall.
    pub fates: [&'static str; 2],
    /// The numbers behind it.
    pub configured: Vec<Evidence>,
    pub fix: Fix,
}

/// Oversize packets were seen: critical where flows stall over them.
pub fn confirmed(facts: &Facts<'_>, group: &Oversize<'_>, told: Told) -> Finding {
    let outcome = mtu::outcome(facts, group);
    let (severity, fate) = match outcome.stalled {
        0 => (Severity::Warning, told.fates[0]),
        _ => (Severity::Critical, told.fates[1]),
    };
    let summary = t!("{}: {fate}", told.what);
    let mut finding = Finding::new(told.id, severity, Confidence::Confirmed, summary);
    finding.evidence = told.configured;
    finding.evidence.extend(mtu::oversize_evidence(group));
    finding
        .evidence
        .extend(mtu::fragment_evidence(facts, group));
    finding.evidence.extend(mtu::too_big_evidence(facts, group));
    finding
        .evidence
        .extend(mtu::retransmit_evidence(facts, &outcome));
    finding.evidence.extend(mtu::drop_evidence(facts, group));
    (finding.pods, finding.flows) = (outcome.pods, outcome.flows);
    for hop in &group.hops {
        finding.scope.add_key(hop.flow());
    }
    finding.fix = told.fix;
    finding.first_seen = facts.clock.text(group.first());
    finding.last_seen = facts.clock.text(group.last());
    finding
}

/// Only the numbers say so.
pub fn configured(
    facts: &Facts<'_>,
    id: &str,
    summary: String,
    evidence: Vec<Evidence>,
    pods: Vec<PodRef>,
    fix: Fix,
) -> Finding {
    let (severity, confidence) = (Severity::Warning, Confidence::Configured);
    let mut finding = Finding::new(id, severity, confidence, summary);
    finding.evidence = evidence;
    finding.pods = pods;
    finding.fix = fix;
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen.clone_from(&finding.first_seen);
    finding
}

/// The finding for tunnels of `kinds`: confirmed where oversize packets were seen, configured
/// where only the numbers say so and a pod could send such packets.
pub fn tunnel(
    facts: &Facts<'_>,
    id: &'static str,
    kinds: &[LinkKind],
    fix: &dyn Fn(&TooLarge<'_>) -> Fix,
) -> Option<Finding> {
    let groups = mtu::oversize(facts, LimitFrom::Overhead, |l| kinds.contains(&l.kind));
    if let Some(group) = groups.into_iter().max_by_key(|g| g.hops.len()) {
        let tunnel = mtu::smallest(facts.node, group.link)?;
        let told = Told {
            id,
            what: carries(&group, &tunnel),
            fates: [t!("large transfers are slow"), t!("large transfers hang")],
            configured: vec![mtu::link_evidence(&tunnel)],
            fix: whole(facts, &tunnel, fix(&tunnel)),
        };
        return Some(confirmed(facts, &group, told));
    }
    let tunnel = mtu::too_large(facts.node, kinds).into_iter().next()?;
    let pods = mtu::refer(facts, &mtu::larger_pods(facts.node, tunnel.left));
    if pods.is_empty() {
        return None;
    }
    let summary = t!(
        "{} has MTU {}, {} leaves {}: large packets of {} will not fit",
        tunnel.link.name,
        tunnel.link.mtu,
        tunnel.underlay.name,
        tunnel.left,
        mtu::names(&pods),
    );
    let evidence = vec![mtu::link_evidence(&tunnel)];
    let fix = whole(facts, &tunnel, fix(&tunnel));
    Some(configured(facts, id, summary, evidence, pods, fix))
}

/// Pods keep what they were given: with the tunnel alone they would be the ones that are too large.
fn whole(facts: &Facts<'_>, tunnel: &TooLarge<'_>, mut fix: Fix) -> Fix {
    let large = mtu::larger_pods(facts.node, tunnel.left);
    let lower = mtu::lower(facts.node, &large, tunnel.left);
    fix.summary.push_str(&mtu::running(&large, lower.len()));
    fix.commands.extend(lower);
    fix
}

fn carries(group: &Oversize<'_>, tunnel: &TooLarge<'_>) -> String {
    let (name, underlay) = (&group.link.name, &tunnel.underlay.name);
    let (largest, limit) = (group.largest(), group.limit());
    let bytes = tunnel.underlay_bytes;
    let overhead = bytes.saturating_sub(tunnel.left);
    match tunnel.link.mtu > tunnel.left {
        true => t!(
            "{name} MTU {} + {overhead} overhead exceeds {underlay} MTU {bytes} (largest packet \
             {largest} B, limit {limit} B)",
            tunnel.link.mtu
        ),
        // What a route or a pod sends by it is larger than the device itself would take.
        false => t!(
            "{name} carries packets of up to {largest} B, {underlay} MTU {bytes} leaves {limit} B \
             ({overhead} B overhead)"
        ),
    }
}
