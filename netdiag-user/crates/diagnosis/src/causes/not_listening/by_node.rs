//! Addresses that somebody gave this node to take what is sent there, on a link that leads nowhere, and where nobody
//! listens: what serves them is gone, or they are another host's.
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        gather::Reach,
        node::{Link, LinkKind},
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    pipeline::facts::Facts,
    shared::refusals::{self, Refusal},
    shell,
};

/// Whoever tries so often for so long expects somebody there.
const TRIES: u64 = 10;
const SPAN_NS: u64 = 8_000_000_000;

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut refusals = refusals::by_node(facts);
    refusals.retain(|refusal| is_a_fault(facts, refusal));
    let worst = refusals.first()?;
    let (address, port, times) = (worst.attempts.server, worst.attempts.port, worst.times);
    let link = holder(facts, worst)?;
    let summary = t!(
        "nothing on this node listens on port {port} of {address}, its own address on {}: {times} connections refused",
        link.name
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    refusals::tell(&mut finding, facts, &refusals);
    finding.ties.rest_on(Subject::Address { address });
    let text = t!(
        "{address} is an address of {}: what is sent there ends at this node",
        link.name
    );
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.confirm = Some(shell!("ip address show to {}", address).showing(&[&address.to_string()]));
    finding.evidence.push(line);
    let text = t!(
        "no socket of this node takes what is sent to {}",
        worst.endpoint()
    );
    finding.evidence.push(refusals::sockets(facts, worst, text));
    finding.fix = Fix {
        summary: t!(
            "start what should listen there, or point its clients elsewhere; where {address} is another host's, take it away from {}",
            link.name
        ),
        commands: vec![
            worst.list_sockets(facts),
            shell!("ip address show dev {}", link.name),
        ],
    };
    Some(finding)
}

/// Ports of the node's other addresses that somebody tries for long, in vain: closed on purpose, or what was to take them is gone.
pub fn closed(facts: &Facts<'_>) -> Option<Finding> {
    let mut refusals = refusals::by_node(facts);
    refusals.retain(|refusal| {
        let lasts = refusal.times >= TRIES && refusal.attempts.span() >= SPAN_NS;
        let nobody = || matches!(refusal.reach(facts), Some(Reach::Nobody));
        let pods = facts.pod_side_of(refusal.attempts.server).is_some();
        lasts && !pods && holder(facts, refusal).is_none() && nobody()
    });
    let worst = refusals.first()?;
    let (address, port, times) = (worst.attempts.server, worst.attempts.port, worst.times);
    let client = worst.attempts.client;
    let summary = t!(
        "nothing on this node listens on port {port} of {address}, and no rule leads it to a pod: {times} connections of {client} refused"
    );
    let mut finding = Finding::new(ID, Severity::Info, Confidence::Confirmed, summary);
    refusals::tell(&mut finding, facts, &refusals);
    let text = t!(
        "no socket of this node takes what is sent to {}",
        worst.endpoint()
    );
    finding.evidence.push(refusals::sockets(facts, worst, text));
    finding.fix = Fix {
        summary: t!(
            "nothing, where port {port} is to be closed; else start what should listen there, or, where a rule led it to a pod (hostPort, a published port), let who writes such rules write them again"
        ),
        commands: vec![
            worst.list_sockets(facts),
            shell!("iptables-save -t nat | grep -w -e {v}", port),
            shell!("nft -a list ruleset | grep -w -e {v}", port),
        ],
    };
    Some(finding)
}

/// Somebody near asks, and no socket takes it at whichever of this node's addresses.
fn is_a_fault(facts: &Facts<'_>, refusal: &Refusal<'_>) -> bool {
    let near = refusal.severity(facts) == Severity::Warning;
    let nobody = || matches!(refusal.reach(facts), Some(Reach::Nobody));
    near && nobody() && holder(facts, refusal).is_some()
}

/// The link that has it and leads nowhere: somebody gave it the address to take what is sent there. What a pod tries of the
/// node's other addresses may be closed, and one that a pod has as well is a fault of its own.
fn holder<'a>(facts: &Facts<'a>, refusal: &Refusal<'_>) -> Option<&'a Link> {
    let address = refusal.attempts.server;
    let nowhere = |l: &Link| match &l.kind {
        LinkKind::Loopback => true,
        LinkKind::Other(kind) => kind == "dummy",
        _ => false,
    };
    let has = |l: &&Link| l.addresses.iter().any(|a| a.prefix.address == address);
    let link = facts.node.links.iter().find(has)?;
    let twice = facts.pod_side_of(address).is_some();
    (nowhere(link) && !twice).then_some(link)
}

#[cfg(test)]
mod tests;
