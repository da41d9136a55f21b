//! Fetches what the nodes saw, and leaves nothing behind on them.
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
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
    model::{path::Wanted as End, text},
};

/// How long nodes are watched where nobody says.
const WATCHED: Duration = Duration::from_secs(15);
/// Beside its watch, the pod of one call lives so long: others may begin later.
const SPARE: Duration = Duration::from_secs(30);

pub struct Plan<'a> {
    pub at: &'a Where,
    pub when: &'a When,
    /// Of a way, whose nodes are meant where nothing else says which.
    pub ends: &'a [End],
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
    let hosts = plan.at.hosts()?;
    plan.at.bounded(hosts.len())?;
    let sources = hosts.iter().map(|(node, host)| Source {
        node: node.clone(),
        way: Way::Ssh(host.clone()),
    });
    let sources: Vec<Source> = sources.collect();
    let wanted = match plan.when.since {
        Some(since) => Wanted::Past { since },
        None => plan.when.now(),
    };
    plan.say(&format!("asking {} by ssh", plan.at.ssh.join(", ")));
    fetched(plan, None, &wanted, &sources, signals).await
}

async fn by_api(plan: &Plan<'_>, signals: &mut Signals) -> Result<Gathered> {
    let at = plan.at;
    if at.is_silent() && plan.ends.is_empty() {
        let why = "which nodes? --nodes a,b, -l LABELS, --pod NAMESPACE/NAME, --all-nodes, or \
                   --ssh HOST,… where there is no API";
        return Err(Usage(why.into()).into());
    }
    let found = tokio::select! {
        biased;
        code = signals.wait() => return Ok(Gathered::Signal(code)),
        found = found(at, plan.ends) => found?,
    };
    let Found {
        cluster,
        nodes,
        agents,
        image,
    } = found;
    let without: Vec<String> = nodes
        .iter()
        .filter(|it| !agents.contains_key(*it))
        .cloned()
        .collect();
    let past = match (plan.when.since, plan.when.is_live()) {
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
        None => {
            let image = at.image.clone().or(image);
            if image.is_none() && agents.is_empty() {
                return Err(Usage(no_image("any of them")).into());
            }
            let bring = Bring {
                nodes: &without,
                image,
            };
            live(plan, &cluster, agents, &bring, signals).await
        }
    }
}

struct Found {
    cluster: Cluster,
    nodes: Vec<String>,
    agents: BTreeMap<String, InPod>,
    /// What the agents' DaemonSet runs.
    image: Option<String>,
}

/// Nodes that a pod is brought to, and its image where one is known.
struct Bring<'a> {
    nodes: &'a [String],
    image: Option<String>,
}

/// An image that nobody named is none: whoever gives the node one in its place is root there.
fn no_image(node: &str) -> String {
    format!(
        "no agent runs on {node}, and nothing names an image for a pod there: \
         --image REGISTRY/netdiag@sha256:DIGEST"
    )
}

/// The API, the nodes that are meant, and those of them that have agents.
async fn found(at: &Where, ends: &[End]) -> Result<Found> {
    let usual = usual_kubeconfig();
    let asked = Asked {
        kubeconfig: at.kubeconfig.as_deref().or(usual.as_deref()),
        context: at.context.as_deref(),
        plugins: at.allow_exec_plugin,
    };
    let Some(cluster) = Cluster::open(asked).await? else {
        bail!("no Kubernetes API is known: --kubeconfig FILE names it, --ssh HOST,… does without");
    };
    let nodes = cluster.nodes(&at.choice(&cluster.namespace, ends)).await?;
    at.bounded(nodes.len())?;
    let mut agents = match cluster.agents(&at.agents_in).await {
        Ok(agents) => agents,
        Err(why) => {
            log::warn!("the API does not say where agents run: {why}");
            BTreeMap::new()
        }
    };
    let image = agents.values().find_map(|agent| agent.image.clone());
    agents.retain(|node, _| nodes.contains(node));
    Ok(Found {
        cluster,
        nodes,
        agents,
        image,
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
    bring: &Bring<'_>,
    signals: &mut Signals,
) -> Result<Gathered> {
    let (stop, stopped) = watch::channel(false);
    let image = bring.image.as_deref().unwrap_or_default();
    let mut once = Once::new(cluster, plan.brief(image), stopped.clone());
    let work = async {
        let came = watched(plan, cluster, &mut once, agents, bring, &stopped).await;
        (came, once.take_away().await)
    };
    tokio::pin!(work);
    let mut signalled = None;
    let (came, left) = loop {
        tokio::select! {
            done = &mut work => break done,
            code = signals.wait() => match signalled {
                None => {
                    signalled = Some(code);
                    // Somebody listens as long as the work goes on.
                    let _ = stop.send(true);
                }
                // Twice is meant.
                Some(code) => {
                    log::warn!("what was brought to the nodes ends by itself");
                    return Ok(Gathered::Signal(code));
                }
            },
        }
    };
    if let Err(left) = left {
        log::warn!("{left}");
    }
    ended(came?, signalled)
}

/// A signal that came before there was anything is the result.
fn ended(came: Vec<Came>, signalled: Option<i32>) -> Result<Gathered> {
    Ok(match signalled {
        Some(code) if came.iter().all(|it| it.file.is_none()) => Gathered::Signal(code),
        _ => Gathered::Came(came),
    })
}

async fn watched(
    plan: &Plan<'_>,
    cluster: &Cluster,
    once: &mut Once,
    agents: BTreeMap<String, InPod>,
    bring: &Bring<'_>,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Came>> {
    let brought = match bring.image {
        Some(_) => brought(plan, once, bring.nodes).await?,
        None => {
            let refused = |node: &String| (node.clone(), Err(no_image(node)));
            bring.nodes.iter().map(refused).collect()
        }
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
    let mut came = streamed(plan, Some(cluster), &plan.when.now(), &sources, stop).await?;
    came.extend(silent);
    Ok(came)
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

/// Where nothing has to be taken away afterwards.
async fn fetched(
    plan: &Plan<'_>,
    cluster: Option<&Cluster>,
    wanted: &Wanted,
    sources: &[Source],
    signals: &mut Signals,
) -> Result<Gathered> {
    let (stop, stopped) = watch::channel(false);
    let work = streamed(plan, cluster, wanted, sources, &stopped);
    tokio::pin!(work);
    let mut signalled = None;
    let came = loop {
        tokio::select! {
            came = &mut work => break came?,
            code = signals.wait(), if signalled.is_none() => {
                signalled = Some(code);
                // Somebody listens as long as anything is fetched.
                let _ = stop.send(true);
            }
        }
    };
    ended(came, signalled)
}

/// Streams from all at once. Told to stop, it ends the streams, and what came until then counts.
async fn streamed(
    plan: &Plan<'_>,
    cluster: Option<&Cluster>,
    wanted: &Wanted,
    sources: &[Source],
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Came>> {
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
    Ok(fetch(&asking, sources, stop).await)
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
    /// What only a watch can do was asked for.
    fn is_live(&self) -> bool {
        self.live || self.duration.is_some() || !self.more.is_empty()
    }

    fn long(&self) -> Duration {
        self.duration.unwrap_or(WATCHED)
    }

    fn now(&self) -> Wanted {
        Wanted::Now {
            duration: self.long(),
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

    fn brief(&self, image: &str) -> Brief {
        let life = self.when.long().saturating_add(SPARE);
        let linger = format!("{}s", (self.at.start_within + life).as_secs());
        let arguments = ["linger", "--for", &linger].map(str::to_owned);
        Brief {
            namespace: self
                .at
                .run_in
                .clone()
                .unwrap_or_else(|| self.at.agents_in.clone()),
            run: run(),
            start: self.at.start_within,
            pod: pod_spec(self.at.profile, &self.at.seccomp_profile, image, &arguments),
            life,
        }
    }
}

/// A word that no other call has.
fn run() -> String {
    format!("{:08x}", RandomState::new().hash_one(()) >> 32)
}
