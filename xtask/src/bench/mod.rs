//! What netdiag costs on this machine: floods and drop storms with nothing attached, with empty
//! programs and with netdiag, in turn, so that a busy spell of the machine hits all three.
mod numbers;
mod samples;
mod table;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    build::{self, Profile},
    run,
    setup::{self, Way},
    sh::{say, tell},
};
use numbers::Numbers;
use samples::Samples;

#[derive(Args)]
pub struct Options {
    /// Rounds of the three; each takes about ten seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u32,
    /// Seconds of each flood
    #[arg(long, value_name = "TIME", default_value = "1s")]
    time: String,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    let mut netdiag = run::privileged(Profile::Release)?;
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    build::user_side(Profile::Release)?;
    let samples = measure(&mut netdiag, options)?;
    let numbers = Numbers::of(&samples)?;
    if let Some(file) = &options.json {
        write(file, &numbers)?;
    }
    tell(&table::markdown(&numbers));
    Ok(ExitCode::SUCCESS)
}

/// Runs the bench to its end; it makes its namespaces itself and takes them away.
fn measure(netdiag: &mut Command, options: &Options) -> Result<Samples> {
    let rounds = options.rounds.to_string();
    netdiag.args(["lab", "bench", "--rounds", &rounds, "--time", &options.time]);
    netdiag.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = netdiag.spawn().context("start netdiag lab bench")?;
    let stdout = child.stdout.take().context("netdiag's stdout")?;
    let mut samples = Samples::default();
    let read = || -> Result<()> {
        for line in BufReader::new(stdout).lines() {
            samples.add(&line.context("read from netdiag")?)?;
            say(&samples.progress());
        }
        Ok(())
    };
    // A line that is not understood closes the pipe, and that ends netdiag.
    let done = read();
    let status = child.wait().context("wait for netdiag")?;
    done?;
    if !status.success() {
        bail!("`netdiag lab bench` ended with {status}");
    }
    Ok(samples)
}

fn write(file: &Path, numbers: &Numbers) -> Result<()> {
    let text = serde_json::to_string_pretty(&numbers.json())?;
    fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
}
