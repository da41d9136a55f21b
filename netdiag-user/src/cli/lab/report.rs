//! How `netdiag lab` tells what there is and what happened.
use std::io::{self, Write};

use anyhow::Result;
use comfy_table::Table;
use serde_json::json;

use super::junit::Junit;
use super::matrix::Matrix;
use super::{Format, Outcome, commands, line};
use crate::cli::Usage;
use crate::lab::case::Case;
use crate::lab::judge::named;
use crate::lab::needs::Need;
use crate::lab::plan::Kind;
use crate::lab::scenarios::Scenario;
use crate::lab::state::Options;
use crate::model::{
    text,
    verdict::{LabResult, Verdict},
};
use crate::output::{self, Sink};

/// The scenarios there are.
pub fn list(scenarios: &[Scenario], format: Format) -> Result<()> {
    let rows = scenarios.iter().map(|scenario| {
        json!({
            "name": scenario.name,
            "summary": scenario.summary,
            "topology": topology(scenario.topology),
            "expected": scenario.expected,
            "leads_to": scenario.leads_to,
            "needs": scenario.needs.iter().map(|need| need.name()).collect::<Vec<_>>(),
        })
    });
    match format {
        Format::Json => {
            let all: Vec<_> = rows.collect();
            line(&output::pretty_json(&all)?)
        }
        Format::Ndjson => rows.into_iter().try_for_each(|row| line(&row.to_string())),
        Format::Junit => Err(Usage("lab list has no runs to tell of as JUnit XML".into()).into()),
        Format::Table => {
            let mut sink = Sink::open(None)?;
            let mut table = plain_table(&["NAME", "TOPOLOGY", "NEEDS", "SUMMARY"]);
            for scenario in scenarios {
                let needs: Vec<_> = scenario
                    .needs
                    .iter()
                    .map(|need: &Need| need.name())
                    .collect();
                let topology = topology(scenario.topology);
                table.add_row([scenario.name, topology, &needs.join(" "), scenario.summary]);
            }
            let wide = table.trim_fmt();
            let widest = wide.lines().map(|l| l.chars().count()).max();
            match widest > Some(sink.room()) {
                true => sink.write(&names(scenarios, sink.room())),
                false => line(&wide),
            }
        }
    }
}

/// What fits a terminal: a scenario that lacks something says so when it is run.
fn names(scenarios: &[Scenario], width: usize) -> String {
    let longest = scenarios.iter().map(|s| s.name.len()).max().unwrap_or(0);
    let mut lines = output::beside(" NAME", longest + 3, "SUMMARY", width);
    for scenario in scenarios {
        let name = format!(" {}", scenario.name);
        lines.push_str(&output::beside(&name, longest + 3, scenario.summary, width));
    }
    lines + "What each needs: netdiag lab list -o json\n"
}

/// Why there is nothing to show.
pub fn skipped(why: &str) -> Result<()> {
    line(&format!("skipped: {why}"))
}

/// What belongs to no document goes to stderr.
fn aside(text: &str) -> Result<()> {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(io::stderr(), "{}", text::lines(text));
    Ok(())
}

/// Prints runs as they end, and for several runs what they come to.
pub struct Outcomes {
    format: Format,
    several: bool,
    verdicts: Vec<Verdict>,
    matrix: Matrix,
    junit: Junit,
}

impl Outcomes {
    pub fn new(format: Format, several: bool) -> Self {
        Self {
            format,
            several,
            verdicts: Vec::new(),
            matrix: Matrix::default(),
            junit: Junit::default(),
        }
    }

    pub fn add(&mut self, case: Case, options: &Options, outcome: Outcome) -> Result<()> {
        let scenario = case.first;
        if let Outcome::Verdict(verdict) = &outcome {
            let names: Vec<_> = named(verdict).into_iter().collect();
            let fault = !case.expected(options.healthy).is_empty();
            self.matrix.add(scenario.name, fault, &names);
        }
        if self.format == Format::Junit {
            self.junit.add(scenario.name, &variant(options), &outcome);
            return Ok(());
        }
        if self.several && self.format == Format::Table {
            return tell(scenario, options, &outcome);
        }
        match (outcome, self.format) {
            (Outcome::Verdict(verdict), Format::Table) => show(&verdict),
            (Outcome::Verdict(verdict), Format::Ndjson) => line(&output::json(&verdict)?),
            (Outcome::Verdict(verdict), Format::Json | Format::Junit) => {
                self.verdicts.push(*verdict);
                Ok(())
            }
            (Outcome::Skipped(why), Format::Table) => skipped(&why),
            (Outcome::Skipped(why), _) => aside(&format!("{}: skipped: {why}", scenario.name)),
            (Outcome::Failed(error), _) => {
                let seed = options.seed;
                aside(&format!(
                    "netdiag: {}, seed {seed}: {error:#}",
                    scenario.name
                ))
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        match self.format {
            Format::Json if self.several => line(&output::pretty_json(&self.verdicts)?),
            Format::Json => self
                .verdicts
                .first()
                .map_or(Ok(()), |verdict| line(&output::pretty_json(verdict)?)),
            Format::Table if self.several => line(&format!("\n{}", self.matrix.text())),
            Format::Junit => line(&self.junit.text()?),
            Format::Table | Format::Ndjson => Ok(()),
        }
    }
}

/// One line for one of several runs, as soon as it ends; what failed is shown whole.
fn tell(scenario: &Scenario, options: &Options, outcome: &Outcome) -> Result<()> {
    let title = format!("{} ({})", scenario.name, variant(options));
    match outcome {
        Outcome::Verdict(verdict) => {
            let lab = verdict.lab.as_ref();
            let after = lab.and_then(|lab| lab.named_after);
            let mut after = after.map_or_else(String::new, |s| format!(", named after {s:.1} s"));
            if let Some(fixed) = lab.and_then(|lab| lab.fixed) {
                after.push_str(if fixed { ", fixed" } else { ", not fixed" });
            }
            after.push_str(&lab.map_or_else(String::new, change));
            let tried = lab.map_or(&[][..], |lab| &lab.commands);
            after.push_str(&commands::counted(tried));
            if lab.is_some_and(|lab| lab.passed) {
                line(&format!("passed   {title}{after}"))?;
                return commands::skipped(tried).try_for_each(|(command, why)| {
                    let told = format!("skipped  {title}, a printed command: {why}: {command}");
                    line(&text::lines(&told))
                });
            }
            let names: Vec<_> = named(verdict).into_iter().collect();
            let names = if names.is_empty() {
                "nothing".into()
            } else {
                names.join(" ")
            };
            let wrong = lab.map_or_else(String::new, wrong);
            let told = format!("FAILED   {title}: named {names}{after}{wrong}");
            line(&text::shown(&told))?;
            commands::lines(tried).try_for_each(|told| line(&told))?;
            show(verdict)
        }
        Outcome::Skipped(why) => line(&format!("skipped  {title}: {why}")),
        Outcome::Failed(error) => line(&format!("FAILED   {title}: {error:#}")),
    }
}

/// A verdict for people.
fn show(verdict: &Verdict) -> Result<()> {
    let ways = verdict.lab.as_ref().map_or(&[][..], |lab| &lab.ways);
    output::verdict(&mut Sink::open(None)?, verdict, ways, output::Format::Table)?;
    let Some(lab) = &verdict.lab else {
        return Ok(());
    };
    let expected = if lab.expected.is_empty() {
        "nothing".to_owned()
    } else {
        lab.expected.join(" ")
    };
    commands::lines(&lab.commands).try_for_each(|told| line(&told))?;
    let result = if lab.passed { "passed" } else { "FAILED" };
    let after = lab
        .named_after
        .map_or_else(String::new, |after| format!(", named after {after:.1} s"));
    let (change, wrong) = (change(lab), wrong(lab));
    let told = format!(
        "lab {}: {result} (expected {expected}{after}{change}){wrong}",
        lab.scenario
    );
    line("")?;
    line(&text::shown(&told))
}

/// The change that a root names, where the fault came late.
fn change(lab: &LabResult) -> String {
    match lab.change.as_ref().map(|it| (it.off, &it.text)) {
        Some((Some(off), Some(text))) => format!(", change {off:+.1} s: {text}"),
        Some(_) => ", no change named".to_owned(),
        None => String::new(),
    }
}

fn wrong(lab: &LabResult) -> String {
    lab.wrong.iter().map(|what| format!("; {what}")).collect()
}

fn variant(options: &Options) -> String {
    let mut words = vec![format!("seed {}", options.seed)];
    words.extend(options.with.iter().map(|name| format!("with {name}")));
    let flags = [
        (options.healthy, "healthy"),
        (options.ipv6, "ipv6"),
        (!options.offload, "no offload"),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, word)| (*word).to_owned()),
    );
    words.join(", ")
}

fn topology(kind: Kind) -> &'static str {
    match kind {
        Kind::Vxlan => "vxlan",
        Kind::Ipip => "ipip",
        Kind::Gre => "gre",
    }
}

pub fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(header.to_vec());
    table
}
