//! The readings of a recording, changed one by one, and what they come to.
use std::{collections::BTreeSet, sync::Arc};

use netdiag::{
    diagnosis::diagnoser::Diagnoser,
    model::{
        event::Detail,
        gather::Gathered,
        observation::Observation,
        reason::Reasons,
        verdict::{CannotTell, Finding, Outcome, Severity},
    },
    pipeline::{
        facts::{KnownNames, Names},
        scene::Scene,
    },
    recording::Replay,
};
use serde_json::Value;

/// One of them: what was counted, and all that is known beside.
pub struct Reading {
    pub scene: Scene,
    pub counted: Observation,
    names: Kept,
}

/// All that a recording has.
pub fn read(recording: &[u8]) -> Vec<Reading> {
    let mut replay = Replay::from(recording).expect("a recording");
    let (mut readings, mut names) = (Vec::new(), KnownNames::default());
    while let Some(counted) = replay.tick() {
        let scene = &replay.scene;
        for (key, _) in &counted.drops {
            let name = || scene.names.symbol(key.location);
            names.symbols.entry(key.location).or_insert_with(name);
        }
        readings.push(Reading {
            scene: copy(scene, Kept::default()),
            counted,
            names: Kept::default(),
        });
    }
    assert_eq!(replay.trouble(), None, "all of it is read");
    names.reasons = replay.scene.names.reasons().clone();
    let names = Kept(Arc::new(names));
    for reading in &mut readings {
        reading.names = names.clone();
    }
    readings
}

/// Names that all readings share.
#[derive(Clone, Default)]
struct Kept(Arc<KnownNames>);

impl Names for Kept {
    fn symbol(&self, address: u64) -> String {
        self.0.symbol(address)
    }

    fn reasons(&self) -> &Reasons {
        self.0.reasons()
    }
}

fn copy(scene: &Scene, names: Kept) -> Scene {
    Scene {
        node: scene.node.clone(),
        start: scene.start.clone(),
        pods: scene.pods.clone(),
        cluster: scene.cluster.clone(),
        gathered: scene.gathered.clone(),
        names: Box::new(names),
        clock: scene.clock,
        run: scene.run.clone(),
        asked: scene.asked.clone(),
        links: scene.links.clone(),
    }
}

/// What is done to each reading, the first one first.
pub type Change<'a> = Box<dyn FnMut(&mut Scene, &mut Observation) + 'a>;

/// What readings come to, as far as it is compared.
pub struct Judged {
    pub outcome: Outcome,
    /// Every cause that is named.
    pub causes: BTreeSet<String>,
    /// Causes that nothing else explains, with how bad they are.
    pub roots: BTreeSet<String>,
    /// What could not be told for lack of which answer.
    pub cannot_tell: Vec<CannotTell>,
}

/// Judges them as a replay does.
pub fn judged(readings: &[Reading], change: Change<'_>) -> Judged {
    play(readings, change, |judge, scene, counted| {
        judge.findings(scene, counted);
    })
}

/// With the roots that are told while it goes on.
pub fn judged_live(readings: &[Reading], change: Change<'_>) -> (Judged, BTreeSet<String>) {
    let mut live = BTreeSet::new();
    let judged = play(readings, change, |judge, scene, counted| {
        let told = judge.events(scene, counted).events;
        live.extend(told.iter().filter_map(|event| match &event.detail {
            Detail::Finding { finding } => root(finding),
            _ => None,
        }));
    });
    (judged, live)
}

fn play(
    readings: &[Reading],
    mut change: Change<'_>,
    mut with: impl FnMut(&mut Diagnoser, &Scene, &Observation),
) -> Judged {
    let (mut judge, mut verdict) = (Diagnoser::default(), None);
    for (number, reading) in readings.iter().enumerate() {
        let mut scene = copy(&reading.scene, reading.names.clone());
        let mut counted = reading.counted.clone();
        change(&mut scene, &mut counted);
        with(&mut judge, &scene, &counted);
        if number + 1 == readings.len() {
            verdict = Some(judge.verdict(&scene, &counted));
        }
    }
    let verdict = verdict.expect("a reading");
    Judged {
        outcome: verdict.verdict,
        causes: verdict.findings.iter().map(|it| it.cause.clone()).collect(),
        roots: verdict.findings.iter().filter_map(root).collect(),
        cannot_tell: verdict.cannot_tell,
    }
}

fn root(finding: &Finding) -> Option<String> {
    let bad = finding.severity > Severity::Info && finding.consequence_of.is_none();
    bad.then(|| format!("{} ({:?})", finding.cause, finding.severity))
}

/// What was gathered with other pieces: a list, as a recording has it, of what was asked for with
/// its answer. Most readings have the same as the one before.
#[derive(Default)]
pub struct Pieces {
    last: Option<(Gathered, Gathered)>,
}

impl Pieces {
    pub fn change(&mut self, gathered: &mut Gathered, with: impl FnOnce(&mut Vec<Value>)) {
        if let Some((before, after)) = &self.last
            && before == gathered
        {
            gathered.clone_from(after);
            return;
        }
        let before = gathered.clone();
        let mut value = serde_json::to_value(&before).expect("JSON");
        with(value["pieces"].as_array_mut().expect("a list"));
        *gathered = serde_json::from_value(value).expect("what was gathered");
        self.last = Some((before, gathered.clone()));
    }
}
