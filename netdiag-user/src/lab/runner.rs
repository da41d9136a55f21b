//! Runs a scenario: builds it, starts netdiag inside the diagnosing node, lets the traffic meet
//! the fault, and compares what was named with what was expected.
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Skipped;
use super::cluster::Cluster;
use super::fix;
use super::plan::{Node, Plan};
use super::scenarios::Scenario;
use super::state::Options;
use super::step::Step;
use super::sys::enter_before_exec;
use super::traffic::Traffic;
use crate::kernel::load::Broken;
use crate::model::verdict::{Confidence, Finding, FlowRef, LabResult, Outcome, Severity, Verdict};

/// The line on stderr by which `netdiag diagnose` says that every hook is in place; asked for
/// with the environment variable [`READY_VARIABLE`].
pub const READY_LINE: &str = "netdiag: ready";
pub const READY_VARIABLE: &str = "NETDIAG_READY";
/// Loading takes a quarter of a second; in an emulated VM, where the verifier is a hundred times
/// slower, most of a minute, and twice that where the host has other things to do.
pub(super) const READY: Duration = Duration::from_secs(150);
/// What a diagnosis may take beyond its own duration.
const GRACE: Duration = Duration::from_secs(20);
const STABLE_SECONDS: u32 = 2;
/// How long the second look takes: as long as that at a healthy node. Some fixes help with the
/// next try of somebody else, as kubelet's: it is not cut short by what is still named at first.
const AGAIN: Duration = Duration::from_secs(6);

/// How a run is to be done.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long netdiag watches at most.
    pub duration: Option<Duration>,
    /// Then apply the fix and look again, where the scenario's can be applied here.
    pub fix: bool,
    /// Where netdiag writes its recording.
    pub record: Option<PathBuf>,
    /// Where a netdiag in every node writes one, `SCENARIO.NODE.ndr`.
    pub record_all: Option<PathBuf>,
}

/// Runs the scenario and returns the node's verdict, with `lab` filled in. Fails with
/// [`Skipped`] where this machine cannot host it.
pub async fn run(scenario: &Scenario, options: Options, settings: &Settings) -> Result<Verdict> {
    let cluster = build(scenario, options.clone()).await?;
    let node = &cluster.plan.nodes[scenario.observer(&cluster.plan)];
    let usual = if options.healthy || scenario.expected.is_empty() {
        6
    } else {
        12
    };
    let duration = settings.duration.unwrap_or(Duration::from_secs(usual));
    // A node's daemons run for long before anybody looks at it.
    let _daemons = daemons(scenario, &cluster).await?;
    let mut witnesses = Vec::new();
    if let Some(folder) = &settings.record_all {
        witnesses = watch_others(&cluster, node, folder, duration).await?;
    }
    let watch = Watch {
        duration,
        stable: true,
        record: settings.recording(scenario, node),
    };
    let mut diagnosis = Diagnosis::start(&cluster, node, &watch)?;
    diagnosis.ready().await?;
    let mut begun = Timestamp::now();
    let traffic = Traffic::start(&cluster, &scenario.traffic(&cluster.plan))?;
    let moves = scenario.moves(&cluster.plan);
    if let Some((first, _)) = moves.first() {
        // Until then nothing is wrong that could be named.
        begun += Duration::from_millis(*first);
    }
    let verdict = beside(
        diagnosis.verdict(duration + GRACE),
        follow(&cluster, &moves),
    );
    let mut verdict = verdict.await??;
    for witness in witnesses {
        witness.end().await?;
    }
    let mut lab = judge(scenario, &cluster.plan, &verdict, begun);
    if settings.fix && scenario.fixable(&cluster.plan) && !options.healthy && lab.passed {
        fix::apply(&cluster, node, &verdict).await?;
        let fixed = is_gone(&cluster, node, &traffic).await?;
        lab.fixed = Some(fixed);
        lab.passed &= fixed;
    }
    drop(traffic);
    verdict.lab = Some(lab);
    Ok(verdict)
}

impl Settings {
    /// Where the diagnosing node's recording goes.
    fn recording(&self, scenario: &Scenario, node: &Node) -> Option<PathBuf> {
        let folder = self.record_all.as_ref();
        let among_all = folder.map(|folder| recording_of(folder, scenario.name, node));
        among_all.or_else(|| self.record.clone())
    }
}

fn recording_of(folder: &Path, scenario: &str, node: &Node) -> PathBuf {
    folder.join(format!("{scenario}.{}.ndr", node.name))
}

/// Starts a netdiag in every other node, each with a recording of its own, and waits until all
/// of them see.
async fn watch_others(
    cluster: &Cluster,
    observer: &Node,
    folder: &Path,
    duration: Duration,
) -> Result<Vec<Diagnosis>> {
    let made = std::fs::create_dir_all(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    let mut started = Vec::new();
    let others = cluster.plan.nodes.iter();
    for node in others.filter(|node| node.netns != observer.netns) {
        let watch = Watch {
            // They are told to end when the diagnosis has.
            duration: duration + READY + GRACE,
            stable: false,
            record: Some(recording_of(folder, &cluster.plan.options.scenario, node)),
        };
        started.push(Diagnosis::start(cluster, node, &watch)?);
    }
    for witness in &mut started {
        witness.ready().await?;
    }
    Ok(started)
}

/// Looks again, while the traffic goes on: nothing is named any more, and every flow gets through.
async fn is_gone(cluster: &Cluster, node: &Node, traffic: &Traffic) -> Result<bool> {
    let before = traffic.done();
    let watch = Watch {
        duration: AGAIN,
        stable: false,
        record: None,
    };
    let mut diagnosis = Diagnosis::start(cluster, node, &watch)?;
    diagnosis.ready().await?;
    let verdict = diagnosis.verdict(AGAIN + GRACE).await?;
    let (still, stuck) = (named(&verdict), traffic.stuck(&before));
    log::info!("after the fix: still named {still:?}, still stuck {stuck:?}");
    Ok(still.is_empty() && stuck.is_empty())
}

/// Starts the scenario's programs; they end when they are dropped.
async fn daemons(scenario: &Scenario, cluster: &Cluster) -> Result<Vec<Guarded>> {
    let mut running = Vec::new();
    for daemon in scenario.daemons(&cluster.plan) {
        // What was started last needs the others, and is ended first.
        running.insert(0, daemon.start(cluster).await?);
    }
    Ok(running)
}

/// What `work` comes to, while the lab changes beside it; later changes are left undone.
async fn beside<T>(
    work: impl Future<Output = T>,
    changes: impl Future<Output = Result<()>>,
) -> Result<T> {
    let (mut work, mut changes) = (std::pin::pin!(work), std::pin::pin!(changes));
    tokio::select! {
        done = &mut work => return Ok(done),
        changed = &mut changes => changed?,
    }
    Ok(work.await)
}

/// Does to the lab what happens while the traffic goes on.
async fn follow(cluster: &Cluster, moves: &[(u64, Step)]) -> Result<()> {
    let begun = tokio::time::Instant::now();
    for (after, step) in moves {
        tokio::time::sleep_until(begun + Duration::from_millis(*after)).await;
        step.apply(cluster).await?;
    }
    Ok(())
}

/// Runs any command in the diagnosing node instead of a diagnosis, with the traffic going on,
/// and returns its exit code.
pub async fn exec(scenario: &Scenario, options: Options, command: &[OsString]) -> Result<i32> {
    let cluster = build(scenario, options).await?;
    let node = &cluster.plan.nodes[scenario.observer(&cluster.plan)];
    let (program, arguments) = command.split_first().context("no command given")?;
    let mut inside = std::process::Command::new(program);
    inside.args(arguments);
    enter_before_exec(&mut inside, cluster.netns(&node.netns)?.file()?);
    let _daemons = daemons(scenario, &cluster).await?;
    let traffic = Traffic::start(&cluster, &scenario.traffic(&cluster.plan))?;
    let mut child = Guarded(
        Command::from(inside)
            .spawn()
            .context("cannot start the command")?,
    );
    let moves = scenario.moves(&cluster.plan);
    let status = beside(child.0.wait(), follow(&cluster, &moves)).await?;
    let status = status.context("cannot wait for the command")?;
    for line in traffic.summary() {
        log::info!("{line}");
    }
    Ok(status.code().unwrap_or(1))
}

/// Builds the lab unless the scenario has no such form.
pub async fn build(scenario: &Scenario, options: Options) -> Result<Cluster> {
    if let (true, Some(why)) = (options.ipv6, scenario.no_ipv6) {
        bail!(Skipped(why.to_owned()));
    }
    let begun = std::time::Instant::now();
    let cluster = Cluster::build(scenario, options).await?;
    log::info!("lab {} stands after {:?}", cluster.plan.id, begun.elapsed());
    Ok(cluster)
}

/// The root causes that are bad enough to be named.
pub fn named(verdict: &Verdict) -> BTreeSet<&str> {
    let roots = verdict.findings.iter().filter(|finding| {
        finding.severity >= Severity::Warning && finding.consequence_of.is_none()
    });
    roots.map(|finding| finding.cause.as_str()).collect()
}

fn judge(scenario: &Scenario, plan: &Plan, verdict: &Verdict, begun: Timestamp) -> LabResult {
    let options = &plan.options;
    let asked = match options.healthy {
        true => Vec::new(),
        false => scenario.translated(plan),
    };
    let expected = scenario.expected(options.healthy);
    // Numbers alone name some causes too; a scenario is about what traffic shows.
    let met = |f: &Finding| f.confidence == Confidence::Confirmed || !expected.contains(&f.cause);
    let passed = named(verdict) == expected.iter().map(String::as_str).collect()
        && verdict.findings.iter().all(met)
        && chained(scenario, options, verdict)
        && whole(verdict)
        && joined(&asked, verdict)
        && verdict.verdict != Outcome::Incomplete;
    let when = verdict
        .findings
        .iter()
        .filter(|finding| expected.contains(&finding.cause));
    let first = when
        .filter_map(|finding| finding.named_at.as_deref()?.parse::<Timestamp>().ok())
        .min();
    LabResult {
        scenario: scenario.name.to_owned(),
        expected,
        passed,
        fixed: None,
        // Numbers alone may name it before the traffic does.
        named_after: first.map(|time| time.duration_since(begun).as_secs_f64().max(0.0)),
    }
}

/// How a netdiag watches a node.
struct Watch {
    duration: Duration,
    /// It ends as soon as its findings have stood for a while.
    stable: bool,
    record: Option<PathBuf>,
}

/// Whether what follows from the root causes was found, and hung below them.
fn chained(scenario: &Scenario, options: &Options, verdict: &Verdict) -> bool {
    let below = |cause: &&'static str| {
        let mut findings = verdict.findings.iter();
        findings.any(|f| f.cause == **cause && f.consequence_of.is_some())
    };
    options.healthy || scenario.leads_to.iter().all(below)
}

/// Whether one finding tells each cause, and all that fails is explained.
fn whole(verdict: &Verdict) -> bool {
    let bad = |f: &&Finding| f.severity >= Severity::Warning && f.consequence_of.is_none();
    let roots = verdict.findings.iter().filter(bad).count();
    roots == named(verdict).len() && !verdict.unexplained.iter().any(|u| u.here)
}

/// Whether each of these flows is told once with its legs, and no leg by itself.
fn joined(asked: &[(IpAddr, SocketAddr)], verdict: &Verdict) -> bool {
    let flows: Vec<&FlowRef> = verdict.findings.iter().flat_map(|f| &f.flows).collect();
    let is = |f: &&FlowRef, (client, server): &(IpAddr, SocketAddr)| {
        let source = f.source.parse::<SocketAddr>().map(|s| s.ip());
        let source = source.or_else(|_| f.source.parse());
        source.is_ok_and(|s| s == *client) && f.destination == server.to_string()
    };
    let told = |of: &(IpAddr, SocketAddr)| {
        let mut rows = flows.iter().filter(|f| is(f, of)).peekable();
        rows.peek().is_some() && rows.all(|f| !f.legs.is_empty())
    };
    let alone = |f: &&FlowRef| {
        let ends = (&f.source, &f.destination);
        let mut legs = flows.iter().flat_map(|f| &f.legs);
        f.legs.is_empty() && legs.any(|l| (&l.source, &l.destination) == ends)
    };
    asked.iter().all(told) && !flows.iter().any(alone)
}

/// A running `netdiag diagnose`.
struct Diagnosis {
    child: Guarded,
    ready: oneshot::Receiver<()>,
    stdout: JoinHandle<std::io::Result<Vec<u8>>>,
    stderr: JoinHandle<Vec<String>>,
}

impl Diagnosis {
    fn start(cluster: &Cluster, node: &Node, watch: &Watch) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find netdiag's own program")?;
        let mut command = std::process::Command::new(program);
        command.arg("diagnose").args(["-o", "json"]);
        if let Some(file) = &watch.record {
            command.arg("--record").arg(file);
        }
        command.args(["--duration", &format!("{}s", watch.duration.as_secs_f64())]);
        if watch.stable {
            command.args(["--until-stable", &STABLE_SECONDS.to_string()]);
        }
        command.arg("--root").arg(cluster.root(node));
        command.arg("--cni-dir").arg(cluster.cni_dir(node));
        command.args(["--node-name", &node.name]);
        if let Some(told) = node.told {
            command.args(["--node-ip", &told.to_string()]);
        }
        command.env(READY_VARIABLE, "1");
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
    async fn ready(&mut self) -> Result<()> {
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
    async fn end(mut self) -> Result<()> {
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

    async fn verdict(&mut self, limit: Duration) -> Result<Verdict> {
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
        Some(3) if !said.contains(Broken::SAYS) => anyhow!(Skipped(format!(
            "needs what netdiag diagnose misses: {said}"
        ))),
        _ => anyhow!("netdiag diagnose ended with {status}; it said: {said}"),
    }
}

/// Passes on what netdiag says, and tells when it is ready.
pub(super) async fn listen(
    stderr: tokio::process::ChildStderr,
    ready: oneshot::Sender<()>,
) -> Vec<String> {
    let (mut ready, mut said) = (Some(ready), Vec::new());
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == READY_LINE {
            // Nobody waits any more when the run is being given up.
            let _ = ready.take().map(|ready| ready.send(()));
        } else {
            log::info!("diagnose: {line}");
            said.push(line);
        }
    }
    said
}

/// A child that does not outlive its run: it is asked to end and, if it does not, killed.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let Some(pid) = self.0.id() else {
            return;
        };
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.start_kill();
    }
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
        let broken = Broken::no_map("FLOWS").to_string();
        assert!(!skipped(&format!("netdiag: reading: {broken}")));
    }
}
