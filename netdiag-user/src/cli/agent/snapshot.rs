//! `netdiag agent snapshot`: one recording of what an agent keeps on this node's disk.
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::settings;
use crate::{
    agent::snapshot::{Taken, take},
    cli::{Usage, exit, options::duration},
    output,
    recording::Recorder,
    sys::output_file::{self, Replacement},
};

#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// Write this recording, for `netdiag replay`; - is stdout.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Begin so long ago: 30s, 10m, 1h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub since: Duration,
    /// The folder in which the agent keeps its history [default: what its configuration says].
    #[arg(long, value_name = "DIR", env = "NETDIAG_HISTORY")]
    pub history: Option<PathBuf>,
    /// The agent's configuration [default: /etc/netdiag/agent.toml].
    #[arg(long, value_name = "FILE", env = "NETDIAG_CONFIG")]
    pub config: Option<PathBuf>,
}

pub fn run(args: &SnapshotArgs) -> Result<i32> {
    let folder = settings::history(args.history.as_deref(), args.config.as_deref())?;
    let long = SignedDuration::try_from(args.since).unwrap_or(SignedDuration::MAX);
    let since = Timestamp::now().checked_sub(long);
    let since = since.unwrap_or(Timestamp::MIN);
    if args.file.as_os_str() == "-" {
        if std::io::stdout().is_terminal() {
            let why = "a recording is no text for a terminal: name a file, or redirect it";
            return Err(Usage(why.into()).into());
        }
        let recorder = output_file::create(Path::new("/dev/stdout")).and_then(Recorder::to);
        let taken = take(&folder, since, recorder.context("cannot write to stdout")?)?;
        say_earlier(&taken);
        return Ok(exit::OK);
    }
    let cannot_write = || format!("cannot write {}", args.file.display());
    // Until it is whole, what was there stays.
    let new = Replacement::of(&args.file).with_context(cannot_write)?;
    let recorder = new.file().and_then(Recorder::to);
    let taken = take(&folder, since, recorder.with_context(cannot_write)?)?;
    new.put().with_context(cannot_write)?;
    say_earlier(&taken);
    let seconds = taken.to.duration_since(taken.from).as_secs();
    output::line(&format!(
        "{}: {seconds} s until {:.0}; `netdiag replay` tells what they show",
        args.file.display(),
        taken.to
    ))?;
    Ok(exit::OK)
}

fn say_earlier(taken: &Taken) {
    if taken.earlier > 0 {
        log::warn!(
            "the agent began again meanwhile: {} pieces of what was before are left out",
            taken.earlier
        );
    }
}
