//! Fetches what the nodes saw, and leaves nothing behind on them.
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::sync::watch;

use super::{LAST_MINUTES, When, choice::Where};
use crate::{
    cli::{Usage, watch::Signals},
    fleet::{Asking, Brief, Came, Cluster, InPod, Once, Source, Wanted, Way, fetch},
    kubernetes::Asked,
    manifests::pod_spec,
    model::text,
};

/// Beside its watch, the pod of one call lives so long: others may begin later.
const SPARE: Duration = Duration::from_secs(30);

pub struct Plan<'a> {
    pub at: &'a Where,
    pub when: &'a When,
    pub folder: PathBuf,
    pub quiet: bool,
}

pub enum Gathered {
    Came(Vec<Came>),
    /// A signal came before there was anything.
    Signal(i32),
}

pub async fn gather(plan: &Plan<'_>, signals: &mut Signals) -> Result<Gathered> {
    match plan.at.ssh.is_empty() {
        true => by_api(plan, signals).await,
        false => by_ssh(plan, signals).await,
    }
}

async fn by_ssh(plan: &Plan<'_>, signals: &mut Signals) -> Result<Gathered> {
    let hosts = &plan.at.ssh;
    plan.at.bounded(hosts)?;
    let sources = hosts.iter().map(|host| Source {
        // The user is not part of the name.
        node: host.rsplit('@').next().unwrap_or(host).to_owned(),
        way: Way::Ssh(host.clone()),
    });
    let sources: Vec<Source> = sources.collect();
    let wanted = match plan.when.since {
        Some(since) => Wanted::Past { since },
        None => plan.when.now(),
    };
    plan.say(&format!("asking {} by ssh", hosts.join(", ")));
    fetched(plan, None, &wanted, &sources, signals).await
}

async fn by_api(plan: &Plan<'_>, signals: &mut Signals) -> Result<Gathered> {
    let at = plan.at;
    if at.is_silent() {
        let why = "which nodes? --nodes a,b, -l LABELS, --pod NAMESPACE/NAME, --all-nodes, or \
                   --ssh HOST,… where there is no API";
        return Err(Usage(why.into()).into());
    }
    let found = tokio::select! {
        biased;
        code = signals.wait() => return Ok(Gathered::Signal(code)),
        found = found(at) => found?,
    };
    let Found {
        cluster,
        nodes,
        agents,
    } = found;
    let without: Vec<String> = nodes
        .iter()
        .filter(|it| !agents.contains_key(*it))
        .cloned()
        .collect();
    let past = match (plan.when.since, plan.when.live) {
        (Some(since), _) => Some(since),
        (None, false) if without.is_empty() => Some(LAST_MINUTES),
        (None, _) => None,
    };
    for (node, agent) in &agents {
        plan.say(&format!(
            "{node}: by its agent {}/{}",
            agent.namespace, agent.pod
        ));
    }
    match past {
        Some(since) => {
            let sources: Vec<Source> = agents.iter().map(in_pod).collect();
            let wanted = Wanted::Past { since };
            let came = fetched(plan, Some(&cluster), &wanted, &sources, signals).await?;
            Ok(with(came, without.iter().map(|node| no_agent(node, at))))
        }
        None => live(plan, &cluster, agents, &without, signals).await,
    }
}

struct Found {
    cluster: Cluster,
    nodes: Vec<String>,
    agents: BTreeMap<String, InPod>,
}

/// The API, the nodes that are meant, and those of them that have agents.
async fn found(at: &Where) -> Result<Found> {
    let usual = usual_kubeconfig();
    let asked = Asked {
        kubeconfig: at.kubeconfig.as_deref().or(usual.as_deref()),
        context: at.context.as_deref(),
        plugins: at.allow_exec_plugin,
    };
    let Some(cluster) = Cluster::open(asked).await? else {
        bail!("no Kubernetes API is known: --kubeconfig FILE names it, --ssh HOST,… does without");
    };
    let nodes = cluster.nodes(&at.choice(&cluster.namespace)).await?;
    at.bounded(&nodes)?;
    let mut agents = match cluster.agents(&at.agents_in).await {
        Ok(agents) => agents,
        Err(why) => {
            log::warn!("the API does not say where agents run: {why}");
            BTreeMap::new()
        }
    };
    agents.retain(|node, _| nodes.contains(node));
    Ok(Found {
        cluster,
        nodes,
        agents,
    })
}

/// As kubectl has it, where neither an option nor the environment names another.
fn usual_kubeconfig() -> Option<PathBuf> {
    let told = ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"];
    if told
        .iter()
        .any(|it| std::env::var_os(it).is_some_and(|v| !v.is_empty()))
    {
        return None;
    }
    let path = Path::new(&std::env::var_os("HOME")?).join(".kube/config");
    path.is_file().then_some(path)
}

fn in_pod((node, at): (&String, &InPod)) -> Source {
    Source {
        node: node.clone(),
        way: Way::Pod(at.clone()),
    }
}

fn no_agent(node: &str, at: &Where) -> Came {
    Came {
        node: node.to_owned(),
        file: None,
        trouble: Some(format!(
            "no agent runs on it in namespace {}: without --since it is watched from now on",
            at.agents_in
        )),
    }
}

/// Watches all from now on: in the agents' pods, and in pods that are brought to the others.
async fn live(
    plan: &Plan<'_>,
    cluster: &Cluster,
    agents: BTreeMap<String, InPod>,
    without: &[String],
    signals: &mut Signals,
) -> Result<Gathered> {
    let mut once = Once::new(cluster, plan.brief(&cluster.namespace));
    let came = watched(plan, cluster, &mut once, agents, without, signals).await;
    let left = tokio::select! {
        left = once.take_away() => left,
        // Twice is meant.
        _ = signals.wait() => Err("what was brought to the nodes ends by itself".into()),
    };
    if let Err(left) = left {
        log::warn!("{left}");
    }
    came
}

async fn watched(
    plan: &Plan<'_>,
    cluster: &Cluster,
    once: &mut Once,
    agents: BTreeMap<String, InPod>,
    without: &[String],
    signals: &mut Signals,
) -> Result<Gathered> {
    let brought = tokio::select! {
        biased;
        code = signals.wait() => return Ok(Gathered::Signal(code)),
        brought = brought(plan, once, without) => brought?,
    };
    let mut sources: Vec<Source> = agents.iter().map(in_pod).collect();
    let mut silent = Vec::new();
    for (node, state) in brought {
        match state {
            Ok(at) => sources.push(in_pod((&node, &at))),
            Err(why) => silent.push(Came {
                node,
                file: None,
                trouble: Some(why),
            }),
        }
    }
    let came = fetched(plan, Some(cluster), &plan.when.now(), &sources, signals).await?;
    Ok(with(came, silent))
}

async fn brought(
    plan: &Plan<'_>,
    once: &mut Once,
    nodes: &[String],
) -> Result<BTreeMap<String, Result<InPod, String>>> {
    if nodes.is_empty() {
        return Ok(BTreeMap::new());
    }
    plan.say(&format!("bringing a pod to {}", nodes.join(", ")));
    once.bring(nodes).await?;
    Ok(once.ready().await)
}

/// Streams from all at once. A signal ends the streams, and what came until then counts.
async fn fetched(
    plan: &Plan<'_>,
    cluster: Option<&Cluster>,
    wanted: &Wanted,
    sources: &[Source],
    signals: &mut Signals,
) -> Result<Gathered> {
    let remote = plan.at.remote()?;
    let asking = Asking {
        cluster,
        remote: &remote,
        wanted,
        folder: &plan.folder,
    };
    if let Wanted::Now { duration, .. } = wanted
        && !sources.is_empty()
    {
        let nodes = text::counted(sources.len() as u64, "node");
        plan.say(&format!(
            "watching {nodes} for {} s",
            duration.as_secs_f64()
        ));
    }
    let (stop, stopped) = watch::channel(false);
    let fetching = fetch(&asking, sources, &stopped);
    tokio::pin!(fetching);
    let mut signalled = None;
    let came = loop {
        tokio::select! {
            came = &mut fetching => break came,
            code = signals.wait(), if signalled.is_none() => {
                signalled = Some(code);
                // Somebody listens as long as anything is fetched.
                let _ = stop.send(true);
            }
        }
    };
    match signalled {
        Some(code) if came.iter().all(|it| it.file.is_none()) => Ok(Gathered::Signal(code)),
        _ => Ok(Gathered::Came(came)),
    }
}

fn with(gathered: Gathered, more: impl IntoIterator<Item = Came>) -> Gathered {
    match gathered {
        Gathered::Came(mut came) => {
            came.extend(more);
            Gathered::Came(came)
        }
        signal @ Gathered::Signal(_) => signal,
    }
}

impl When {
    fn now(&self) -> Wanted {
        Wanted::Now {
            duration: self.duration,
            arguments: self.more.clone(),
        }
    }
}

impl Plan<'_> {
    /// What it does just now, for whoever waits.
    fn say(&self, what: &str) {
        if !self.quiet && std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr(), "{}", text::lines(what));
        }
    }

    fn brief(&self, namespace: &str) -> Brief {
        let life = self.when.duration.saturating_add(SPARE);
        let linger = format!("{}s", (self.at.start_within + life).as_secs());
        let arguments = ["linger", "--for", &linger].map(str::to_owned);
        Brief {
            namespace: self
                .at
                .run_in
                .clone()
                .unwrap_or_else(|| namespace.to_owned()),
            run: run(),
            start: self.at.start_within,
            pod: pod_spec(self.at.profile, &self.at.image, &arguments),
            life,
        }
    }
}

/// A word that no other call has.
fn run() -> String {
    let now = jiff::Timestamp::now().as_nanosecond() as u64;
    let mixed = (now ^ u64::from(std::process::id()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}", mixed >> 32)
}
