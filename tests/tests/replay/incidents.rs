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
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "ndr"));
    let files: BTreeMap<String, _> = files.map(|path| (stem(&path), path)).collect();
    assert!(!files.is_empty());
    let (mut text, mut today) = (String::new(), BTreeMap::new());
    for (name, path) in &files {
        let size = path.metadata().expect("a size").len();
        assert!(size < LARGEST, "{name} has {size} bytes");
        let replayed = replayed(&[path], "json", WIDTH);
        let verdict: Value = serde_json::from_str(&replayed.text).expect("JSON");
        writeln!(text, "{name}{}", told(replayed.code, &verdict)).expect("room");
        today.insert(name.clone(), roots(&verdict));
    }
    snapshots::compare(Kind::Incidents, "judged", &text);
    assert_eq!(
        ledger(),
        today,
        "LEDGER.md has another root, without a reason"
    );
}

/// The roots of today by incident, where a row says who is right.
fn ledger() -> BTreeMap<String, String> {
    let path = Path::new(FOLDER).join("LEDGER.md");
    let text = std::fs::read_to_string(path).expect("the ledger");
    let rows = text.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, today, why, _] = cells[..] else {
            panic!("a row of other columns: {line}");
        };
        assert!(!why.is_empty(), "{name} has no reason");
        (name.to_owned(), today.to_owned())
    });
    rows.collect()
}

/// As a row of the ledger has them.
fn roots(verdict: &Value) -> String {
    let all = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let findings = all(&verdict["findings"]).into_iter();
    let findings = findings.filter(|finding| !finding["consequence_of"].is_string());
    let mut roots: Vec<String> = findings
        .map(|finding| {
            let cause = finding["cause"].as_str().unwrap_or_default();
            match finding["severity"].as_str() {
                Some("info") => format!("info {cause}"),
                _ => cause.to_owned(),
            }
        })
        .collect();
    if !all(&verdict["unexplained"]).is_empty() {
        roots.push("not explained".to_owned());
    }
    match roots.is_empty() {
        true => "nothing".to_owned(),
        false => roots.join(", "),
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.expect("a name in ASCII").to_owned()
}

/// A line for each finding, and for what no finding explains.
fn told(code: i32, verdict: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut out = format!(": exit code {code}");
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
        let tried = &finding["tried"];
        if let (Some(all), Some(through)) = (
            tried["conversations"].as_u64(),
            tried["get_through"].as_u64(),
        ) {
            let behind = tried["behind"].as_str();
            let behind = behind.map_or_else(String::new, |it| format!("; behind it: {it}"));
            write!(out, "\n    tried: {through} of {all}{behind}").expect("room");
            assert!(through > 0 || !behind.is_empty(), "a trial tells nothing");
        }
    }
    for line in all(&verdict["unexplained"]) {
        let (what, why) = (text(&line["what"]), text(&line["why"]));
        write!(out, "\n  not explained: {what}: {why}").expect("room");
    }
    out
}
