//! From opinions to a diagnosis: what the causes say of one reading, joined by the arbiter, as
//! findings, events, a verdict, the path of one flow, and a verdict of several nodes.
mod arbiter;
pub mod audit;
pub mod causes;
mod changed;
mod crowd;
pub mod diagnoser;
mod event_diff;
mod multi_node;
mod name_grace_period;
mod need;
pub mod nodes;
pub mod path;
pub mod predicted;
pub mod rehearsed;
mod shared;
#[cfg(test)]
mod testing;
mod tried;
pub mod undecided;
mod unexplained;
pub mod verdict;
mod way;
pub mod whatif;

use std::collections::BTreeSet;

use netdiag_model::{self as model, shell};
use netdiag_pipeline as pipeline;

pub use self::way::flow_way;
pub use crate::model::path::FlowWay;

use crate::{
    model::{
        gather::Want,
        verdict::{CannotTell, Finding},
    },
    need::Need,
    pipeline::facts::Facts,
    undecided::Waiting,
    unexplained::Symptoms,
};

/// What a reading comes to.
#[derive(Clone)]
pub struct Evaluated {
    /// Unranked, consequences below their roots.
    pub findings: Vec<Finding>,
    /// What they could be as well, or what else may be, for lack of an answer.
    pub cannot_tell: Vec<CannotTell>,
    /// What the causes must find out before they can tell.
    pub wants: BTreeSet<Want>,
}

/// Judges a reading by all causes; in it these get nowhere.
fn judge(facts: &Facts<'_>, symptoms: &Symptoms<'_>, waiting: &mut Waiting) -> Evaluated {
    let needs = causes::needs(facts);
    let wants = causes::asked(facts, symptoms, &needs);
    waiting.ask(facts.now, &wants);
    let (findings, cannot_tell) = settled(facts, symptoms, waiting, needs);
    Evaluated {
        findings,
        cannot_tell,
        wants,
    }
}

/// Findings of all causes, unranked, consequences below their roots.
#[cfg(test)]
pub fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let symptoms = Symptoms::of(facts);
    settled(facts, &symptoms, &Waiting::default(), causes::needs(facts)).0
}

fn settled(
    facts: &Facts<'_>,
    symptoms: &Symptoms<'_>,
    waiting: &Waiting,
    mut needs: Vec<(&'static str, Need)>,
) -> (Vec<Finding>, Vec<CannotTell>) {
    let mut findings = causes::evaluate(facts);
    for finding in &mut findings {
        for flow in &finding.flows {
            finding.scope.add_flow(flow);
        }
    }
    needs.extend(causes::rest(facts, symptoms, &mut findings));
    let cannot_tell = undecided::settle(facts, waiting, needs, &mut findings);
    arbiter::join(&mut findings);
    arbiter::choose(&mut findings, &causes::strength);
    changed::tell(facts, &mut findings);
    (findings, cannot_tell)
}
