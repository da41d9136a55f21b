//! What netdiag costs on this machine: loads with nothing attached, with empty programs, with
//! netdiag at each level and with other tools, in turn, so that a busy spell of the machine hits
//! all of them; then what grows with flows, drops and links; and P1 to P10, the goals of it all.
mod about;
mod axes;
mod chart;
mod check;
mod goals;
mod lines;
mod markdown;
mod measure;
mod ratios;
mod report;
mod stats;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    build::{self, Profile},
    r#gen, paths, run,
    setup::{self, Way, apt},
    sh::{say, tell},
};
use measure::Size;

#[derive(Args)]
pub struct Options {
    /// Rounds of loads beside nothing [default: 7, with --long 41]
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Seconds of each load in them [default: 0.3s]
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Most of an hour instead of eight minutes: more rounds, more storms, every level on each axis
    #[arg(long, conflicts_with = "smoke")]
    long: bool,
    /// Every part once, for as short as it goes: fails when a part does, whatever the figures are
    #[arg(long, conflicts_with = "write")]
    smoke: bool,
    /// Measure this netdiag, and build none
    #[arg(long, value_name = "FILE")]
    netdiag: Option<PathBuf>,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the chart there as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Make them those of the pages: netdiag-ebpf/cost.json, and what `gen` makes of it
    #[arg(long)]
    write: bool,
}

/// What to measure beside; each is left out by name where it cannot be had.
const PEERS: [&str; 2] = ["bpftrace", "tcpdump"];

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    let profile = Profile::of(!options.smoke);
    let netdiag = match &options.netdiag {
        Some(netdiag) => run::privileged_of(&netdiag.canonicalize()?)?,
        None => {
            let netdiag = run::privileged(profile)?;
            let tools = setup::ensure(via)?;
            build::kernel_side(&tools)?;
            build::user_side(profile)?;
            netdiag
        }
    };
    if !options.smoke {
        peers();
    }
    let size = Size {
        rounds: options.rounds,
        time: options.time.clone(),
        long: options.long,
        smoke: options.smoke,
    };
    let document = document(netdiag, &size)?;
    keep(&document, options)?;
    tell(&markdown::all(&document));
    Ok(ExitCode::SUCCESS)
}

/// Every part once with the netdiag that is there; an error is what failed or made no sense.
pub fn smoke(netdiag: &Path) -> Result<()> {
    let size = Size {
        smoke: true,
        ..Size::default()
    };
    document(run::privileged_of(netdiag)?, &size).map(drop)
}

fn document(netdiag: std::process::Command, size: &Size) -> Result<Value> {
    let lines = measure::lines(netdiag, size)?;
    let document = report::document(about::now(size)?, &lines)?;
    match check::nonsense(&lines, &document).as_slice() {
        [] => Ok(document),
        some => bail!("the figures make no sense: {}", some.join("; ")),
    }
}

fn peers() {
    for name in PEERS {
        if let Err(error) = apt::install(&[name], "netdiag's cost is shown beside its") {
            say(&format!("without {name}: {error:#}"));
        }
    }
}

fn keep(document: &Value, options: &Options) -> Result<()> {
    if let Some(file) = &options.json {
        write(file, &json(document)?)?;
    }
    if let Some(file) = &options.svg {
        write(file, &chart::svg(document))?;
    }
    if options.write {
        write(&measured_file(), &json(document)?)?;
        r#gen::write()?;
    }
    Ok(())
}

fn json(document: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// The figures that the pages show.
fn measured_file() -> PathBuf {
    paths::root().join("netdiag-ebpf/cost.json")
}

/// Where `gen` draws them.
pub fn chart_file() -> PathBuf {
    paths::root().join("netdiag-ebpf/cost.svg")
}

/// What `gen` makes of the figures.
pub struct Generated {
    /// For the page on performance.
    pub cost: String,
    /// For COST.md.
    pub goals: String,
    pub chart: Option<String>,
}

/// Nothing has figures before they are measured.
pub fn generated() -> Result<Generated> {
    let file = measured_file();
    if !file.exists() {
        let none = "Not measured yet: `cargo xtask bench --write` does, and fills this in.\n";
        return Ok(Generated {
            cost: none.to_owned(),
            goals: none.to_owned(),
            chart: None,
        });
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let document: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let chart = "![Throughput beside nothing attached](../../netdiag-ebpf/cost.svg)\n";
    Ok(Generated {
        cost: markdown::page(&document, chart),
        goals: markdown::behind(&document),
        chart: Some(chart::svg(&document)),
    })
}
