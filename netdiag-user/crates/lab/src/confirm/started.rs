//! A command line that runs in a node until it ends, or has shown enough.
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::netns;
use crate::plan::Node;
use crate::sys::enter_before_exec;

/// What shows something ends by then.
pub const SHOWN: Duration = Duration::from_secs(5);
/// What watches ends by itself after ten seconds.
pub const WATCHED: Duration = Duration::from_secs(15);
/// More than that is nothing for a person.
const MOST: usize = 4 << 20;

/// What became of it.
pub struct Ran {
    pub output: String,
    errors: String,
    /// Nothing where it did not end.
    pub status: Option<ExitStatus>,
}

impl Ran {
    pub fn seen(&self, seen: impl Fn(&str) -> bool) -> bool {
        seen(&self.output)
    }

    /// Nothing is said by a shell alone that cannot start it.
    pub fn says_something(&self) -> bool {
        let started = self
            .status
            .and_then(|s| s.code())
            .is_some_and(|code| code < 126);
        started && !(self.output.trim().is_empty() && self.errors.trim().is_empty())
    }

    /// Told with the beginning of what it printed.
    pub fn failure(&self, why: &str) -> String {
        let said: String = self
            .output
            .chars()
            .chain(self.errors.chars())
            .take(300)
            .collect();
        format!("{why}; it said {said:?}")
    }
}

/// Ends with all that it started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id() {
            let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

/// Until it ends, has printed what is `enough`, or takes longer than the limit.
pub async fn run(
    cluster: &Cluster,
    node: &Node,
    (line, limit): (&str, Duration),
    enough: impl Fn(&str) -> bool,
) -> Result<Ran> {
    // A /sys of the node's own has no cgroups below it.
    let netns = cluster.netns(&node.netns)?;
    let mut shell = std::process::Command::new("sh");
    if line.contains("/sys/fs/cgroup") {
        shell = std::process::Command::new("nsenter");
        shell.args([&format!("--net={}/{}", netns::DIR, netns.name), "sh"]);
    } else {
        enter_before_exec(&mut shell, netns.file()?);
    }
    shell.args(["-c", line]).process_group(0);
    shell.stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Group(Command::from(shell).spawn().context("cannot start sh")?);
    let mut stdout = child.0.stdout.take().context("no standard output")?;
    let mut stderr = child
        .0
        .stderr
        .take()
        .context("no standard error")?
        .take(MOST as u64);
    let group = child.0.id().map(|pid| Pid::from_raw(pid as i32));
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let printed = async {
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = stdout.read(&mut part).await {
            output.extend(&part[..read]);
            if output.len() > MOST || enough(&String::from_utf8_lossy(&output)) {
                group.map(|group| killpg(group, Signal::SIGKILL));
                break;
            }
        }
    };
    let all = async {
        tokio::join!(printed, stderr.read_to_end(&mut errors))
            .1
            .ok()?;
        child.0.wait().await.ok()
    };
    let status = timeout(limit, all).await.ok().flatten();
    Ok(Ran {
        output: String::from_utf8_lossy(&output).into_owned(),
        errors: String::from_utf8_lossy(&errors).into_owned(),
        status,
    })
}
