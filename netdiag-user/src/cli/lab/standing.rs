//! `netdiag lab up`, `traffic` and `down`: an incident that a person looks at by hand.
use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::args::{Shape, TrafficArgs, UpArgs};
use super::report::{self, plain_table};
use super::{SKIPPED, case, line, outcome};
use crate::lab::case::Case;
use crate::lab::cluster::Cluster;
use crate::lab::incident::Incident;
use crate::lab::plan::Node;
use crate::lab::replica::{
    self,
    tried::{Became, Talk},
};
use crate::lab::state::Record;
use crate::lab::{diagnosis, keeper, runner, state};
use crate::model::shell::CommandLine;
use crate::{output, shell};

/// How often the flows are counted.
const COUNT: Duration = Duration::from_secs(2);

/// What to do with a lab that stands.
#[derive(Serialize)]
struct Standing<'a> {
    id: &'a str,
    scenario: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<&'a str>,
    seed: u64,
    /// What a diagnosis must name.
    expected: Vec<String>,
    commands: Commands,
}

/// Each as it is pasted.
#[derive(Serialize)]
struct Commands {
    traffic: CommandLine,
    /// The same in a busy cluster.
    background: CommandLine,
    diagnose: CommandLine,
    down: CommandLine,
}

/// Builds the lab and starts its programs.
pub async fn up(args: &UpArgs) -> Result<i32> {
    let options = args.variant.options(&args.name, 0);
    let case = case(&options)?;
    let built = runner::build(case, options).await;
    let mut cluster = match outcome(built) {
        Ok(cluster) => cluster?,
        Err(why) => return report::skipped(&why).map(|()| SKIPPED),
    };
    let keeper = keeper::start(case, &cluster).await?;
    cluster.keep()?;
    if let Some(keeper) = keeper {
        keeper.let_go();
    }
    let commands = commands(case, &cluster)?;
    match args.output {
        Shape::Json => json(case, &cluster, commands)?,
        Shape::Table => table(&cluster, &commands)?,
    }
    Ok(0)
}

/// Removes labs that stand.
pub fn down(which: Option<&str>) -> Result<i32> {
    for lab in state::down(which)? {
        line(&format!(
            "removed lab {} ({})",
            lab.id, lab.options.scenario
        ))?;
    }
    Ok(0)
}

/// The keeper's own work.
pub async fn keep(id: &str) -> Result<i32> {
    let record = state::of_id(id)?;
    let case = case(&record.options)?;
    let cluster = Cluster::open(case, record)?;
    keeper::keep(case, &cluster).await.map(|()| 0)
}

/// Makes the traffic until the process is ended.
pub async fn traffic(args: &TrafficArgs) -> Result<i32> {
    let record = state::find(args.lab.as_deref())?;
    if record.options.scenario == replica::SCENARIO {
        return recorded(&record).await;
    }
    let case = case(&record.options)?;
    let cluster = Cluster::open(case, record)?;
    if !case.daemons(&cluster.plan).is_empty() && !keeper::is_there(&cluster.dir()) {
        bail!(
            "the programs of lab {} have ended: take it down and start it again",
            cluster.plan.id
        );
    }
    let incident = Incident::begin(case, &cluster, args.background)?;
    let timelines = || {
        let each = incident.timelines.iter().enumerate();
        each.filter_map(|(n, timeline)| timeline.told(&cluster, n))
            .collect::<Vec<_>>()
    };
    let mut told = timelines();
    told.iter().try_for_each(|text| line(text))?;
    line(&format!("traffic of lab {} goes on", cluster.plan.id))?;
    let show = async {
        loop {
            tokio::time::sleep(COUNT).await;
            if !cluster.dir().exists() {
                bail!("lab {} has been taken down", cluster.plan.id);
            }
            let now = timelines();
            let news = now.iter().filter(|text| !told.contains(text));
            news.into_iter().try_for_each(|text| line(text))?;
            told = now;
            line(&incident.traffic.summary().join("\n"))?;
            line("")?;
        }
    };
    incident.beside(&cluster, show).await?
}

/// The conversations of a recording, again and again.
async fn recorded(record: &Record) -> Result<i32> {
    let talk = Talk::of(record)?;
    line(&format!("traffic of lab {} goes on", record.id))?;
    let mut told = None;
    loop {
        if !record.dir().exists() {
            bail!("lab {} has been taken down", record.id);
        }
        let again = talk.clone();
        let became = tokio::task::spawn_blocking(move || again.all()).await??;
        let lives = became.iter().filter(|it| **it == Became::Answered).count();
        if told.replace(lives) != Some(lives) {
            line(&format!("{lives} of {} conversations live", became.len()))?;
        }
    }
}

fn commands(case: Case, cluster: &Cluster) -> Result<Commands> {
    let (id, netdiag) = (&cluster.plan.id, program()?);
    let node: &Node = &cluster.plan.nodes[case.observer(&cluster.plan)];
    Ok(Commands {
        traffic: shell!("{} lab traffic {}", netdiag, id),
        background: shell!("{} lab traffic --background {}", netdiag, id),
        diagnose: diagnosis::by_hand(cluster, node, &netdiag),
        down: shell!("{} lab down {}", netdiag, id),
    })
}

/// What a shell finds this program by: its name where that is how it was started, else its path.
pub fn program() -> Result<String> {
    let name = env::args_os().next().unwrap_or_default();
    if !name.is_empty() && !name.as_encoded_bytes().contains(&b'/') {
        return Ok(name.to_string_lossy().into_owned());
    }
    let path = env::current_exe().context("cannot find netdiag's own program")?;
    Ok(path.display().to_string())
}

fn json(case: Case, cluster: &Cluster, commands: Commands) -> Result<()> {
    let options = &cluster.plan.options;
    line(&output::pretty_json(&Standing {
        id: &cluster.plan.id,
        scenario: &options.scenario,
        with: options.with.as_deref(),
        seed: options.seed,
        expected: case.expected(options.healthy),
        commands,
    })?)
}

/// How to go into the lab, and what to do with it.
fn table(cluster: &Cluster, commands: &Commands) -> Result<()> {
    let plan = &cluster.plan;
    let with = plan.options.with.iter();
    let with: String = with.map(|name| format!(" with {name}")).collect();
    line(&format!(
        "lab {} stands: {}{with}, seed {}",
        plan.id, plan.options.scenario, plan.options.seed
    ))?;
    let mut table = plain_table(&["WHAT", "ADDRESS", "ENTER WITH"]);
    let mut row = |what: String, address: String, netns: &str| {
        table.add_row([what, address, enter(netns)]);
    };
    for node in &plan.nodes {
        row(
            format!("node {}", node.name),
            node.ipv4.to_string(),
            &node.netns,
        );
        for pod in &node.pods {
            let address = match plan.options.ipv6 {
                true => pod.ipv6.to_string(),
                false => pod.ipv4.to_string(),
            };
            row(
                format!("pod {}/{}", pod.namespace, pod.name),
                address,
                &pod.netns,
            );
        }
    }
    let outside = &plan.outside;
    row(
        "host outside".to_owned(),
        outside.ipv4.to_string(),
        &outside.netns,
    );
    for switch in &plan.switches {
        row("switch".to_owned(), String::new(), switch);
    }
    for node in &plan.nodes {
        for (what, path) in [
            ("CNI files", cluster.cni_dir(node)),
            ("root", cluster.root(node)),
        ] {
            let what = format!("{what} of {}", node.name);
            table.add_row([what, String::new(), path_text(&path)]);
        }
    }
    line(&table.trim_fmt())?;
    line("")?;
    line(&format!("traffic:  {}", commands.traffic))?;
    line("          with --background in a busy cluster")?;
    line(&format!("diagnose: {}", commands.diagnose))?;
    line(&format!("remove:   {}", commands.down))
}

pub fn enter(netns: &str) -> String {
    shell!("ip netns exec {} bash", netns).text()
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
