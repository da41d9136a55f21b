//! One incident by netdiag's own runner, its commands and its fix tried.
use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Family, Lab, counts::Counts};
use crate::{sh, verdict::last_line};

/// A diagnosis, its commands one after the other where they hang, and a second look.
const LIMIT: &str = "300";

pub enum Ran {
    Done(Done),
    Skipped(String),
    Failed(String),
}

pub struct Done {
    /// Named, with each command of use, and the finding gone by its fix where that can be had here.
    pub passed: bool,
    pub counts: Counts,
    /// A line each, with the reason.
    pub useless: Vec<String>,
    pub skipped: Vec<String>,
}

pub fn run(netdiag: &Path, lab: &Lab) -> Result<Ran> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(netdiag);
    command.args(["lab", "run", &lab.scenario, "--confirm", "--fix"]);
    command.args(["--seed", &lab.seed.to_string(), "-o", "json"]);
    if lab.family == Family::Ipv6 {
        command.arg("--ipv6");
    }
    let ran = sh::output(&mut command)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.code() {
        Some(0 | 1) if !ran.stdout.is_empty() => {}
        Some(3) => {
            let mut lines = said.lines();
            let why = lines.find_map(|line| line.split_once("skipped: ").map(|it| it.1));
            return Ok(Ran::Skipped(why.unwrap_or("no reason given").to_owned()));
        }
        _ => bail!("lab run: {}", last_line(&ran.stderr)),
    }
    let verdict = serde_json::from_slice(&ran.stdout).context("lab run gave no JSON")?;
    Ok(Ran::Done(read(&verdict)))
}

pub fn read(verdict: &Value) -> Done {
    let lab = &verdict["lab"];
    let commands = lab["commands"].as_array();
    let commands = commands.map(Vec::as_slice).unwrap_or_default();
    let told = |key: &'static str| {
        let all = commands.iter().filter_map(move |it| {
            let why = it[key].as_str()?;
            Some(format!("{why}: {}", it["command"].as_str().unwrap_or("-")))
        });
        all.collect()
    };
    Done {
        passed: lab["passed"] == true,
        counts: Counts::read(commands),
        useless: told("failure"),
        skipped: told("skipped"),
    }
}
