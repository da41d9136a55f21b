//! Questions that nobody answers, and of which nothing was seen to be dropped: they end at a step of their way, or come
//! to whom they are for, and his answer does. The kernel is silent where there is no packet yet: an answer that no route
//! takes is never made.
use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::verdict::Finding,
    pipeline::facts::Facts,
    shared::{
        astray,
        dead_end::{self, Told},
    },
    unexplained::{Symptom, Symptoms},
};

/// Questions of a reading that are held against their ways.
const QUESTIONS: usize = 16;

/// A finding for each step at which some of these end.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let asked = symptoms.silent(facts, findings).into_iter().take(QUESTIONS);
    let ended = asked.filter_map(|symptom| Some((told(facts, symptom)?, symptom)));
    each(facts, ended, |case, end| end.tell(case))
}

/// Where they end: the question, or the answer to it, which is the same step.
struct End {
    told: Told,
    answered: bool,
}

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        self.told == other.told
    }
}

/// What ends such a question, or its answer.
fn told(facts: &Facts<'_>, symptom: &Symptom) -> Option<End> {
    let (flow, answers) = (symptom.last.as_ref()?.flow(), symptom.answers);
    let led = |flow: &FlowKey, answered| {
        let told = astray::told(facts, flow)?;
        Some(End { told, answered })
    };
    let misled = led(flow, answers).or_else(|| led(&flow.reversed(), !answers));
    misled.or_else(|| {
        let end = facts.silent_end(flow)?;
        Some(End {
            told: dead_end::told(facts, &end.step)?,
            answered: end.answered,
        })
    })
}

impl End {
    fn tell(self, case: &Case<'_, '_>) -> Story {
        let Self { told, answered } = self;
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let summary = match answered {
            true => t!(
                "{}; so nothing that {what} answers gets back to {client}, which asked {asked} times",
                told.what
            ),
            false => t!(
                "{}; {client} asked {what} {asked} times, unanswered",
                told.what
            ),
        };
        Story::of(told, summary)
    }
}

#[cfg(test)]
mod tests;
