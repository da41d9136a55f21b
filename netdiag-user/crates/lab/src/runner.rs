//! Runs a scenario: builds it, starts netdiag inside the diagnosing node, lets the traffic meet
//! the fault, and compares what was named with what was expected.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tokio::process::Command;

use super::Skipped;
use super::case::Case;
use super::cluster::Cluster;
use super::confirm;
use super::diagnosis::{Diagnosis, GRACE, READY, Watch};
use super::fix;
use super::guarded::Guarded;
use super::incident::{self, Incident};
use super::judge::{self, judge, named};
use super::plan::Node;
use super::state::Options;
use super::step::Step;
use super::sys::enter_before_exec;
use super::traffic::Traffic;
use crate::model::{path::FlowWay, verdict::Verdict};
use netdiag_sys::file;

/// How long the second look takes: as long as that at a healthy node. Some fixes help with the
/// next try of somebody else, as kubelet's: it is not cut short by what is still named at first.
const AGAIN: Duration = Duration::from_secs(6);

/// Three flows with their hops are a few thousand bytes.
const MOST_OF_WAYS: usize = 1 << 20;

/// How long a run watches at most: longer than any rule waits before it takes silence for a fault, so that a
/// node is called healthy by all of them.
const USUAL: Duration = Duration::from_secs(12);

/// After how much traffic a late fault comes: all that talks has talked by then.
const LATER: Duration = Duration::from_secs(4);

/// How a run is to be done.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long netdiag watches at most.
    pub duration: Option<Duration>,
    /// The fault comes while netdiag watches and the traffic goes on.
    pub late: bool,
    /// Then run the commands that are printed to be looked at, while the fault is there.
    pub confirm: bool,
    /// Then apply the fix and look again, where the scenario's can be applied here.
    pub fix: bool,
    /// Where netdiag writes its recording.
    pub record: Option<PathBuf>,
    /// Where a netdiag in every node writes one, `SCENARIO.NODE.ndr`.
    pub record_all: Option<PathBuf>,
}

/// Runs the scenario and returns the node's verdict, with `lab` filled in. Fails with
/// [`Skipped`] where this machine cannot host it.
pub async fn run(case: Case, options: Options, settings: &Settings) -> Result<Verdict> {
    let (cluster, late) = match settings.late && !options.healthy {
        true => not_yet(case, options.clone()).await?,
        false => (build(case, options.clone()).await?, Vec::new()),
    };
    let node = &cluster.plan.nodes[case.observer(&cluster.plan)];
    let later = if settings.late { LATER } else { Duration::ZERO };
    let duration = settings.duration.unwrap_or(USUAL + later);
    // A node's daemons run for long before anybody looks at it.
    let _daemons = incident::daemons(case, &cluster).await?;
    let mut witnesses = Vec::new();
    if let Some(folder) = &settings.record_all {
        witnesses = watch_others(&cluster, node, folder, duration).await?;
    }
    let record = settings.recording(case, node);
    // What lives where nothing fails is looked for in its recording: as long as there is time.
    let whole = options.healthy && record.is_some();
    let watch = Watch {
        duration,
        // The first of two findings must not end it before the second.
        stable: case.second.is_none() && !whole,
        record,
    };
    let mut diagnosis = Diagnosis::start(&cluster, node, &watch)?;
    diagnosis.ready().await?;
    let mut begun = Timestamp::now();
    let mut incident = Incident::begin(case, &cluster, false)?;
    if settings.late {
        incident.put_off(later, late);
    }
    begun += incident.begins();
    let verdict = incident.beside(&cluster, diagnosis.verdict(duration + GRACE));
    let mut verdict = verdict.await??;
    for witness in witnesses {
        witness.end().await?;
    }
    let mut lab = judge(case, &cluster.plan, &verdict, begun);
    lab.ways = ways(&cluster, node);
    if settings.late && !options.healthy {
        lab.change = Some(judge::change(&verdict, begun));
    }
    if settings.confirm && !options.healthy && lab.passed {
        lab.commands = confirm::check(case, &cluster, node, &verdict).await?;
        lab.passed &= lab.commands.iter().all(|it| it.failure.is_none());
    }
    if settings.fix && case.fixable(&cluster.plan) && !options.healthy && lab.passed {
        let applied = fix::apply(&cluster, node, &verdict).await?;
        let whole = applied.iter().all(|it| it.failure.is_none());
        let fixed = is_gone(&cluster, node, &incident.traffic).await? && whole;
        lab.commands.extend(applied);
        lab.fixed = Some(fixed);
        lab.passed &= fixed;
    }
    drop(incident);
    verdict.lab = Some(lab);
    Ok(verdict)
}

/// What it drew; nothing where it ended before.
fn ways(cluster: &Cluster, node: &Node) -> Vec<FlowWay> {
    let text = file::read(&cluster.ways(node), MOST_OF_WAYS);
    let ways = text.ok().and_then(|it| serde_json::from_slice(&it).ok());
    ways.unwrap_or_default()
}

impl Settings {
    /// Where the diagnosing node's recording goes.
    fn recording(&self, case: Case, node: &Node) -> Option<PathBuf> {
        let folder = self.record_all.as_ref();
        let among_all = folder.map(|folder| recording_of(folder, case.first.name, node));
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

/// Runs any command in the diagnosing node instead of a diagnosis, with the traffic going on,
/// and returns its exit code.
pub async fn exec(case: Case, options: Options, command: &[OsString]) -> Result<i32> {
    let cluster = build(case, options).await?;
    let node = &cluster.plan.nodes[case.observer(&cluster.plan)];
    let (program, arguments) = command.split_first().context("no command given")?;
    let mut inside = std::process::Command::new(program);
    inside.args(arguments);
    enter_before_exec(&mut inside, cluster.netns(&node.netns)?.file()?);
    let _daemons = incident::daemons(case, &cluster).await?;
    let incident = Incident::begin(case, &cluster, false)?;
    let mut child = Guarded(
        Command::from(inside)
            .spawn()
            .context("cannot start the command")?,
    );
    let status = incident.beside(&cluster, child.0.wait()).await?;
    let status = status.context("cannot wait for the command")?;
    for line in incident.traffic.summary() {
        log::info!("{line}");
    }
    Ok(status.code().unwrap_or(1))
}

/// Builds the lab unless the scenario has no such form.
pub async fn build(case: Case, options: Options) -> Result<Cluster> {
    let cluster = whole(case, options).await?;
    for step in case.faults(&cluster.plan) {
        step.apply(&cluster).await?;
    }
    Ok(cluster)
}

/// The scenario's lab as that of its healthy twin, and what makes it the other one.
async fn not_yet(case: Case, options: Options) -> Result<(Cluster, Vec<Step>)> {
    if let Some(why) = case.no_late() {
        bail!(Skipped(why.to_owned()));
    }
    let twin = Options {
        healthy: true,
        ..options.clone()
    };
    let mut cluster = build(case, twin).await?;
    let plan = case.plan(&cluster.plan.id, options);
    let steps = case.late(&plan, &cluster.plan);
    let mut timelines = case.timelines(&plan).into_iter();
    if steps.is_empty() && timelines.all(|it| it.steps.is_empty()) {
        bail!(Skipped("its fault is there before any traffic".to_owned()));
    }
    cluster.plan = plan;
    Ok((cluster, steps))
}

/// The same, with nothing wrong in it yet.
async fn whole(case: Case, options: Options) -> Result<Cluster> {
    if let (true, Some(why)) = (options.ipv6, case.no_ipv6()) {
        bail!(Skipped(why.to_owned()));
    }
    let begun = std::time::Instant::now();
    let cluster = Cluster::build(case, options).await?;
    log::info!("lab {} stands after {:?}", cluster.plan.id, begun.elapsed());
    Ok(cluster)
}
