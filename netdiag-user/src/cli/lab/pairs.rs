//! `netdiag lab pairs`: which two scenarios can be in one node. For `cargo xtask lab-pairs`, which
//! chooses among them.
use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use super::line;
use crate::lab::case::Case;
use crate::lab::needs;
use crate::lab::scenarios::{ALL, Scenario};
use crate::output;

/// All of them at that seed, and of each scenario what this machine lacks for it.
pub fn list(seed: u64) -> Result<()> {
    let mut scenarios = BTreeMap::new();
    for scenario in ALL {
        scenarios.insert(scenario.name, of(scenario)?);
    }
    let pairs = Case::pairs(seed).filter_map(|(case, _)| {
        let second = case.second?;
        Some(json!({
            "first": case.first.name,
            "second": second.name,
            "hidden": case.hidden.map(|it| it.scenario.name),
        }))
    });
    let all = json!({ "scenarios": scenarios, "pairs": pairs.collect::<Vec<_>>() });
    line(&output::pretty_json(&all)?)
}

fn of(scenario: &Scenario) -> Result<serde_json::Value> {
    let lacks = match super::outcome(needs::check(scenario.needs)) {
        Ok(checked) => checked.map(|()| None)?,
        Err(why) => Some(why),
    };
    Ok(json!({
        "expected": scenario.expected,
        "family": scenario.family(),
        "lacks": lacks,
    }))
}
