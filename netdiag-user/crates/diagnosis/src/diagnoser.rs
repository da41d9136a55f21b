//! One reading after the other to events, findings and, in the end, the verdict.
use std::collections::BTreeSet;

use netdiag_common::config::counter;

use super::{
    Evaluated, FlowWay,
    crowd::Crowd,
    event_diff::{self, EventDiff, Tell},
    verdict::{self, Naming},
    way,
};
use crate::{
    model::{
        event::{Detail, LiveEvent},
        gather::Want,
        observation::Observation,
        total::Total,
        verdict::{CannotTell, Finding, Scope, Verdict},
    },
    pipeline::{
        agreement::{self, Agreement},
        facts::{Facts, Rows},
        scene::{LinkChange, Scene},
        translation,
    },
};

/// How often `stats` is told, in the readings' own time.
const STATS_NS: u64 = 5_000_000_000;

/// Remembers what was told and named before.
#[derive(Default)]
pub struct Diagnoser {
    deltas: EventDiff,
    naming: Naming,
    /// What very many rows came to when the rules were asked last.
    crowd: Option<Crowd>,
    /// When `stats` was told last; nothing before the first reading.
    told: Option<u64>,
    /// How computed ways compare with what is seen.
    agreement: Agreement,
    /// The state of what talks is asked for too, though nothing is wrong.
    keeps_states: bool,
}

/// What one reading comes to.
pub struct Judged {
    pub findings: Vec<Finding>,
    /// What the rules ask for beside the readings.
    pub wants: BTreeSet<Want>,
    pub events: Vec<LiveEvent>,
    /// Packets that this node lost, without what healthy nodes drop all day.
    pub dropped: u64,
}

/// One reading for those who show its facts beside what they come to.
pub struct Look<'a, 'all, 'some> {
    pub scene: &'a Scene,
    /// All that was judged.
    pub facts: &'a Facts<'all>,
    /// What of it somebody asked for.
    pub shown: &'a Facts<'some>,
    pub observation: &'a Observation,
    pub findings: &'a [Finding],
    pub cannot_tell: &'a [CannotTell],
}

impl Diagnoser {
    /// For a recording: what a packet's way is computed from belongs in it.
    pub fn keeping_states(keeps_states: bool) -> Self {
        Self {
            keeps_states,
            ..Self::default()
        }
    }

    /// Forgets what was told and named, not what it learned of the node.
    pub fn begin_anew(&mut self) {
        *self = Self {
            agreement: std::mem::take(&mut self.agreement),
            keeps_states: self.keeps_states,
            ..Self::default()
        };
    }

    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// A reading as it is judged by now.
    fn facts<'a>(&self, scene: &'a Scene, rows: &'a Rows) -> Facts<'a> {
        let mut facts = scene.facts(rows);
        facts.distrusted = self.agreement.distrusted().cloned().collect();
        facts
    }

    /// A reading's findings with all that they account for, for those who follow one flow.
    pub fn evaluated(&mut self, facts: &Facts<'_>) -> Evaluated {
        verdict::evaluated(facts, &mut self.naming)
    }

    /// Findings alone, for those who want no events.
    pub fn findings(&mut self, scene: &Scene, observation: &Observation) -> Judged {
        self.naming.only(&scene.asked);
        let rows = scene.rows(observation);
        let facts = self.facts(scene, &rows);
        self.judged(&facts)
    }

    /// Judges a reading and hands it over with all that it was judged by, which is made once for both.
    pub fn looked<T>(
        &mut self,
        scene: &Scene,
        observation: &Observation,
        look: impl FnOnce(&Look<'_, '_, '_>) -> T,
    ) -> (BTreeSet<Want>, T) {
        self.naming.only(&scene.asked);
        let rows = scene.rows(observation);
        let facts = self.facts(scene, &rows);
        let mut evaluated = self.ruled(&facts);
        self.naming.narrow(&mut evaluated.findings);
        let wanted = translation::wants(&evaluated.findings);
        evaluated.wants.extend(wanted);
        evaluated.wants.extend(self.compared(&facts));
        let told = with_shown(scene, observation, &facts, |shown, observation| {
            look(&Look {
                scene,
                facts: &facts,
                shown,
                observation,
                findings: &evaluated.findings,
                cannot_tell: &evaluated.cannot_tell,
            })
        });
        (evaluated.wants, told)
    }

    /// With the events since the reading before.
    pub fn events(&mut self, scene: &Scene, observation: &Observation) -> Judged {
        let mut events = Vec::new();
        let judged = self.told(scene, observation, &mut |event| events.push(event));
        Judged { events, ..judged }
    }

    /// The same, with each event told as it is found.
    pub fn told(
        &mut self,
        scene: &Scene,
        observation: &Observation,
        tell: &mut Tell<'_>,
    ) -> Judged {
        let rows = scene.rows(observation);
        let facts = self.facts(scene, &rows);
        self.naming.only(&scene.asked);
        let judged = self.judged(&facts);
        let links = scene.links.iter().map(|change| link(&facts, change));
        links.for_each(&mut *tell);
        let told = *self.told.get_or_insert(scene.run.started);
        let again = facts.now.saturating_sub(told) >= STATS_NS;
        if again {
            self.told = Some(facts.now);
        }
        let findings = &judged.findings;
        let names = !scene.run.sources.is_empty();
        let patience = &mut self.deltas.patience;
        patience.reading(facts.now, &scene.links, names);
        with_shown(scene, observation, &facts, |facts, observation| {
            self.deltas.events(facts, observation, findings, tell);
            if again {
                tell(stats(facts, observation, scene.run.hooks));
            }
        });
        judged
    }

    /// What is told after the last reading: what waited for another one, and the statistics,
    /// unless they just were.
    pub fn closing(&mut self, scene: &Scene, observation: &Observation) -> Vec<LiveEvent> {
        let again = self.told.replace(observation.now) != Some(observation.now);
        let rows = scene.rows(observation);
        let facts = scene.facts(&rows);
        with_shown(scene, observation, &facts, |facts, observation| {
            let mut shown = Vec::new();
            let tell = &mut |event| shown.push(event);
            self.deltas.closing(facts, observation, tell);
            if again {
                tell(stats(facts, observation, scene.run.hooks));
            }
            shown
        })
    }

    pub fn verdict(&mut self, scene: &Scene, observation: &Observation) -> Verdict {
        let rows = scene.rows(observation);
        let facts = self.facts(scene, &rows);
        self.naming.only(&scene.asked);
        let mut run = scene.run.clone();
        run.not_checked
            .extend(self.agreement.not_checked(facts.node.netns));
        let mut verdict = verdict::verdict(&facts, observation, run, &mut self.naming);
        if let Some(shown) = scene.asked.shown(observation) {
            let rows = scene.rows(&shown);
            let facts = scene.facts(&rows);
            verdict.drops = verdict::drops(&facts);
            verdict.retransmits = verdict::retransmits(&facts);
        }
        verdict
    }

    /// The ways of flows that the first root causes of a verdict name, for a picture of each.
    pub fn ways(scene: &Scene, observation: &Observation, findings: &[Finding]) -> Vec<FlowWay> {
        let rows = scene.rows(observation);
        way::ways(&scene.facts(&rows), &scene.run, findings)
    }

    /// What the rules say of a reading, or said of the last one that they were asked about.
    fn ruled(&mut self, facts: &Facts<'_>) -> Evaluated {
        let holds = |crowd: &&Crowd| crowd.holds(facts);
        if let Some(crowd) = self.crowd.as_ref().filter(holds) {
            return crowd.evaluated.clone();
        }
        let mut evaluated = verdict::evaluated(facts, &mut self.naming);
        // Only the verdict asks what is explained, and makes its own; these are copied and kept.
        let findings = evaluated.findings.iter_mut();
        findings.for_each(|f| f.scope = Scope::default());
        self.crowd = Crowd::of(facts, &evaluated);
        evaluated
    }

    /// Holds what succeeds against its computed ways; what is wanted for that.
    fn compared(&mut self, facts: &Facts<'_>) -> BTreeSet<Want> {
        self.agreement.reading(facts);
        match self.keeps_states {
            true => agreement::wants(facts),
            false => BTreeSet::new(),
        }
    }

    fn judged(&mut self, facts: &Facts<'_>) -> Judged {
        let evaluated = self.ruled(facts);
        let (mut findings, mut wants) = (evaluated.findings, evaluated.wants);
        self.naming.narrow(&mut findings);
        wants.extend(translation::wants(&findings));
        wants.extend(self.compared(facts));
        let lost = facts.losses.iter().filter(|l| !l.harmless);
        Judged {
            findings,
            wants,
            events: Vec::new(),
            dropped: lost.map(|l| l.dropped.packets).total(),
        }
    }
}

/// Hands over what is to be shown, of what is judged.
fn with_shown<T>(
    scene: &Scene,
    observation: &Observation,
    facts: &Facts<'_>,
    with: impl FnOnce(&Facts<'_>, &Observation) -> T,
) -> T {
    match scene.asked.shown(observation) {
        None => with(facts, observation),
        Some(shown) => {
            let rows = scene.rows(&shown);
            with(&scene.facts(&rows), &shown)
        }
    }
}

fn link(facts: &Facts<'_>, change: &LinkChange) -> LiveEvent {
    let what = change.what.word();
    let mut event = event_diff::bare(facts, 1, Detail::Link { change: what });
    event.interface = Some(change.name.clone());
    event
}

fn stats(facts: &Facts<'_>, observation: &Observation, hooks: u64) -> LiveEvent {
    let detail = Detail::Stats {
        hooks,
        lost: observation.lost(),
        overflowed_flows: observation.evicted_flows,
        foreign: observation.counter(counter::FOREIGN),
        hops: event_diff::hop_totals(facts),
    };
    event_diff::bare(facts, 1, detail)
}
