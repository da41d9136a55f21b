//! Which finding explains which: incidents come as chains, and ten symptoms of one fault must read
//! as one incident.
//!
//! It knows no cause. A finding says what is at fault, what it rests on and whose suffering it
//! tells ([`Ties`]); one hangs below another where these meet, never because both are there.
//!
//! [`Ties`]: crate::model::verdict::Ties
mod choice;

use std::net::IpAddr;

use netdiag_common::dns::PORT;
use netdiag_lang::t;

use crate::model::{
    address::endpoint,
    flow::UDP,
    verdict::{Evidence, EvidenceKind, Finding, Severity, Suffers},
};

pub use choice::choose;

/// Says which findings can have to do with each other at all.
pub type Related<'a> = &'a dyn Fn(&Finding, &Finding) -> bool;

/// A way to tell that the first explains the second, in one sentence.
type Joins = fn(&Finding, &Finding) -> Option<String>;

/// The surest first: the first that holds for a consequence is told.
const JOINS: [Joins; 5] = [
    at_fault,
    takes_the_lookups,
    drops_the_packets,
    lies_on_the_way,
    takes_the_answers_there,
];

/// Hangs consequences below their roots.
pub fn join(findings: &mut [Finding]) {
    join_related(findings, &|_, _| true);
}

/// The same for findings of several nodes.
pub fn join_related(findings: &mut [Finding], related: Related<'_>) {
    let mut above = known(findings);
    for joins in JOINS {
        for root in 0..findings.len() {
            for at in 0..findings.len() {
                // Two that follow from each other would both vanish below.
                if above[at].is_some() || leads_to(&above, root, at) {
                    continue;
                }
                let because = may_explain(&findings[root], &findings[at], related)
                    .then(|| joins(&findings[root], &findings[at]));
                if let Some(because) = because.flatten() {
                    hang(findings, root, at, because);
                    above[at] = Some(root);
                }
            }
        }
    }
    lift(findings, &above);
}

/// By places, because another node may have the same finding: what each of them hangs below already.
fn known(findings: &[Finding]) -> Vec<Option<usize>> {
    let place = |finding: &Finding| {
        let id = finding.root.as_ref()?;
        let of = |other: &Finding| other.id == *id && other.node == finding.node;
        // One that was united with another node's.
        let node = finding.node.as_ref();
        let united =
            |other: &Finding| other.id == *id && node.is_some_and(|n| other.nodes.contains(n));
        let own = findings.iter().position(of);
        own.or_else(|| findings.iter().position(united))
    };
    findings.iter().map(place).collect()
}

/// What is intended, or harms nobody, explains nothing.
fn may_explain(root: &Finding, effect: &Finding, related: Related<'_>) -> bool {
    root.severity > Severity::Info && related(root, effect)
}

/// Whether that place is the other, or already below it.
fn leads_to(above: &[Option<usize>], from: usize, to: usize) -> bool {
    let up = std::iter::successors(Some(from), |at| above[*at]);
    // There are no circles, and a bound costs nothing.
    up.take(above.len() + 1).any(|at| at == to)
}

fn hang(findings: &mut [Finding], root: usize, at: usize, because: String) {
    findings[at].consequence_of = Some(findings[root].cause.clone());
    findings[at].root = Some(findings[root].id.clone());
    findings[at].because = Some(because);
}

/// What brings about something bad is as bad itself.
fn lift(findings: &mut [Finding], above: &[Option<usize>]) {
    for below in 0..findings.len() {
        let severity = findings[below].severity;
        let roots = std::iter::successors(above[below], |at| above[*at]);
        for root in roots.take(findings.len()) {
            findings[root].severity = findings[root].severity.max(severity);
        }
    }
}

/// What the one rests on is what the other is about.
fn at_fault(root: &Finding, effect: &Finding) -> Option<String> {
    root.ties.explains(&effect.ties, root.node == effect.node)
}

fn lookups(effect: &Finding) -> Option<(&[IpAddr], &[IpAddr])> {
    match &effect.ties.suffers {
        Some(Suffers::Lookups { servers, by }) => Some((servers, by)),
        _ => None,
    }
}

/// It affects these very conversations with the name servers.
fn takes_the_lookups(root: &Finding, effect: &Finding) -> Option<String> {
    let (servers, _) = lookups(effect)?;
    if lookups(root).is_some() {
        return None;
    }
    let taken = servers.iter().find_map(|server| {
        let client = root.scope.client_of(UDP, (*server, PORT))?;
        Some((client, endpoint(*server, PORT)))
    });
    let (from, to) = taken?;
    Some(t!("{} takes the lookups: {from} → {to}", root.cause))
}

/// Where packets died and why: kernel functions are called alike on all nodes.
fn place(e: &Evidence) -> [Option<&str>; 3] {
    [
        e.reason.as_deref(),
        e.location.as_deref(),
        e.node.as_deref(),
    ]
}

fn drops(finding: &Finding) -> impl Iterator<Item = &Evidence> {
    let dropped = |e: &&Evidence| e.kind == EvidenceKind::Drop && e.reason.is_some();
    finding.evidence.iter().filter(dropped)
}

/// It drops packets for the reason and at the place where the others die.
fn drops_the_packets(root: &Finding, effect: &Finding) -> Option<String> {
    let same = |drop: &&Evidence| drops(root).any(|own| place(own) == place(drop));
    let drop = drops(effect).find(same)?;
    let reason = drop.reason.as_deref()?;
    match effect.ties.suffers.as_ref()? {
        Suffers::Lookups { .. } if lookups(root).is_some() => None,
        Suffers::Lookups { .. } => Some(t!("the lookups are among what is dropped: {reason}")),
        Suffers::Proxy { .. } => None,
        Suffers::OtherNode => {
            let node = drop.node.as_ref().filter(|_| drop.node != effect.node)?;
            Some(t!("{node} gets them and drops them: {reason}"))
        }
    }
}

/// It is about an address that they go to or by.
fn lies_on_the_way(root: &Finding, effect: &Finding) -> Option<String> {
    let shared = |by: &[IpAddr]| by.iter().find(|a| root.about.contains(a)).copied();
    // What affects a server's other ports affects no lookup.
    let other_ports = |server: &IpAddr| {
        root.scope.meets(*server) && root.scope.client_of(UDP, (*server, PORT)).is_none()
    };
    let id = &root.cause;
    match effect.ties.suffers.as_ref()? {
        Suffers::Lookups { .. } if lookups(root).is_some() => None,
        Suffers::Lookups { by, servers } => {
            let shared = shared(by).filter(|a| !servers.contains(a) || !other_ports(a))?;
            Some(t!("the lookups go to or by {shared}, which {id} is about"))
        }
        Suffers::Proxy { waits_for } => {
            let server = shared(waits_for)?;
            Some(t!("the sidecar asks {server} in vain, which {id} is about"))
        }
        Suffers::OtherNode => None,
    }
}

/// The other node got them, and what is wrong there affects the answers.
fn takes_the_answers_there(root: &Finding, effect: &Finding) -> Option<String> {
    let of_node = effect.ties.suffers == Some(Suffers::OtherNode);
    let node = root
        .node
        .as_ref()
        .filter(|n| effect.node.as_ref() != Some(n));
    let node = node.filter(|_| of_node && root.consequence_of.is_none())?;
    // What a lookup suffers takes no other packets.
    if lookups(root).is_some() {
        return None;
    }
    let address = root.shares(effect)?;
    let id = &root.cause;
    Some(t!(
        "{node} gets them, and {id} takes its answers to {address}"
    ))
}

#[cfg(test)]
mod tests;
