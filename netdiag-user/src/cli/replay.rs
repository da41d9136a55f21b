//! `netdiag replay`: what a recording tells, on any machine, without root or eBPF.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::{diagnose::code, exit, options::Format};
use crate::{
    model::{filter::glob, verdict::Verdict},
    output,
    pipeline::{judge::Judge, samples::samples},
    recording::Replay,
};

#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Recordings that `run` or `diagnose --record FILE` made; several are several nodes.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only recordings of these nodes (repeatable; * and ? match).
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// The verdict as `diagnose` prints it; ndjson: the events as `run` prints them.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write samples of dropped, oversize and retransmitted packets to this file (pcapng).
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

pub fn run(args: &ReplayArgs) -> Result<i32> {
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let mut live = output::Live::new(Format::Ndjson);
    let mut pcap = args
        .pcap
        .as_deref()
        .map(output::Pcapng::create)
        .transpose()?;
    let mut verdicts = Vec::new();
    for file in &args.files {
        let events = match args.output {
            Format::Ndjson => Some((&mut sink, &mut live)),
            _ => None,
        };
        verdicts.extend(replay(file, &args.node, events, pcap.as_mut())?);
    }
    if args.output != Format::Ndjson {
        output::verdicts(&mut sink, &verdicts, args.output)?;
    }
    let codes: Vec<i32> = verdicts.iter().map(code).collect();
    let worst = [exit::FINDINGS, exit::INCOMPLETE];
    let worst = worst.into_iter().find(|code| codes.contains(code));
    Ok(worst.unwrap_or(exit::OK))
}

/// The verdict of one recording, its events told on the way where they are wanted.
fn replay(
    file: &Path,
    nodes: &[String],
    mut events: Option<(&mut output::Sink, &mut output::Live)>,
    mut pcap: Option<&mut output::Pcapng>,
) -> Result<Option<Verdict>> {
    let mut replay = Replay::open(file)?;
    let mut judge = Judge::default();
    let mut last = None;
    while let Some(observation) = replay.tick() {
        let scene = &replay.scene;
        if !nodes.is_empty() && !nodes.iter().any(|n| glob(n, &scene.node.name)) {
            return Ok(None);
        }
        if let Some((sink, live)) = &mut events {
            live.events(sink, judge.events(scene, &observation).events)?;
        } else {
            judge.findings(scene, &observation);
        }
        if let Some(pcap) = &mut pcap {
            let put = pcap.put(&samples(scene, &observation));
            put.context("writing the capture")?;
        }
        last = Some(observation);
    }
    let trouble = replay.trouble();
    let last = last.with_context(|| match &trouble {
        Some(it) => format!("{}: there is no reading in it: {}", file.display(), it.why),
        None => format!("{}: there is no reading in it", file.display()),
    })?;
    if let Some((sink, live)) = events {
        live.events(sink, judge.closing(&replay.scene, &last))?;
        if let Some(it) = &trouble {
            log::warn!("{}: {}", file.display(), it.why);
        }
    }
    replay.scene.run.blind |= trouble.is_some();
    replay.scene.run.not_checked.extend(trouble);
    Ok(Some(judge.verdict(&replay.scene, &last)))
}
