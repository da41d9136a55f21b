//! The verdict: findings ranked, drops summed, and what could not be checked.
use std::collections::{BTreeMap, HashMap};

use netdiag_lang::{mark, t};

use super::Evaluated;
use crate::{
    model::{
        observation::Observation,
        pod::SourceUse,
        text::counted,
        total::{Total, add},
        verdict::{
            Drop, Finding, FlowRef, NotChecked, Observer, Outcome, PodRef, PodSource, SCHEMA,
            Severity, Verdict,
        },
    },
    pipeline::{
        asked::Asked,
        coverage::coverage,
        facts::{Facts, Loss},
        journey,
        scene::Run,
        translation,
    },
    tried,
    undecided::Waiting,
    unexplained::Symptoms,
};

/// One event or flow in so many may be lost without hiding a finding: each needs a pattern that persists.
const HARMLESS_LOSS: u64 = 1000;
/// And of a quiet node's few events so many: a program that another one interrupts misses its turn.
const FEW: u64 = 5;

/// When each cause was first named, and each question first asked, which outlives the single evaluation.
#[derive(Default)]
pub struct Naming {
    waiting: Waiting,
    first: HashMap<String, String>,
    /// What else is there is not named; everything may be where this is empty.
    only: Vec<String>,
}

impl Naming {
    pub fn only(&mut self, asked: &Asked) {
        self.only.clone_from(&asked.causes);
    }

    /// Leaves out what was not asked for.
    pub fn narrow(&self, findings: &mut Vec<Finding>) {
        findings.retain(|f| self.names(&f.cause));
    }

    fn names(&self, cause: &String) -> bool {
        self.only.is_empty() || self.only.contains(cause)
    }
}

/// What all causes make of a reading: root causes first, worst first.
pub fn evaluated(facts: &Facts<'_>, naming: &mut Naming) -> Evaluated {
    judged(facts, &Symptoms::of(facts), naming)
}

fn judged(facts: &Facts<'_>, symptoms: &Symptoms<'_>, naming: &mut Naming) -> Evaluated {
    let mut evaluated = super::judge(facts, symptoms, &mut naming.waiting);
    let now = facts.clock.text(facts.now);
    for finding in &mut evaluated.findings {
        let named = naming
            .first
            .entry(finding.cause.clone())
            .or_insert_with(|| now.clone());
        finding.named_at = Some(named.clone());
        translation::join(facts, &mut finding.flows);
    }
    evaluated.findings.sort_by(by_rank);
    evaluated
}

/// Root causes first, worst first.
pub fn by_rank(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    let rank = |f: &Finding| {
        (
            f.consequence_of.is_some(),
            std::cmp::Reverse((f.severity, f.confidence)),
        )
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cause.cmp(&b.cause))
}

pub fn verdict(
    facts: &Facts<'_>,
    observation: &Observation,
    mut run: Run,
    naming: &mut Naming,
) -> Verdict {
    let symptoms = Symptoms::of(facts);
    let Evaluated {
        mut findings,
        mut cannot_tell,
        ..
    } = judged(facts, &symptoms, naming);
    tried::tell(facts, &mut findings);
    let observer = observer(observation, &run);
    cannot_tell.retain(|row| row.causes.iter().any(|cause| naming.names(cause)));
    let bad = findings.iter().any(|f| f.severity > Severity::Info);
    // What is wrong says enough; only good news can come too early.
    let unseen = coverage(facts, &run).filter(|_| !bad);
    // Whatever was found: what else fails is not told by it.
    let mut unexplained = match unseen.is_some() {
        true => Vec::new(),
        false => symptoms.unexplained(facts, &findings),
    };
    let told = unexplained.iter_mut().map(|one| &mut one.flows);
    let told = told.chain(cannot_tell.iter_mut().map(|row| &mut row.flows));
    told.for_each(|flows| translation::join(facts, flows));
    let hidden = run.blind
        || unseen.is_some()
        || unexplained.iter().any(|u| u.here)
        || !cannot_tell.is_empty()
        || facts.gathered.is_partial()
        || too_much_is_lost(&observer)
        || overflowed(observation);
    run.not_checked.extend(unseen);
    run.not_checked.extend(forged(facts));
    // Another cause explains what it explains, asked for or not.
    naming.narrow(&mut findings);
    let others = bad;
    let bad = findings.iter().any(|f| f.severity > Severity::Info);
    Verdict {
        schema: SCHEMA.into(),
        node: facts.node.name.clone(),
        kernel: facts.node.kernel.clone(),
        started: facts.clock.text(run.started),
        duration: (facts.now.saturating_sub(run.started)) as f64 / 1e9,
        level: run.level,
        verdict: match (bad, hidden) {
            (true, _) => Outcome::Findings,
            // What was not asked for is wrong.
            (false, _) if others => Outcome::Incomplete,
            (false, true) => Outcome::Incomplete,
            (false, false) if findings.is_empty() => Outcome::Healthy,
            (false, false) => Outcome::Findings,
        },
        findings,
        drops: drops(facts),
        retransmits: retransmits(facts),
        unexplained,
        cannot_tell,
        not_checked: run.not_checked,
        observer,
        nodes: Vec::new(),
        between: Vec::new(),
        pod_sources: run.sources.iter().map(|s| source(facts, s)).collect(),
        lab: None,
    }
}

fn forged(facts: &Facts<'_>) -> Option<NotChecked> {
    (facts.forged > 0).then(|| {
        NotChecked::new(
            t!(
                "{} with another's source address",
                counted(facts.forged as u64, mark!("flow"))
            ),
            t!("a pod sent them in the name of another or of the node, which they tell nothing of"),
        )
    })
}

fn source(facts: &Facts<'_>, used: &SourceUse) -> PodSource {
    PodSource {
        source: used.source,
        pods: used.pods,
        read: used.at.map(|at| facts.clock.text(at)),
    }
}

fn too_much_is_lost(observer: &Observer) -> bool {
    observer.lost > FEW.max(observer.events / HARMLESS_LOSS)
}

/// More flows were evicted unread, or found no room, than can be.
pub fn overflowed(observation: &Observation) -> bool {
    use netdiag_common::config::counter;
    let part = |index| observation.counter(index) / HARMLESS_LOSS;
    observation.evicted_flows > part(counter::FLOWS_ADDED)
        || observation.counter(counter::HOPS_UNKEPT) > part(counter::HOP_PACKETS)
}

fn observer(observation: &Observation, run: &Run) -> Observer {
    use netdiag_common::config::counter;
    let (oversize, retransmits) = (observation.oversize(), observation.retransmitted());
    Observer {
        hooks: run.hooks,
        events: [observation.counter(counter::DROPS), oversize, retransmits]
            .iter()
            .total(),
        lost: observation.lost(),
        overflowed_flows: observation.evicted_flows,
        unkept: observation.counter(counter::HOPS_UNKEPT),
        foreign: observation.counter(counter::FOREIGN),
        cost: run.cost.clone(),
    }
}

/// Flows that a verdict names for their retransmits at most.
const MOST_FLOWS: usize = 20;

/// The flows that were sent again most, with the hop where they were last seen.
pub fn retransmits(facts: &Facts<'_>) -> Vec<FlowRef> {
    let again = facts.journeys().values().filter(|j| j.retransmits() > 0);
    let mut flows: Vec<_> = again.map(journey::Journey::refer).collect();
    flows.sort_by(|a, b| {
        let rank = |f: &FlowRef| std::cmp::Reverse(f.retransmits);
        (rank(a), &a.source, &a.destination).cmp(&(rank(b), &b.source, &b.destination))
    });
    flows.truncate(MOST_FLOWS);
    translation::join(facts, &mut flows);
    flows
}

/// Drops by reason, location, interface and pod, most first. What every healthy node shows is
/// left out.
pub fn drops(facts: &Facts<'_>) -> Vec<Drop> {
    drops_of(facts, facts.losses.iter().filter(|l| !l.harmless))
}

/// Those of some losses.
pub fn drops_of<'a>(facts: &Facts<'_>, losses: impl Iterator<Item = &'a Loss>) -> Vec<Drop> {
    type Key = (String, String, Option<String>, Option<PodRef>);
    let mut sums: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for loss in losses {
        let pod = match &loss.inside {
            Some(pod) => Some(pod.refer(None, None)),
            None => facts.pods_of_loss(loss).into_iter().next(),
        };
        let key = (
            loss.reason.clone(),
            loss.location.clone(),
            loss.interface.clone(),
            pod,
        );
        let sum = sums.entry(key).or_default();
        add(&mut sum.0, loss.dropped.packets);
        add(&mut sum.1, loss.dropped.bytes);
    }
    let mut drops: Vec<Drop> = sums
        .into_iter()
        .map(
            |((reason, location, interface, pod), (packets, bytes))| Drop {
                reason,
                location,
                interface,
                pod,
                packets,
                bytes,
                node: None,
            },
        )
        .collect();
    drops.sort_by_key(|d| std::cmp::Reverse(d.packets));
    drops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            gather::{Piece, Want},
            impostors::Impostors,
        },
        testing::{overlay_node, with_gathered},
    };

    #[test]
    fn no_node_is_healthy_whose_daemons_cannot_be_looked_at() {
        let outcome = |closed, unseen| {
            let impostors = Impostors {
                closed,
                unseen,
                ..Impostors::default()
            };
            let piece = (Want::Impostors, Ok(Piece::Impostors(impostors)));
            let node = overlay_node(1450, 1450, 1500);
            let nothing = Observation::default();
            with_gathered(&node, &nothing, [piece], |facts| {
                verdict(facts, &nothing, Run::default(), &mut Naming::default()).verdict
            })
        };
        assert_eq!(outcome(0, 0), Outcome::Healthy);
        assert_eq!(outcome(7, 0), Outcome::Incomplete);
        assert_eq!(outcome(0, 1), Outcome::Incomplete);
    }

    #[test]
    fn a_miss_now_and_then_hides_nothing() {
        let hides = |events, lost| {
            let observer = Observer {
                events,
                lost,
                ..Observer::default()
            };
            too_much_is_lost(&observer)
        };
        assert!(!hides(68, 1));
        assert!(hides(68, 10));
        assert!(!hides(20_000, 20));
        assert!(hides(20_000, 21));
    }
}
