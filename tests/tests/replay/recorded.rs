//! Each incident as it once was, a test for each: its recording names its cause and no other, on any
//! machine and for ever, in the words that its snapshot has.
use std::collections::BTreeSet;

use netdiag::{
    causes,
    lab::scenarios::{self, Scenario},
};
use netdiag_tests::recordings;
use serde_json::Value;

use super::{
    named,
    replayed::{Told, replayed},
    snapshots::{self, Kind},
};

/// More than this is a trace of a node, and none of an incident.
const LARGEST: usize = 200_000;
const WIDTH: usize = 100;

macro_rules! recording {
    ($test:ident, $name:literal) => {
        #[test]
        fn $test() {
            judged_as_before($name);
        }
    };
}
include!(concat!(env!("OUT_DIR"), "/recordings.rs"));

fn judged_as_before(name: &str) {
    let size = recordings::bytes(name).len();
    assert!(size < LARGEST, "{name}.ndr has {size} bytes");
    let told = replayed(&[&recordings::file(name)], "json", WIDTH);
    if let Some(scenario) = scenarios::find(name) {
        is_named(scenario, &told);
    }
    let text = format!("exit code {}\n{}", told.code, told.text);
    snapshots::compare(Kind::Verdict, name, &text);
}

fn is_named(scenario: &Scenario, told: &Told) {
    let verdict: Value = serde_json::from_str(&told.text).expect("JSON");
    let expected: BTreeSet<String> = scenario.expected.iter().map(|id| (*id).into()).collect();
    assert_eq!(named(&verdict), expected, "{verdict:#}");
    let code = if expected.is_empty() { 0 } else { 1 };
    assert_eq!(told.code, code, "{verdict:#}");
}

/// The causes and the lab say which recordings there must be: one under each of their names.
#[test]
fn none_is_missing() {
    let there: BTreeSet<String> = recordings::names().into_iter().collect();
    let causes = causes::ALL.iter().map(|cause| cause.id);
    let wanted: BTreeSet<&str> = causes
        .chain(scenarios::ALL.iter().map(|it| it.name))
        .collect();
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !there.contains(*name))
        .collect();
    let names = missing.join(" ");
    assert!(missing.is_empty(), "make them: cargo xtask record {names}");
}

#[test]
fn none_is_of_nothing() {
    let nothing = |name: &String| {
        let scenario = name.split('.').next().unwrap_or_default();
        scenarios::find(scenario).is_none()
    };
    let strangers: Vec<String> = recordings::names().into_iter().filter(nothing).collect();
    assert!(strangers.is_empty(), "no scenario's: {strangers:?}");
    snapshots::no_orphans(Kind::Verdict, &recordings::names().into_iter().collect());
}
