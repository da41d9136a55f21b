//! A `netdiag diagnose` that a program of the lab's starts in a node and waits for.
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Skipped;
use super::cluster::Cluster;
use super::guarded::Guarded;
use super::netns::PREFIX;
use super::plan::Node;
use super::sys::enter_before_exec;
use crate::kernel::refusal::BadObject;
use crate::model::shell::CommandLine;
use crate::model::verdict::Verdict;
use crate::shell;
use netdiag_sys::ready;

/// Loading takes a quarter of a second; in an emulated VM, where the verifier is a hundred times
/// slower, most of a minute, and twice that where the host has other things to do.
pub const READY: Duration = Duration::from_secs(150);
/// What a diagnosis may take beyond its own duration.
pub const GRACE: Duration = Duration::from_secs(20);
const STABLE_SECONDS: u32 = 2;

/// How a netdiag watches a node.
pub struct Watch {
    pub duration: Duration,
    /// It ends as soon as its findings have stood for a while.
    pub stable: bool,
    pub record: Option<PathBuf>,
}

/// Where that node has its files, and what it is called: for any of netdiag's commands there.
fn place(cluster: &Cluster, node: &Node) -> Vec<String> {
    let folder = |path: PathBuf| path.display().to_string();
    let mut words = vec![
        "--root".to_owned(),
        folder(cluster.root(node)),
        "--cni-dir".to_owned(),
        folder(cluster.cni_dir(node)),
        // Processes are the machine's, and other labs stand beside.
        "--cgroup-root".to_owned(),
        format!("{PREFIX}{}", cluster.plan.id),
        "--node-name".to_owned(),
        node.name.clone(),
    ];
    if let Some(told) = node.told {
        words.extend(["--node-ip".to_owned(), told.to_string()]);
    }
    words
}

/// The same diagnosis as a person starts it from outside of the lab.
pub fn by_hand(cluster: &Cluster, node: &Node, netdiag: &str) -> CommandLine {
    let diagnose = shell!("ip netns exec {} {} diagnose", node.netns, netdiag);
    diagnose.with_words(place(cluster, node))
}

/// A running `netdiag diagnose`.
pub struct Diagnosis {
    child: Guarded,
    ready: oneshot::Receiver<()>,
    stdout: JoinHandle<std::io::Result<Vec<u8>>>,
    stderr: JoinHandle<Vec<String>>,
}

impl Diagnosis {
    /// Starts it in the node.
    pub fn start(cluster: &Cluster, node: &Node, watch: &Watch) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find netdiag's own program")?;
        let mut command = std::process::Command::new(program);
        command.arg("diagnose").args(["-o", "json"]);
        if let Some(file) = &watch.record {
            command.arg("--record").arg(file);
        }
        command.args(["--duration", &format!("{}s", watch.duration.as_secs_f64())]);
        command.arg("--ways").arg(cluster.ways(node));
        if watch.stable {
            command.args(["--until-stable", &STABLE_SECONDS.to_string()]);
        }
        command.args(place(cluster, node));
        command.env(ready::VARIABLE, "1");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        enter_before_exec(&mut command, cluster.netns(&node.netns)?.file()?);
        let mut child = Command::from(command)
            .spawn()
            .context("cannot start netdiag diagnose")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let (tell, ready) = oneshot::channel();
        Ok(Self {
            child: Guarded(child),
            ready,
            stdout: tokio::spawn(async move {
                let mut all = Vec::new();
                stdout.read_to_end(&mut all).await?;
                Ok(all)
            }),
            stderr: tokio::spawn(listen(stderr, tell)),
        })
    }

    /// Waits until every hook is in place.
    pub async fn ready(&mut self) -> Result<()> {
        match timeout(READY, &mut self.ready).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                let status = self
                    .child
                    .0
                    .wait()
                    .await
                    .context("cannot wait for netdiag")?;
                Err(self.failure(status).await)
            }
            Err(_) => bail!("netdiag diagnose was not ready after {} s", READY.as_secs()),
        }
    }

    /// Tells it to end and waits until its recording is closed.
    pub async fn end(mut self) -> Result<()> {
        if let Some(pid) = self.child.0.id() {
            kill(Pid::from_raw(pid as i32), Signal::SIGTERM).context("cannot end netdiag")?;
        }
        let ended = timeout(GRACE, self.child.0.wait()).await;
        let status = ended
            .map_err(|_| anyhow!("netdiag diagnose did not end when it was told to"))?
            .context("cannot wait for netdiag")?;
        // 143 is what it ends with when it is told to.
        match status.code() {
            Some(0 | 1 | 4 | 143) => Ok(()),
            _ => Err(self.failure(status).await),
        }
    }

    /// What it prints at its end, which must come within that time.
    pub async fn verdict(&mut self, limit: Duration) -> Result<Verdict> {
        let ended = timeout(limit, self.child.0.wait()).await;
        let status = ended
            .map_err(|_| anyhow!("netdiag diagnose did not end after {} s", limit.as_secs()))?
            .context("cannot wait for netdiag")?;
        let text = (&mut self.stdout)
            .await
            .context("cannot read the verdict")?;
        let text = text.context("cannot read the verdict")?;
        match serde_json::from_slice(&text) {
            Ok(verdict) => Ok(verdict),
            Err(_) if text.is_empty() => Err(self.failure(status).await),
            Err(error) => Err(error).context("netdiag diagnose printed no verdict"),
        }
    }

    /// What netdiag said when it gave up. Exit code 3 is the environment's fault, not the lab's.
    async fn failure(&mut self, status: ExitStatus) -> anyhow::Error {
        let lines = (&mut self.stderr).await.unwrap_or_default();
        let said = lines.last().map_or("nothing", String::as_str);
        gave_up(status, said)
    }
}

/// A skip, unless netdiag itself is at fault.
fn gave_up(status: ExitStatus, said: &str) -> anyhow::Error {
    match status.code() {
        Some(3) if !said.contains(BadObject::SAYS) => anyhow!(Skipped(format!(
            "needs what netdiag diagnose misses: {said}"
        ))),
        _ => anyhow!("netdiag diagnose ended with {status}; it said: {said}"),
    }
}

/// Passes on what netdiag says, and tells when it is ready.
pub async fn listen(
    stderr: tokio::process::ChildStderr,
    ready: oneshot::Sender<()>,
) -> Vec<String> {
    let (mut ready, mut said) = (Some(ready), Vec::new());
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == ready::LINE {
            // Nobody waits any more when the run is being given up.
            let _ = ready.take().map(|ready| ready.send(()));
        } else {
            log::info!("diagnose: {line}");
            said.push(line);
        }
    }
    said
}
#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_machine_lacks_something_and_a_broken_build_fails() {
        let ended = |said: &str| gave_up(ExitStatus::from_raw(3 << 8), said);
        let skipped = |said: &str| ended(said).downcast_ref::<Skipped>().is_some();
        assert!(skipped("netdiag: this kernel has no BPF ring buffer"));
        let broken = BadObject::no_map("FLOWS").to_string();
        assert!(!skipped(&format!("netdiag: reading: {broken}")));
    }
}
