//! One pair by netdiag's own runner, and what netdiag knows of pairs.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Pair;
use crate::{
    sh,
    verdict::{last_line, named, texts, told, words},
};

/// Two scenarios stand up in some seconds, and are watched for twelve; containerd takes its time.
const LIMIT: &str = "180";

/// What `netdiag lab pairs` says.
pub struct Known {
    pub scenarios: BTreeMap<String, Scenario>,
    pub pairs: Vec<Both>,
}

pub struct Scenario {
    /// The causes that it has named.
    pub expected: BTreeSet<String>,
    /// Where in a node it goes wrong.
    pub family: String,
    /// What this machine lacks for it.
    pub lacks: Option<String>,
}

/// Two that can be in one node.
pub struct Both {
    pub first: String,
    pub second: String,
    /// The one that the other's fault hides.
    pub hidden: Option<String>,
}

pub fn known(netdiag: &Path, seed: u64) -> Result<Known> {
    let seed = seed.to_string();
    let text = sh::text(Command::new(netdiag).args(["lab", "pairs", "--seed", &seed]))?;
    let said: Value = serde_json::from_str(&text).context("`netdiag lab pairs` gave no JSON")?;
    let known = read(&said);
    if known.pairs.is_empty() {
        bail!("`netdiag lab pairs` lists none");
    }
    Ok(known)
}

fn read(said: &Value) -> Known {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let scenarios = said["scenarios"].as_object().into_iter().flatten();
    let scenario = |(name, it): (&String, &Value)| {
        let scenario = Scenario {
            expected: texts(&it["expected"]),
            family: text(&it["family"]).unwrap_or_default(),
            lacks: text(&it["lacks"]),
        };
        (name.clone(), scenario)
    };
    let pairs = said["pairs"].as_array().into_iter().flatten();
    let both = |it: &Value| {
        Some(Both {
            first: text(&it["first"])?,
            second: text(&it["second"])?,
            hidden: text(&it["hidden"]),
        })
    };
    Known {
        scenarios: scenarios.map(scenario).collect(),
        pairs: pairs.filter_map(both).collect(),
    }
}

/// What came of a run.
pub enum Ran {
    Judged(Judged),
    Skipped(String),
    Failed(String),
}

#[derive(Default)]
pub struct Judged {
    pub passed: bool,
    pub named: BTreeSet<String>,
    pub expected: BTreeSet<String>,
    /// What is hidden of the two.
    pub hidden: Option<String>,
    /// Below another cause, or left undecided.
    pub besides: BTreeSet<String>,
    /// The findings, for people.
    pub told: String,
}

impl Judged {
    pub fn text(&self) -> String {
        let named = words(&self.named);
        match &self.hidden {
            Some(hidden) => format!("{named}; {hidden} hidden: {}", words(&self.besides)),
            None => named,
        }
    }
}

pub fn run(netdiag: &Path, pair: &Pair, seed: u64) -> Result<Ran> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(netdiag);
    command.args(["lab", "run", &pair.first, "--with", &pair.second]);
    command.args(["--seed", &seed.to_string(), "-o", "json"]);
    let ran = sh::output(&mut command)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.code() {
        Some(0 | 1) if !ran.stdout.is_empty() => {}
        Some(3) => {
            let why = said
                .lines()
                .find_map(|line| line.split_once("skipped: ").map(|it| it.1));
            return Ok(Ran::Skipped(why.unwrap_or("no reason given").to_owned()));
        }
        _ => bail!("lab run: {}", last_line(&ran.stderr)),
    }
    let verdict = serde_json::from_slice(&ran.stdout).context("lab run gave no JSON")?;
    Ok(Ran::Judged(judged(&verdict)))
}

fn judged(verdict: &Value) -> Judged {
    let lab = &verdict["lab"];
    Judged {
        passed: lab["passed"] == true,
        named: named(verdict),
        expected: texts(&lab["expected"]),
        hidden: lab["hidden"].as_str().map(str::to_owned),
        besides: besides(verdict),
        told: told(verdict),
    }
}

fn besides(verdict: &Value) -> BTreeSet<String> {
    let rows = |part: &str| verdict[part].as_array().into_iter().flatten();
    let below = rows("findings").filter(|f| !f["consequence_of"].is_null());
    let below = below.filter_map(|f| f["cause"].as_str().map(str::to_owned));
    let undecided = rows("cannot_tell").flat_map(|row| texts(&row["causes"]));
    below.chain(undecided).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_netdiag_knows() {
        let known = read(&serde_json::json!({
            "scenarios": { "a": { "expected": ["a"], "family": "f", "lacks": "needs ipip" } },
            "pairs": [{ "first": "a", "second": "b", "hidden": null }, { "first": "a" }],
        }));
        let a = &known.scenarios["a"];
        assert_eq!(
            (a.family.as_str(), a.lacks.as_deref()),
            ("f", Some("needs ipip"))
        );
        assert!(a.expected.contains("a"));
        assert_eq!(known.pairs.len(), 1);
        assert_eq!(known.pairs[0].hidden, None);
    }

    #[test]
    fn tells_what_is_hidden() {
        let verdict = serde_json::json!({
            "findings": [
                { "cause": "a", "severity": "critical" },
                { "cause": "b", "severity": "critical", "consequence_of": "a" },
            ],
            "cannot_tell": [{ "causes": ["c"] }],
            "lab": { "passed": true, "expected": ["a"], "hidden": "b" },
        });
        let judged = judged(&verdict);
        assert!(judged.passed);
        assert_eq!(judged.text(), "a; b hidden: b c");
    }
}
