//! The container runtime's own list of sandboxes and containers, by its CRI socket: names, UIDs,
//! labels, addresses and namespaces of pods on this node, and how often their containers began
//! anew. containerd and CRI-O answer alike.
//!
//! The list is asked for again when the runtime tells of an event, when this node's links change,
//! and once a second where it tells of none. What does not change while a sandbox lives is asked
//! for once.
mod verbose;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::Notify, task::JoinHandle};
use verbose::Verbose;

use super::{clock::Clock, feed::Publisher, kept::Kept, said_by};
use crate::model::{
    pod::{Container, Origin, Pod},
    verdict::Owner,
};
use netdiag_cri::{
    Client,
    messages::{Container as Listed, ContainerState, NetworkMode, PodSandbox, SandboxState},
};

/// How often the list is asked for where nothing tells of changes.
const AGAIN: Duration = Duration::from_secs(1);
/// And where something does.
const RARELY: Duration = Duration::from_secs(5);
/// A burst of events is one change.
const BURST: Duration = Duration::from_millis(20);
/// A runtime that is restarted is back within seconds; one that is gone is not asked all the time.
const BACK_OFF: [u64; 5] = [1, 2, 5, 15, 30];
/// The restarts of a container, as kubelet counts them.
const RESTARTS: &str = "io.kubernetes.container.restartCount";
/// Sandboxes that are asked for at most; a node has some hundred.
const MOST: usize = 4096;

/// Until nobody listens.
pub async fn follow(socket: PathBuf, root: PathBuf, feed: Publisher, kick: Arc<Notify>) {
    let mut source = Source {
        root,
        kept: Kept::default(),
        known: HashMap::new(),
        left_out: 0,
        first: true,
    };
    let mut failures = 0;
    while !feed.is_closed() {
        let Err(e) = source.session(&socket, &feed, &kick, &mut failures).await else {
            return;
        };
        feed.fail(format!("{}: {e:#}", socket.display()));
        let pause = BACK_OFF.get(failures).or(BACK_OFF.last());
        failures += 1;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(*pause.unwrap_or(&30))) => {}
            () = feed.closed() => return,
        }
    }
}

struct Source {
    root: PathBuf,
    kept: Kept,
    /// What does not change while a sandbox or a container lives.
    known: HashMap<String, Verbose>,
    /// Sandboxes beyond those that are asked for.
    left_out: usize,
    first: bool,
}

impl Source {
    /// Ends well when nobody listens any more.
    async fn session(
        &mut self,
        socket: &Path,
        feed: &Publisher,
        kick: &Arc<Notify>,
        failures: &mut usize,
    ) -> Result<()> {
        let mut client = Client::open(socket).await?;
        let events = Telling(tokio::spawn(tell(socket.to_owned(), kick.clone())));
        loop {
            self.read(&mut client).await?;
            feed.say_part(self.kept.all(), self.left_out);
            *failures = 0;
            tokio::select! {
                () = feed.closed() => return Ok(()),
                () = kick.notified() => {}
                () = tokio::time::sleep(events.pause()) => {}
            }
            tokio::time::sleep(BURST).await;
        }
    }

    async fn read(&mut self, client: &mut Client) -> Result<()> {
        let sandboxes = client.sandboxes().await?;
        let containers = client.containers().await?;
        let now = super::now();
        let clock = Clock::new(now);
        let mut of: HashMap<&str, Vec<&Listed>> = HashMap::new();
        for container in &containers {
            of.entry(&container.pod_sandbox_id)
                .or_default()
                .push(container);
        }
        let mut pods = Vec::new();
        for sandbox in sandboxes.iter().take(MOST) {
            let mut pod = self.pod(client, sandbox, &clock).await;
            for container in of.get(sandbox.id.as_str()).into_iter().flatten() {
                pod.containers
                    .extend(self.container(client, container).await);
            }
            // Kubelet keeps those that ended for a while.
            if sandbox.state() == SandboxState::NotReady {
                let before = self.kept.gone(&sandbox.id);
                pod.gone = before.or(if self.first { pod.from } else { Some(now) });
            }
            pods.push((sandbox.id.clone(), pod));
        }
        self.left_out = sandboxes.len().saturating_sub(MOST);
        self.first = false;
        let listed = |id: &str| {
            let sandbox = sandboxes.iter().any(|s| s.id == id);
            sandbox || containers.iter().any(|c| c.id == id)
        };
        self.known.retain(|id, _| listed(id));
        self.kept.update(now, pods);
        Ok(())
    }

    async fn pod(&mut self, client: &mut Client, sandbox: &PodSandbox, clock: &Clock) -> Pod {
        let metadata = sandbox.metadata.clone().unwrap_or_default();
        let labels: BTreeMap<_, _> = sandbox.labels.clone().into_iter().collect();
        let known = self.sandbox(client, sandbox).await;
        let before = self.kept.get(&sandbox.id);
        let from = || clock.monotonic(sandbox.created_at);
        Pod {
            owner: Owner::of_labels(&metadata.name, &labels),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: Some(metadata.uid).filter(|uid| !uid.is_empty()),
            addresses: known.addresses,
            netns: known.netns.filter(|_| !known.host_network),
            labels,
            host_network: known.host_network,
            created: Some(sandbox.created_at),
            from: before.map_or_else(from, |pod| pod.from),
            sandbox: Some(sandbox.id.clone()),
            interfaces: known.interfaces,
            sources: before.map_or_else(|| said_by(Origin::Cri), |pod| pod.sources.clone()),
            ..Pod::default()
        }
    }

    /// Asked until it has what a sandbox that is ready has: an address comes with the namespace.
    async fn sandbox(&mut self, client: &mut Client, sandbox: &PodSandbox) -> Verbose {
        let known = self.known.get(&sandbox.id);
        let ready = sandbox.state() == SandboxState::Ready;
        if let Some(known) = known.filter(|known| known.complete() || !ready) {
            return known.clone();
        }
        let Ok(status) = client.sandbox_status(&sandbox.id).await else {
            return known.cloned().unwrap_or_default();
        };
        let mut said = verbose::read(&status.info, &self.root, &sandbox.id);
        let status = status.status.unwrap_or_default();
        let network = status.network.unwrap_or_default();
        let more = network.additional_ips.iter().map(|ip| ip.ip.as_str());
        let all = std::iter::once(network.ip.as_str()).chain(more);
        said.addresses = all.filter_map(|ip| ip.parse().ok()).collect();
        let options = status.linux.and_then(|l| l.namespaces?.options);
        said.host_network = options.is_some_and(|o| o.network() == NetworkMode::Node);
        self.known.insert(sandbox.id.clone(), said.clone());
        said
    }

    async fn container(&mut self, client: &mut Client, listed: &Listed) -> Option<Container> {
        let running = listed.state() == ContainerState::Running;
        if !running {
            return None;
        }
        if !self.known.contains_key(&listed.id) {
            let info = client.container_status(&listed.id).await.ok()?.info;
            let said = verbose::read(&info, &self.root, &listed.id);
            self.known.insert(listed.id.clone(), said);
        }
        let metadata = listed.metadata.clone().unwrap_or_default();
        let counted = listed.annotations.get(RESTARTS);
        let counted = counted.and_then(|text| text.parse().ok());
        let known = self.known.get(&listed.id);
        Some(Container {
            id: listed.id.clone(),
            name: metadata.name,
            pid: known.and_then(|k| k.pid),
            process: known.and_then(|k| k.process.clone()),
            restarts: counted.or(Some(metadata.attempt)),
        })
    }
}

/// Ends with the session.
struct Telling(JoinHandle<()>);

impl Telling {
    fn pause(&self) -> Duration {
        if self.0.is_finished() { AGAIN } else { RARELY }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Kicks for every event that the runtime tells of. Old runtimes know no such call. One that does
/// says nothing, not even that it does, before the first event.
async fn tell(socket: PathBuf, kick: Arc<Notify>) {
    let Ok(mut client) = Client::open(&socket).await else {
        return;
    };
    let Ok(mut events) = client.events().await else {
        return;
    };
    while let Ok(Some(_)) = events.message().await {
        kick.notify_one();
    }
}
