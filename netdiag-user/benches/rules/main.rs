//! What a reading costs: rows, facts, each cause's rule and the whole judgement, in processor time.
//!
//! ```console
//! # cargo bench -p netdiag-user --no-default-features --bench rules            # all readings
//! # cargo bench -p netdiag-user --no-default-features --bench rules -- built-failing # rule by rule
//! ```
//!
//! `built-healthy` and `built-failing` are built: a node of a hundred links with a flow table that is full. The
//! others are the recordings of the tests, each with its rows again and again from other ports.
mod clock;
mod conversations;
mod node;
mod recorded;
mod table;

use std::{env, hint::black_box, io::Write, process::ExitCode};

use netdiag::{
    causes,
    diagnosis::diagnoser::Diagnoser,
    model::{event::LiveEvent, observation::Observation},
    pipeline::{facts::Facts, scene::Scene},
};
use netdiag_tests::recordings;

use clock::median;
use table::Times;

/// Rows that a reading has: what the kernel's table takes.
const FLOWS: usize = 25_000;

fn main() -> ExitCode {
    // What cargo itself says begins with dashes.
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let built = ["built-healthy", "built-failing"].map(str::to_owned);
    let names = built.into_iter().chain(recordings::names());
    let mut out = std::io::stdout().lock();
    for name in names.filter(|name| asked(name)) {
        let (scene, observation) = reading(&name);
        let times = measure(&scene, &observation);
        let text = match wanted.is_empty() {
            true => times.line(&name),
            false => times.all(&name),
        };
        if out.write_all(text.as_bytes()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What many rules ask for, and a number that comes of it.
type Shared = (&'static str, fn(&Facts<'_>) -> usize);

fn reading(name: &str) -> (Scene, Observation) {
    match name {
        "built-healthy" => conversations::reading(FLOWS, 0),
        "built-failing" => conversations::reading(FLOWS, 30),
        recording => recorded::reading(recording, FLOWS),
    }
}

fn measure(scene: &Scene, observation: &Observation) -> Times {
    let rows = scene.rows(observation);
    let facts = scene.facts(&rows);
    // One rests on the other, as they stand here.
    let shared: [Shared; 4] = [
        ("journeys", |facts| facts.journeys().len()),
        ("tries", |facts| facts.attempts().len()),
        ("translations", |facts| facts.legs().all().count()),
        ("what got through", |facts| size_of_val(facts.success())),
    ];
    // They are there when each rule is measured for itself.
    black_box(shared.iter().map(|(_, of)| of(&facts)).sum::<usize>());
    let times = |n: usize| {
        median(|| {
            let facts = scene.facts(&rows);
            shared[..n].iter().map(|(_, of)| of(&facts)).sum::<usize>()
        })
    };
    let step = |n: usize| times(n + 1).saturating_sub(times(n));
    let shared = shared
        .iter()
        .enumerate()
        .map(|(n, (what, _))| (*what, step(n)));
    let each = causes::ALL.iter().map(|cause| {
        let asks = median(|| cause.needs(&facts).len());
        (cause.id, asks, median(|| cause.evaluate(&facts).len()))
    });
    let mut judge = Diagnoser::default();
    let asked = || Diagnoser::default().findings(scene, observation);
    let findings = asked().findings;
    Times {
        flows: observation.flows.len(),
        drops: observation.drops.len(),
        lookups: observation.dns.len(),
        rows: median(|| scene.rows(observation).flows.len()),
        shared: shared.collect(),
        each: each.collect(),
        judged: median(|| asked().wants.len()),
        events: median(|| told(&mut judge, scene, observation).len()),
        verdict: median(|| judge.verdict(scene, observation).findings.len()),
        findings: findings.into_iter().map(|it| it.cause).collect(),
    }
}

fn told(judge: &mut Diagnoser, scene: &Scene, observation: &Observation) -> Vec<LiveEvent> {
    judge.events(scene, observation).events
}
