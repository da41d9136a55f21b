//! From opinions to a diagnosis: what the causes say of one reading, joined by the arbiter, as
//! findings, events, a verdict, the path of one flow, and a verdict of several nodes.
mod arbiter;
mod deltas;
pub mod judge;
pub mod nodes;
pub mod path;
mod patience;
pub mod verdict;

use crate::{causes, model::verdict::Finding, pipeline::facts::Facts};

/// Findings of all causes, unranked, consequences below their roots.
pub fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = causes::evaluate(facts);
    for finding in &mut findings {
        for flow in &finding.flows {
            finding.scope.add_flow(flow);
        }
    }
    arbiter::join(&mut findings);
    findings
}
