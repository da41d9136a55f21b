//! What cannot be decided because an answer is missing: the one place that knows which hypotheses
//! hang on which question.
//!
//! A weaker finding about the same traffic is held back while a stronger hypothesis waits for its
//! answer, and is not told where that answer cannot be had: then it is one of those between which
//! nobody can tell.
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use netdiag_lang::t;

use super::need::{Asked, Need, Strength, Sufferer};
use crate::{
    causes,
    model::{
        gather::{Answer, Want},
        verdict::{CannotTell, Finding, Scope},
    },
    pipeline::facts::Facts,
};

/// How long an answer is waited for that nothing speaks for: reading a node's rules takes seconds
/// where there are very many.
const WAIT_NS: u64 = 8_000_000_000;

/// Earlier recordings do not tell what was asked. What was is answered by then, mostly; else no
/// answer means nothing.
const UNASKED_NS: u64 = 1_500_000_000;

/// Since when each question is open, in the readings' own time.
#[derive(Default)]
pub struct Waiting {
    since: HashMap<Want, u64>,
}

impl Waiting {
    /// A reading at `now` that asks for these; what nobody asks for any more is forgotten.
    pub fn ask(&mut self, now: u64, wants: &BTreeSet<Want>) {
        self.since.retain(|want, _| wants.contains(want));
        for want in wants {
            self.since.entry(want.clone()).or_insert(now);
        }
    }

    /// Nothing where nobody asked.
    fn age(&self, now: u64, want: &Want) -> Option<u64> {
        Some(now.saturating_sub(*self.since.get(want)?))
    }
}

/// A hypothesis without its answer.
struct Open {
    cause: &'static str,
    need: Need,
    at_best: Strength,
    why: String,
    /// It was asked for a moment ago.
    young: bool,
}

impl Open {
    fn of(
        facts: &Facts<'_>,
        waiting: &Waiting,
        cause: &'static str,
        mut need: Need,
    ) -> Option<Self> {
        let Some(want) = need.query.want().cloned() else {
            return Self::with(
                cause,
                need,
                t!("not watched for long enough yet").into(),
                true,
            );
        };
        let (why, young) = match facts.gathered.answer(&want) {
            Answer::Known | Answer::Absent => return None,
            Answer::Refused(why) => (why, false),
            Answer::Unasked if need.sufferers.is_empty() => return None,
            Answer::Unasked => {
                let age = waiting.age(facts.now, &want)?;
                need.likely &= age == 0;
                (late(age), age < UNASKED_NS)
            }
            Answer::Outstanding => {
                let age = waiting.age(facts.now, &want)?;
                (late(age), age < WAIT_NS)
            }
        };
        Self::with(cause, need, why, young)
    }

    fn with(cause: &'static str, need: Need, why: String, young: bool) -> Option<Self> {
        Some(Self {
            cause,
            at_best: need.at_best?,
            need,
            why,
            young,
        })
    }

    fn holds(&self) -> bool {
        self.need.likely || self.young
    }

    fn flows(&self) -> impl Iterator<Item = &Asked> {
        self.need.sufferers.iter().filter_map(|who| match who {
            Sufferer::Flow(asked, _) => Some(asked),
            Sufferer::Namespace(_) => None,
        })
    }
}

fn late(age: u64) -> String {
    match age / 1_000_000_000 {
        0 => t!("no answer yet").to_owned(),
        seconds => t!("no answer yet after {seconds} s"),
    }
}

/// Takes out what is weaker than a hypothesis whose answer is missing, and tells what cannot be
/// told for lack of which answer.
pub fn settle(
    facts: &Facts<'_>,
    waiting: &Waiting,
    needs: Vec<(&'static str, Need)>,
    findings: &mut Vec<Finding>,
) -> Vec<CannotTell> {
    let open = needs.into_iter();
    let open = open.filter_map(|(cause, need)| Open::of(facts, waiting, cause, need));
    let open: Vec<Open> = open.collect();
    if open.is_empty() {
        return Vec::new();
    }
    let held = hold_back(&open, findings);
    rows::of(facts, &open, findings, &held)
}

/// Those all of whose traffic a stronger hypothesis may explain.
fn hold_back(open: &[Open], findings: &mut Vec<Finding>) -> Vec<Finding> {
    let beaten = |finding: &mut Finding| {
        let Some(strength) = causes::strength(finding) else {
            return false;
        };
        let mut undecided = Scope::default();
        let stronger = open.iter().filter(|o| o.holds() && o.at_best > strength);
        let flows = stronger.flat_map(Open::flows);
        for asked in flows.filter(|asked| covers(finding, asked)) {
            let server = (asked.server, asked.port);
            undecided.add(asked.protocol, (asked.client, 0), server);
        }
        let all = || finding.flows.iter().all(|flow| undecided.has_flow(flow));
        !finding.flows.is_empty() && all()
    };
    findings.extract_if(.., beaten).collect()
}

fn covers(finding: &Finding, asked: &Asked) -> bool {
    let server = (asked.server, asked.port);
    finding.scope.has(asked.protocol, asked.client, server)
}
