//! Other people's incidents as they once were: what is said of each, and what it says to do. Those of `drawn` have their
//! numbers, the others were built by people who had read README alone.
use std::{collections::BTreeMap, fmt::Write, path::Path};

use serde_json::Value;

use super::{
    replayed::replayed,
    snapshots::{self, Kind},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/incidents");
/// More than this is a trace of a node, and none of an incident.
const LARGEST: u64 = 120_000;
const WIDTH: usize = 100;

#[test]
fn each_is_judged_as_before() {
    let files = std::fs::read_dir(FOLDER).expect("the folder of incidents");
    let files = files.map(|file| file.expect("a file").path());
    let files: BTreeMap<String, _> = files.map(|path| (stem(&path), path)).collect();
    assert!(!files.is_empty());
    let mut text = String::new();
    for (name, path) in &files {
        let size = path.metadata().expect("a size").len();
        assert!(size < LARGEST, "{name} has {size} bytes");
        writeln!(text, "{name}{}", told(path)).expect("room");
    }
    snapshots::compare(Kind::Incidents, "judged", &text);
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.expect("a name in ASCII").to_owned()
}

/// A line for each finding, and for what no finding explains.
fn told(path: &Path) -> String {
    let told = replayed(&[path], "json", WIDTH);
    let verdict: Value = serde_json::from_str(&told.text).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut out = format!(": exit code {}", told.code);
    for finding in all(&verdict["findings"]) {
        let (severity, cause) = (text(&finding["severity"]), text(&finding["cause"]));
        let follows = finding["consequence_of"].is_string();
        let under = if follows { " (follows)" } else { "" };
        let summary = text(&finding["summary"]);
        let commands = all(&finding["fix"]["commands"]);
        write!(out, "\n  {severity} {cause}{under}: {summary}").expect("room");
        if let Some(last) = commands.last() {
            write!(out, "\n    $ {}", text(last)).expect("room");
        }
    }
    for line in all(&verdict["unexplained"]) {
        let (what, why) = (text(&line["what"]), text(&line["why"]));
        write!(out, "\n  not explained: {what}: {why}").expect("room");
    }
    out
}
