//! Several nodes' findings as one incident.
use super::super::arbiter::{Related, join_related};
use crate::model::verdict::{Finding, FlowRef, NodeFix};

/// Each cause once for what it is about, with what every node says of it.
pub fn one_incident(findings: Vec<Finding>, related: Related<'_>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for finding in findings {
        match all.iter_mut().find(|known| same(known, &finding)) {
            Some(known) => unite(known, finding),
            None => all.push(finding),
        }
    }
    join_related(&mut all, related);
    all
}

/// Whether two nodes tell of one thing: they blame the same, have the same done about it, are of one
/// flow or address, or of each other. What one node tells as two stays two.
fn same(one: &Finding, other: &Finding) -> bool {
    if one.cause != other.cause || one.node == other.node {
        return false;
    }
    if let (Some(blamed), Some(too)) = (&one.subject, &other.subject) {
        return blamed == too;
    }
    same_fix(one, other)
        || one.shares(other).is_some()
        || of_one_flow(one, other)
        || about_each_other(one, other)
}

fn same_fix(one: &Finding, other: &Finding) -> bool {
    let commands = &one.fix.commands;
    !commands.is_empty() && *commands == other.fix.commands
}

fn of_one_flow(one: &Finding, other: &Finding) -> bool {
    let has = |flow: &FlowRef| other.flows.iter().any(|it| flow.is_of(it));
    one.flows.iter().any(has)
}

fn about_each_other(one: &Finding, other: &Finding) -> bool {
    let names = |a: &Finding, b: &Finding| b.node.as_ref().is_some_and(|n| a.nodes.contains(n));
    names(one, other) && names(other, one)
}

fn unite(known: &mut Finding, mut other: Finding) {
    if (other.severity, other.confidence) > (known.severity, known.confidence) {
        std::mem::swap(known, &mut other);
    }
    let fix = (other.fix.summary != known.fix.summary || other.fix.commands != known.fix.commands)
        .then_some(other.fix);
    let fix = other.node.zip(fix);
    known
        .other_fixes
        .extend(fix.map(|(node, fix)| NodeFix { node, fix }));
    known.other_fixes.extend(other.other_fixes);
    for evidence in other.evidence {
        if !known.evidence.contains(&evidence) {
            known.evidence.push(evidence);
        }
    }
    for pod in other.pods {
        if !known
            .pods
            .iter()
            .any(|p| p.ip == pod.ip && p.role == pod.role)
        {
            known.pods.push(pod);
        }
    }
    for node in other.nodes {
        if !known.nodes.contains(&node) {
            known.nodes.push(node);
        }
    }
    known.flows.extend(other.flows);
    known.about.extend(other.about);
    known.ties.extend(other.ties);
    if known.consequence_of.is_none() {
        known.consequence_of = other.consequence_of;
        (known.root, known.because) = (other.root, other.because);
    }
}

#[cfg(test)]
mod tests;
