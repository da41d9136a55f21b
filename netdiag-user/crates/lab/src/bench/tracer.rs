//! A netdiag that runs in node A, and what it takes for itself.
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Attached, cpu};
use crate::cluster::Cluster;
use crate::diagnosis::{GRACE, READY, listen};
use crate::guarded::Guarded;
use crate::plan::A;
use crate::sys::enter_before_exec;
use netdiag_kernel::cost;
use netdiag_model::verdict::Verdict;

/// A running `netdiag run`; it ends, and takes its hooks off, when this is dropped.
pub struct Tracer {
    child: Guarded,
    ready: Option<oneshot::Receiver<()>>,
    said: JoinHandle<Vec<String>>,
    stdout: Option<ChildStdout>,
    pub begun: Instant,
    pub pid: u32,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Used {
    pub cpu_seconds: f64,
    pub rss_bytes: u64,
    pub map_bytes: u64,
}

/// What `netdiag run -o json` prints at its end; its events are not looked at.
#[derive(Deserialize)]
struct Summary {
    verdict: Verdict,
}

impl Tracer {
    /// Starts it and waits until every hook is in place.
    pub async fn start(cluster: &Cluster, what: &Attached) -> Result<Self> {
        let mut tracer = Self::spawn(cluster, what, "ndjson")?;
        tracer.ready().await?;
        Ok(tracer)
    }

    /// The same, to be asked for its summary in the end.
    pub async fn start_to_tell(cluster: &Cluster, what: &Attached) -> Result<Self> {
        let mut tracer = Self::spawn(cluster, what, "json")?;
        tracer.ready().await?;
        Ok(tracer)
    }

    pub fn spawn(cluster: &Cluster, what: &Attached, output: &str) -> Result<Self> {
        let node = &cluster.plan.nodes[A];
        let program = std::env::current_exe().context("cannot find netdiag's own program")?;
        let mut command = std::process::Command::new(program);
        command.args(["run", "-o", output, "--node-name", &node.name]);
        command.arg("--cni-dir").arg(cluster.cni_dir(node));
        match what {
            Attached::Empty => drop(command.arg("--empty")),
            Attached::Netdiag(level) => drop(command.args(["--level", &level.to_string()])),
            _ => {}
        }
        command.env(netdiag_sys::ready::VARIABLE, "1");
        let tells = output == "json";
        let stdout = if tells { Stdio::piped } else { Stdio::null };
        command
            .stdin(Stdio::null())
            .stdout(stdout())
            .stderr(Stdio::piped());
        enter_before_exec(&mut command, cluster.netns(&node.netns)?.file()?);
        let begun = Instant::now();
        let child = Command::from(command).spawn();
        let mut child = child.context("cannot start netdiag run")?;
        let pid = child.id().context("netdiag run has no pid")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let stdout = child.stdout.take();
        let (tell, ready) = oneshot::channel();
        Ok(Self {
            child: Guarded(child),
            ready: Some(ready),
            said: tokio::spawn(listen(stderr, tell)),
            stdout,
            begun,
            pid,
        })
    }

    /// Waits until every hook is in place; returns how long that took from its start.
    pub async fn ready(&mut self) -> Result<Duration> {
        let ready = self.ready.take().context("it was ready before")?;
        match timeout(READY, ready).await {
            Ok(Ok(())) => Ok(self.begun.elapsed()),
            Ok(Err(_)) => {
                let said = (&mut self.said).await.unwrap_or_default();
                let last = said.last().map_or("nothing", String::as_str);
                Err(anyhow!("netdiag run ended; it said: {last}"))
            }
            Err(_) => Err(anyhow!("netdiag run was not ready in time")),
        }
    }

    pub fn used(&self) -> Result<Used> {
        Ok(Used {
            cpu_seconds: cpu::process(self.pid)?.as_secs_f64(),
            rss_bytes: resident(self.pid)?,
            map_bytes: cost::map_bytes(self.pid)?,
        })
    }

    /// Ends it, and returns its summary.
    pub async fn summary(mut self) -> Result<Verdict> {
        let pid = i32::try_from(self.pid).context("a pid out of range")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot end netdiag run")?;
        let mut stdout = self.stdout.take().context("it was not to tell anything")?;
        let mut text = Vec::new();
        let read = timeout(GRACE, stdout.read_to_end(&mut text)).await;
        read.map_err(|_| anyhow!("netdiag run did not end when it was told to"))?
            .context("cannot read netdiag's summary")?;
        let ended = self.child.0.wait().await;
        ended.context("cannot wait for netdiag run")?;
        let summary: Summary =
            serde_json::from_slice(&text).context("netdiag run printed no summary")?;
        Ok(summary.verdict)
    }
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_in_bytes() -> Result<()> {
        assert!(resident(std::process::id())? > 1 << 20);
        assert!(resident(u32::MAX).is_err());
        Ok(())
    }
}
