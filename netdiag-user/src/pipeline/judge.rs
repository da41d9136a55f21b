//! One reading after the other to events, findings and, in the end, the verdict.
use std::collections::BTreeSet;

use netdiag_common::config::counter;

use super::{
    deltas::{self, Deltas},
    facts::Facts,
    scene::{LinkChange, Scene},
    verdict::{self, Naming},
};
use crate::{
    causes,
    model::{
        event::{Detail, LiveEvent},
        gather::Want,
        observation::Observation,
        verdict::{Finding, Verdict},
    },
};

/// How often `stats` is told, in the readings' own time.
const STATS_NS: u64 = 5_000_000_000;

/// Remembers what was told and named before.
#[derive(Default)]
pub struct Judge {
    deltas: Deltas,
    naming: Naming,
    /// When `stats` was told last; nothing before the first reading.
    told: Option<u64>,
    pace: Pace,
}

/// The rules look at every flow. On a node with tens of thousands of them they are asked less
/// often than the maps are read: with 24,000 flows every tenth time, 2.5 s. It goes by what is
/// read and not by the time it takes, so that a recording is judged as the live run was.
const FLOWS_A_READING: usize = 2_500;

/// What the rules said last, and how many readings they are left alone for.
#[derive(Default)]
struct Pace {
    findings: Vec<Finding>,
    wants: BTreeSet<Want>,
    rest: usize,
}

/// What one reading comes to.
pub struct Judged {
    pub findings: Vec<Finding>,
    /// What the rules ask for beside the readings.
    pub wants: BTreeSet<Want>,
    pub events: Vec<LiveEvent>,
}

impl Judge {
    /// Findings alone, for those who want no events.
    pub fn findings(&mut self, scene: &Scene, observation: &Observation) -> Judged {
        self.judged(&scene.facts(observation))
    }

    /// With the events since the reading before.
    pub fn events(&mut self, scene: &Scene, observation: &Observation) -> Judged {
        let facts = scene.facts(observation);
        let mut judged = self.judged(&facts);
        let events = &mut judged.events;
        events.extend(scene.links.iter().map(|change| link(&facts, change)));
        events.extend(self.deltas.events(&facts, observation, &judged.findings));
        let told = *self.told.get_or_insert(scene.run.started);
        if facts.now.saturating_sub(told) >= STATS_NS {
            self.told = Some(facts.now);
            events.push(stats(&facts, observation, scene.run.hooks));
        }
        judged
    }

    /// What is told after the last reading: the statistics, unless they just were.
    pub fn closing(&mut self, scene: &Scene, observation: &Observation) -> Vec<LiveEvent> {
        if self.told.replace(observation.now) == Some(observation.now) {
            return Vec::new();
        }
        let facts = scene.facts(observation);
        vec![stats(&facts, observation, scene.run.hooks)]
    }

    pub fn verdict(&mut self, scene: &Scene, observation: &Observation) -> Verdict {
        let facts = scene.facts(observation);
        verdict::verdict(&facts, observation, scene.run.clone(), &mut self.naming)
    }

    fn judged(&mut self, facts: &Facts<'_>) -> Judged {
        if self.pace.rest > 0 {
            self.pace.rest -= 1;
            return Judged {
                findings: self.pace.findings.clone(),
                wants: self.pace.wants.clone(),
                events: Vec::new(),
            };
        }
        let findings = verdict::findings(facts, &mut self.naming);
        let wants = causes::wants(facts);
        self.pace = Pace {
            findings: findings.clone(),
            wants: wants.clone(),
            rest: facts.flows.len() / FLOWS_A_READING,
        };
        Judged {
            findings,
            wants,
            events: Vec::new(),
        }
    }
}

fn link(facts: &Facts<'_>, change: &LinkChange) -> LiveEvent {
    let what = change.what.word();
    let mut event = deltas::bare(facts, 1, Detail::Link { change: what });
    event.interface = Some(change.name.clone());
    event
}

fn stats(facts: &Facts<'_>, observation: &Observation, hooks: u64) -> LiveEvent {
    let detail = Detail::Stats {
        hooks,
        lost: observation.lost(),
        overflowed_flows: observation.evicted_flows,
        foreign: observation.counter(counter::FOREIGN),
        hops: deltas::hop_totals(facts),
    };
    deltas::bare(facts, 1, detail)
}
