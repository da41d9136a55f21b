//! A netdiag that runs in node A, and what it takes for itself.
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::diagnosis::{READY, listen};
use crate::guarded::Guarded;
use crate::plan::A;
use crate::sys::enter_before_exec;

/// A running `netdiag run`; it ends, and takes its hooks off, when this is dropped.
pub struct Tracer {
    _child: Guarded,
    pub pid: u32,
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Used {
    pub cpu_seconds: f64,
    pub rss_bytes: u64,
}

impl Tracer {
    /// Starts it with everything on, or with programs that do nothing at the same hooks, and
    /// waits until every hook is in place.
    pub async fn start(cluster: &Cluster, empty: bool) -> Result<Self> {
        let node = &cluster.plan.nodes[A];
        let program = std::env::current_exe().context("cannot find netdiag's own program")?;
        let mut command = std::process::Command::new(program);
        command.args(["run", "-o", "ndjson", "--node-name", &node.name]);
        command.arg("--cni-dir").arg(cluster.cni_dir(node));
        if empty {
            command.arg("--empty");
        }
        command.env(netdiag_sys::ready::VARIABLE, "1");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        enter_before_exec(&mut command, cluster.netns(&node.netns)?.file()?);
        let child = Command::from(command).spawn();
        let mut child = child.context("cannot start netdiag run")?;
        let pid = child.id().context("netdiag run has no pid")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let child = Guarded(child);
        let (tell, ready) = oneshot::channel();
        let said = tokio::spawn(listen(stderr, tell));
        match timeout(READY, ready).await {
            Ok(Ok(())) => Ok(Self { _child: child, pid }),
            Ok(Err(_)) => {
                let said = said.await.unwrap_or_default();
                let last = said.last().map_or("nothing", String::as_str);
                Err(anyhow!("netdiag run ended; it said: {last}"))
            }
            Err(_) => Err(anyhow!("netdiag run was not ready in time")),
        }
    }

    pub fn used(&self) -> Result<Used> {
        let pid = i32::try_from(self.pid).context("a pid out of range")?;
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(clock_gettime);
        let cpu = Duration::from(clock.context("cannot read netdiag's CPU time")?);
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(Used {
            cpu_seconds: cpu.as_secs_f64(),
            rss_bytes: resident(&status).with_context(|| format!("{path} has no VmRSS"))?,
        })
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t    12 kB\n"), Some(12_288));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
