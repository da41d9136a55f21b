//! Questions that nobody answers, and of which nothing was seen to be dropped: they end at a step of their way, or come
//! to whom they are for, and his answer does. The kernel is silent where there is no packet yet: an answer that no route
//! takes is never made.
use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::{ID, conversations};
use crate::{
    model::{
        total::Total,
        verdict::{Confidence, Finding, Severity},
    },
    pipeline::facts::Facts,
    shared::{
        astray,
        dead_end::{self, Told},
    },
    unexplained::{Symptom, Symptoms, grouped},
};

/// Questions of a reading that are held against their ways.
const QUESTIONS: usize = 16;

/// A finding for each step at which some of these end.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let asked = symptoms.silent(facts, findings).into_iter();
    let ended = asked.take(QUESTIONS).filter_map(|symptom| {
        let (told, answered) = told(facts, symptom)?;
        Some((told, (answered, symptom)))
    });
    let all = grouped(ended).into_iter();
    all.map(|(told, all)| finding(facts, told, &all)).collect()
}

/// What ends such a question, or its answer.
fn told(facts: &Facts<'_>, symptom: &Symptom) -> Option<(Told, bool)> {
    let (flow, answers) = (symptom.last.as_ref()?.flow(), symptom.answers);
    let led = |flow: &FlowKey, answered| Some((astray::told(facts, flow)?, answered));
    let misled = led(flow, answers).or_else(|| led(&flow.reversed(), !answers));
    misled.or_else(|| {
        let end = facts.silent_end(flow)?;
        Some((dead_end::told(facts, &end.step)?, end.answered))
    })
}

fn finding(facts: &Facts<'_>, told: Told, ended: &[(bool, &Symptom)]) -> Finding {
    let (answered, _) = ended[0];
    let all: Vec<&Symptom> = ended.iter().map(|(_, symptom)| *symptom).collect();
    let asked: u64 = all.iter().map(|c| c.asked).total();
    let (client, refer) = (all[0].client, all[0].refer());
    let summary = match answered {
        true => t!(
            "{}; so nothing that {} {} answers gets back to {client}, which asked {asked} times",
            told.what,
            refer.protocol,
            refer.destination
        ),
        false => t!(
            "{}; {client} asked {} {} {asked} times, unanswered",
            told.what,
            refer.protocol,
            refer.destination
        ),
    };
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    finding.evidence.push(told.evidence);
    conversations(facts, &mut finding, &all);
    if let Some(subject) = told.subject {
        finding.ties.blame(subject.clone(), told.what);
        finding.blames(subject);
    }
    finding.fix = told.fix;
    finding
}

#[cfg(test)]
mod tests;
