//! What people use instead: bpftrace, tcpdump. Started as they would, beside node A.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::timeout;

use super::Attached;
use crate::cluster::Cluster;
use crate::guarded::Guarded;
use crate::plan::A;
use crate::sys::enter_before_exec;

const COUNTING: &str = "tracepoint:skb:kfree_skb { @[args->reason] = count(); }";
const PRINTING: &str = "tracepoint:skb:kfree_skb { \
                        printf(\"%d %s\\n\", args->reason, ksym(args->location)); }";
/// Says once that all probes are there: bpftrace attaches an interval beside the others.
const SAYS_READY: &str = "interval:ms:200 /!@ready/ { @ready = 1; printf(\"ready\\n\"); }";
const READY: &str = "ready\n";
const LISTENING: &str = "listening on";
const IN_TIME: Duration = Duration::from_secs(20);

/// It ends when this is dropped.
pub struct Peer {
    child: Guarded,
    /// Where it writes, in a file: a pipe's reader would take part in the measurement.
    output: PathBuf,
    what: Attached,
    pub pid: u32,
}

/// The program, and what Debian calls it.
pub fn program(what: &Attached) -> Option<&'static str> {
    match what {
        Attached::BpftraceCounting | Attached::BpftracePrinting => Some("bpftrace"),
        Attached::Tcpdump => Some("tcpdump"),
        _ => None,
    }
}

impl Peer {
    /// Starts it and waits until it is attached.
    pub async fn start(cluster: &Cluster, what: &Attached) -> Result<Self> {
        let name = program(what).context("no other tool")?;
        let output = cluster.dir().join(format!("{name}.out"));
        let file = File::create(&output).context("cannot make a file for its output")?;
        let mut command = std::process::Command::new(name);
        command.stdin(Stdio::null());
        if *what == Attached::Tcpdump {
            let node = &cluster.plan.nodes[A];
            let pod = node.pods.first().context("node A has no pod")?;
            command.args(["-i", &pod.veth, "-nn", "-w", "/dev/null"]);
            command.stdout(Stdio::null()).stderr(file);
            enter_before_exec(&mut command, cluster.netns(&node.netns)?.file()?);
        } else {
            let counts = *what == Attached::BpftraceCounting;
            let script = if counts { COUNTING } else { PRINTING };
            command.args(["-e", &format!("{script} {SAYS_READY}")]);
            let errors =
                File::create(complaints(&output)).context("cannot make a file for its errors")?;
            command.stdout(file).stderr(errors);
        }
        let child = Command::from(command).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().with_context(|| format!("{name} has no pid"))?;
        let mut peer = Self {
            child: Guarded(child),
            output,
            what: *what,
            pid,
        };
        peer.ready().await?;
        Ok(peer)
    }

    async fn ready(&mut self) -> Result<()> {
        let wanted = match self.what {
            Attached::Tcpdump => LISTENING,
            _ => READY,
        };
        let end = Instant::now() + IN_TIME;
        while !self.text()?.contains(wanted) {
            if let Some(status) = self.child.0.try_wait().context("cannot look after it")? {
                bail!("it ended with {status}: {}", self.complaint()?);
            }
            ensure!(Instant::now() < end, "it was not ready in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn text(&self) -> Result<String> {
        read(&self.output)
    }

    /// What it said last before it ended, a line of it.
    fn complaint(&self) -> Result<String> {
        let errors = complaints(&self.output);
        let said = match errors.exists() {
            true => read(&errors)?,
            false => self.text()?,
        };
        // bpftrace warns of its own limits first, and shows the script beneath.
        let mut lines = said.lines().filter(|line| line.contains("ERROR"));
        let last = lines
            .next_back()
            .or_else(|| said.trim().lines().next_back());
        Ok(last.unwrap_or("it said nothing").to_owned())
    }

    /// Ends it, and fails where it has seen nothing: then its cost would be nobody's.
    pub async fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid).context("a pid out of range")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot end it")?;
        let ended = timeout(IN_TIME, self.child.0.wait()).await;
        ended.context("it did not end when it was told to")??;
        ensure!(saw(&self.what, &self.text()?) > 0, "it saw nothing");
        Ok(())
    }
}

/// Beside its output, for what is counted there must be its own.
fn complaints(output: &Path) -> PathBuf {
    output.with_extension("err")
}

fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).context("cannot read its output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How much it says that it saw: events counted, lines printed, packets captured.
fn saw(what: &Attached, text: &str) -> u64 {
    match what {
        Attached::BpftraceCounting => {
            let counts = text.lines().filter(|line| line.starts_with("@["));
            let counts = counts.filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
            counts.sum()
        }
        Attached::BpftracePrinting => {
            let printed = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
            text.lines().filter(printed).count() as u64
        }
        _ => {
            let line = text.lines().find(|line| line.ends_with("packets captured"));
            let count = line.and_then(|line| line.split(' ').next()?.parse().ok());
            count.unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_saw_is_read() {
        let counted = "Attaching 2 probes...\nready\n\n\n@[2]: 7\n@[71]: 100\n@ready: 1\n";
        assert_eq!(saw(&Attached::BpftraceCounting, counted), 107);
        let printed = "Attaching 2 probes...\nready\n71 nft_do_chain\n71 nft_do_chain\n@ready: 1\n";
        assert_eq!(saw(&Attached::BpftracePrinting, printed), 2);
        let captured = "tcpdump: listening on v, link-type EN10MB\n12 packets captured\n";
        assert_eq!(saw(&Attached::Tcpdump, captured), 12);
        assert_eq!(saw(&Attached::Tcpdump, "0 packets captured\n"), 0);
    }
}
