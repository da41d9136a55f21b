//! What was gathered beside the readings, taken away or late.
use std::collections::BTreeSet;

use netdiag::{model::gather, pipeline::scene::Scene};
use serde_json::{Value, json};

use super::readings::{Change, Pieces, Reading};

/// How late an answer comes.
const LATE_NS: u64 = 1_000_000_000;

/// How one does not have an answer.
#[derive(Clone, Copy)]
pub enum Want {
    /// Nobody ever answers.
    Unanswered,
    /// It cannot be had, which is told.
    Refused,
}

impl Want {
    pub const ALL: [Self; 2] = [Self::Unanswered, Self::Refused];

    pub fn word(self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::Refused => "refused",
        }
    }
}

/// The kinds of answers that there are, those apart that are but refusals.
pub fn kinds(readings: &[Reading]) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let mut before = None;
    for Reading { scene, .. } in readings {
        if before.replace(&scene.gathered) == Some(&scene.gathered) {
            continue;
        }
        let value = serde_json::to_value(&scene.gathered).expect("JSON");
        let pieces = value["pieces"].as_array().into_iter().flatten();
        let answered = pieces.filter(|piece| piece[1].get("Ok").is_some());
        kinds.extend(answered.map(kind));
    }
    kinds
}

/// What was asked for by questions of a kind, as a verdict calls it.
pub fn names(readings: &[Reading], taken: &str) -> BTreeSet<String> {
    let all = readings.iter().flat_map(|it| asked(&it.scene, taken));
    all.map(|want| want.name()).collect()
}

/// What was asked for by questions of a kind, and answered.
fn asked(scene: &Scene, taken: &str) -> impl Iterator<Item = gather::Want> {
    let value = serde_json::to_value(&scene.gathered).expect("JSON");
    let pieces = value["pieces"].as_array().cloned().unwrap_or_default();
    let taken: Vec<Value> = { pieces.into_iter() }
        .filter(|piece| kind(piece) == taken)
        .collect();
    let want = |piece: Value| serde_json::from_value(piece[0].clone()).expect("a want");
    taken.into_iter().map(want)
}

/// `"Services"`, or `{"Rules":4026532000}`.
fn kind(piece: &Value) -> String {
    let asked = &piece[0];
    let named = asked.as_object().and_then(|it| it.keys().next().cloned());
    let plain = || asked.as_str().map(str::to_owned);
    named.or_else(plain).expect("what was asked for")
}

pub fn without<'a>(taken: &'a str, how: Want) -> Change<'a> {
    let take = move |pieces: &mut Vec<Value>| match how {
        Want::Unanswered => pieces.retain(|piece| kind(piece) != taken),
        Want::Refused => pieces
            .iter_mut()
            .filter(|piece| kind(piece) == taken)
            .for_each(|piece| piece[1] = json!({ "Err": "the test has taken it away" })),
    };
    let mut pieces = Pieces::default();
    Box::new(move |scene, _| {
        let asked: Vec<gather::Want> = asked(scene, taken).collect();
        pieces.change(&mut scene.gathered, take);
        // Asked for, and not answered yet.
        scene.gathered.ask(&asked);
    })
}

/// All answers come later than they came; with the last reading all are there.
pub fn late(readings: &[Reading]) -> Change<'_> {
    let last = readings.last().map_or(0, |it| it.counted.now);
    Box::new(move |scene, counted| {
        if counted.now < last {
            let before = readings.iter().rev();
            let mut before = before.skip_while(|it| it.counted.now + LATE_NS > counted.now);
            let known = before.next().map(|it| it.scene.gathered.clone());
            scene.gathered = known.unwrap_or_default();
        }
    })
}
