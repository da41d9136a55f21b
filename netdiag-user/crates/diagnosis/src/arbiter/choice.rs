//! Two roots that explain the same packets: the one that comes closer to a culprit is told.
use crate::{
    model::verdict::{Finding, Severity},
    need::Strength,
};

/// How close a finding comes; nothing for what names an effect.
pub type Close<'a> = &'a dyn Fn(&Finding) -> Option<Strength>;

/// Leaves out roots all of whose conversations a stronger one explains, and below which nothing hangs.
pub fn choose(findings: &mut Vec<Finding>, close: Close<'_>) {
    let beaten: Vec<bool> = { findings.iter() }
        .map(|one| findings.iter().any(|other| beats(other, one, close)))
        .zip(findings.iter())
        .map(|(beaten, one)| beaten && !has_consequences(findings, one))
        .collect();
    let mut beaten = beaten.into_iter();
    findings.retain(|_| !beaten.next().unwrap_or(false));
}

fn beats(strong: &Finding, weak: &Finding, close: Close<'_>) -> bool {
    let roots = strong.consequence_of.is_none() && weak.consequence_of.is_none();
    let bad = strong.severity > Severity::Info && strong.severity >= weak.severity;
    let (Some(by), Some(than)) = (close(strong), close(weak)) else {
        return false;
    };
    let all = || weak.flows.iter().all(|flow| strong.scope.has_flow(flow));
    roots && bad && by > than && !weak.flows.is_empty() && all()
}

fn has_consequences(findings: &[Finding], root: &Finding) -> bool {
    let below = |other: &Finding| other.root.as_ref() == Some(&root.id);
    findings.iter().any(below)
}
