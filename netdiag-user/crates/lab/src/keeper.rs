//! Who keeps the programs of a lab that `lab up` left standing: a process of its own, their parent
//! until it is told to end. They end with it, whatever ends it.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::case::Case;
use super::cluster::Cluster;
use super::guarded::Guarded;
use super::incident;
use super::state::start_time;

/// What the keeper says when every program is ready.
const READY: &[u8] = b"ready\n";
/// Each of its programs has two seconds to end by itself.
const ENDS: Duration = Duration::from_secs(30);

/// The keeper of a lab, by its process and when that started (clock ticks after boot).
#[derive(Serialize, Deserialize)]
struct Keeper {
    pid: u32,
    started: u64,
}

/// A keeper that goes on when this process ends, once it is let go.
pub struct Started(Guarded);

impl Started {
    /// Leaves it to itself and to [`end`].
    pub fn let_go(self) {
        std::mem::forget(self.0);
    }
}

/// Starts the lab's keeper and waits until the programs are ready. `None` where the scenario has
/// no programs.
pub async fn start(case: Case, cluster: &Cluster) -> Result<Option<Started>> {
    if case.daemons(&cluster.plan).is_empty() {
        return Ok(None);
    }
    let netdiag = std::env::current_exe().context("cannot find netdiag's own program")?;
    let log = cluster.dir().join("keeper.log");
    let said = File::create(&log).context("cannot write the keeper's log")?;
    let mut command = Command::new(netdiag);
    command.args(["lab", "keep", &cluster.plan.id]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said);
    let mut keeper = Guarded(command.spawn().context("cannot start the lab's keeper")?);
    let mut stdout = keeper.0.stdout.take().context("no standard output")?;
    let mut ready = [0; READY.len()];
    if stdout.read_exact(&mut ready).await.is_err() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("{}", said.lines().last().unwrap_or("the keeper ended"));
    }
    Ok(Some(Started(keeper)))
}

/// Starts the lab's programs and keeps them until this is dropped.
pub async fn keep(case: Case, cluster: &Cluster) -> Result<()> {
    // No terminal's Ctrl-C is meant for it. It fails where it leads a session already.
    let _ = setsid();
    let pid = std::process::id();
    let started = start_time(pid).context("cannot read this process's start time")?;
    let text =
        serde_json::to_vec(&Keeper { pid, started }).context("cannot describe the keeper")?;
    // Before the first program: whoever is noted is ended with the lab.
    fs::write(file(&cluster.dir()), text).context("cannot note the lab's keeper")?;
    let _daemons = incident::daemons(case, cluster).await?;
    std::io::stdout().write_all(READY)?;
    std::io::stdout().flush()?;
    std::future::pending().await
}

/// Whether the lab's programs are as its scenario wants them.
pub fn is_there(dir: &Path) -> bool {
    read(dir).is_some_and(|keeper| keeper.runs())
}

/// Ends the lab's programs, if it has any, and waits until they are gone.
pub fn end(dir: &Path) {
    let Some(keeper) = read(dir) else {
        return;
    };
    let pid = Pid::from_raw(keeper.pid.cast_signed());
    let begun = Instant::now();
    let mut told = false;
    while keeper.runs() {
        let signal = match begun.elapsed() > ENDS {
            true => Signal::SIGKILL,
            false => Signal::SIGTERM,
        };
        if !told || signal == Signal::SIGKILL {
            let _ = kill(pid, signal);
            told = true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("keeper.json")
}

fn read(dir: &Path) -> Option<Keeper> {
    serde_json::from_slice(&fs::read(file(dir)).ok()?).ok()
}

impl Keeper {
    fn runs(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}
