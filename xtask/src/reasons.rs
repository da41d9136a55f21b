//! Which causes the kernel's reasons for drops stood in the evidence of, in the recorded incidents.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths;

/// What is known of one reason.
#[derive(Default)]
struct Seen {
    functions: BTreeSet<String>,
    causes: BTreeSet<String>,
}

type Reasons = BTreeMap<String, Seen>;

pub fn table() -> Result<String> {
    let folder = paths::root().join("tests/tests/snapshots");
    let mut reasons = Reasons::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "snap") {
            let verdict = verdict(&path).with_context(|| path.display().to_string())?;
            note(&verdict, &mut reasons);
        }
    }
    let code = |all: &BTreeSet<String>| {
        let all = all.iter().map(|one| format!("`{one}`"));
        all.collect::<Vec<_>>().join(", ")
    };
    let row = |(reason, seen): (&String, &Seen)| {
        let (functions, causes) = (code(&seen.functions), code(&seen.causes));
        format!("| {reason} | {functions} | {causes} |\n")
    };
    let rows: String = reasons.iter().map(row).collect();
    Ok(format!(
        "| reason | freed in | causes |\n|---|---|---|\n{rows}"
    ))
}

/// As `netdiag replay -o json` printed it, below a line about its exit code.
fn verdict(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    let (_, json) = text.split_once("\n{").context("it holds no verdict")?;
    Ok(serde_json::from_str(&format!("{{{json}"))?)
}

fn note(verdict: &Value, reasons: &mut Reasons) {
    for finding in verdict["findings"].as_array().into_iter().flatten() {
        for line in finding["evidence"].as_array().into_iter().flatten() {
            let (Some(reason), Some(cause)) = (line["reason"].as_str(), finding["cause"].as_str())
            else {
                continue;
            };
            let seen = reasons.entry(reason.to_owned()).or_default();
            seen.causes.insert(cause.to_owned());
            if let Some(function) = line["location"].as_str() {
                // What a compiler made a part of it is it.
                let name = function.split(['+', '.']).next().unwrap_or(function);
                seen.functions.insert(name.to_owned());
            }
        }
    }
}
