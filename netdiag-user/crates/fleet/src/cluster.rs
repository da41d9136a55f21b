//! Which nodes of a cluster are meant, and which of them have an agent.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    kubernetes::{self, Asked, why},
    model::{shell, text},
};

/// Objects of a page: an answer is bounded.
const PAGE: u32 = 250;
/// Of all pages: the largest clusters have as many pods.
const MOST: usize = 150_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What an agent's pod is called by, wherever it came from.
pub const AGENTS: &str = "app.kubernetes.io/name=netdiag,app.kubernetes.io/component=agent";
/// kubectl takes this container where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Which nodes; each kind adds some.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub names: Vec<String>,
    /// Labels of nodes, as kubectl takes them.
    pub selector: Option<String>,
    /// Those that these pods are on: namespace and name of a pod, or of what made it.
    pub pods: Vec<(String, String)>,
    /// Ends of a way, each by all that its name may mean: what is no pod's adds no node.
    pub ends: Vec<Vec<(String, String)>>,
    pub all: bool,
}

/// A container that commands can be run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPod {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// What it runs.
    pub image: Option<String>,
}

pub struct Cluster {
    pub(super) client: Client,
    /// Of the kubeconfig.
    pub namespace: String,
}

impl Cluster {
    /// Nothing where no API is known.
    pub async fn open(asked: Asked<'_>) -> Result<Option<Self>> {
        let access = kubernetes::access(asked).await?;
        Ok(access.map(|(client, namespace)| Self { client, namespace }))
    }

    /// The names of the nodes that are meant, each once; fails where one is not there.
    pub async fn nodes(&self, choice: &Choice) -> Result<Vec<String>> {
        let mut nodes: BTreeSet<String> = BTreeSet::new();
        for name in &choice.names {
            nodes.insert(self.node(name).await?);
        }
        if choice.all {
            nodes.extend(self.labelled(None).await?);
        }
        if let Some(selector) = &choice.selector {
            nodes.extend(self.labelled(Some(selector)).await?);
        }
        for (namespace, name) in &choice.pods {
            let found = self.of_pod(namespace, name).await?;
            if found.is_empty() {
                let list = shell!("kubectl get pods -o wide -n {v}", namespace);
                let list = list.told_or("a list of its pods");
                bail!("no pod {namespace}/{name} runs on a node: {list} shows where they are");
            }
            nodes.extend(found);
        }
        for readings in &choice.ends {
            nodes.extend(self.of_end(readings).await?);
        }
        if nodes.is_empty() && !choice.ends.is_empty() {
            bail!(
                "neither end is a pod that runs on a node: --nodes, -l or --pod say which nodes to ask"
            );
        }
        // They become names of files.
        match nodes.iter().find(|name| !is_name(name)) {
            Some(odd) => bail!(
                "the API has a node with an impossible name: {}",
                text::line(odd, 100)
            ),
            None => Ok(nodes.into_iter().collect()),
        }
    }

    async fn node(&self, name: &str) -> Result<String> {
        let api: Api<Node> = Api::all(self.client.clone());
        if !is_name(name) {
            bail!("'{}' is no name of a node", text::line(name, 100));
        }
        match within(api.get_opt(name)).await {
            Ok(Some(_)) => Ok(name.to_owned()),
            Ok(None) => bail!("the cluster has no node '{name}': `kubectl get nodes` lists them"),
            Err(why) => bail!("the API does not say whether there is a node {name}: {why}"),
        }
    }

    async fn labelled(&self, selector: Option<&str>) -> Result<BTreeSet<String>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let params =
            selector.map_or_else(ListParams::default, |it| ListParams::default().labels(it));
        let all = each(&api, params)
            .await
            .context("the API does not list nodes")?;
        let names: BTreeSet<String> = all.into_iter().filter_map(|n| n.metadata.name).collect();
        if let (true, Some(selector)) = (names.is_empty(), selector) {
            bail!("no node has the labels {selector}");
        }
        Ok(names)
    }

    /// The node of the pod of that name, or those of all pods of a workload of that name; nothing where
    /// there is neither.
    async fn of_pod(&self, namespace: &str, name: &str) -> Result<BTreeSet<String>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let context = || format!("the API does not list the pods of {namespace}");
        let all = each(&api, ListParams::default())
            .await
            .with_context(context)?;
        let of = |exactly: bool| {
            let own = all.iter().filter(|pod| match exactly {
                true => pod.metadata.name.as_deref() == Some(name),
                false => is_of(pod, name),
            });
            let nodes = own.filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
            nodes.collect::<BTreeSet<String>>()
        };
        let exactly = of(true);
        Ok(match exactly.is_empty() {
            true => of(false),
            false => exactly,
        })
    }

    /// By the first of its readings that is a pod, or a workload.
    async fn of_end(&self, readings: &[(String, String)]) -> Result<BTreeSet<String>> {
        for (namespace, name) in readings {
            let found = self.of_pod(namespace, name).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(BTreeSet::new())
    }

    /// The running agents by their nodes; with why there is none where the API does not say.
    pub async fn agents(&self, namespace: &str) -> Result<BTreeMap<String, InPod>, String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = each(&api, ListParams::default().labels(AGENTS)).await;
        let found = found.map_err(|error| error.to_string())?;
        // Where tenants make namespaces, a pod of theirs may have these labels; an agent's has its node's
        // network, which not everybody may take.
        let running = found.iter().filter(|pod| runs(pod) && is_agents(pod));
        let agents = running.filter_map(|pod| {
            let node = pod.spec.as_ref()?.node_name.clone()?;
            Some((node, in_pod(pod)?))
        });
        Ok(agents.collect())
    }
}

/// The answer, if it comes in time, whatever it says; else a sentence.
pub async fn answered<T>(asked: impl Future<Output = T>) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    timeout(PATIENCE, asked).await.map_err(late)
}

/// What was asked for, if it comes in time; else a sentence.
pub async fn within<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    let answer = answered(asked).await?;
    answer.map_err(|error| why(&error))
}

/// All objects, page by page.
pub async fn each<K>(api: &Api<K>, mut params: ListParams) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + Resource,
{
    let mut all = Vec::new();
    params.limit = Some(PAGE);
    loop {
        let page: ObjectList<K> = match within(api.list(&params)).await {
            Ok(page) => page,
            Err(why) => bail!("{why}"),
        };
        let next = page.metadata.continue_.filter(|it| !it.is_empty());
        all.extend(page.items);
        if all.len() > MOST {
            bail!("it lists more than {MOST} objects");
        }
        match next {
            Some(next) => params.continue_token = Some(next),
            None => return Ok(all),
        }
    }
}

/// Made by a workload of that name: `cart` for `cart-5d4f9-x2x`, by way of the ReplicaSet.
fn is_of(pod: &Pod, workload: &str) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|it| it.controller == Some(true));
    owners.any(|it| {
        let replica_set = it.kind == "ReplicaSet";
        let deployment = it.name.rsplit_once('-').map(|(name, _)| name);
        it.name == workload || replica_set && deployment == Some(workload)
    })
}

/// Made by a DaemonSet, in its node's network.
fn is_agents(pod: &Pod) -> bool {
    let host = pod.spec.as_ref().and_then(|it| it.host_network) == Some(true);
    let mut owners = pod.metadata.owner_references.iter().flatten();
    host && owners.any(|it| it.controller == Some(true) && it.kind == "DaemonSet")
}

/// Whether commands can be run in it.
pub fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

pub fn in_pod(pod: &Pod) -> Option<InPod> {
    let annotations = pod.metadata.annotations.as_ref();
    let named = annotations.and_then(|it| it.get(DEFAULT_CONTAINER));
    let first = || {
        pod.spec
            .as_ref()?
            .containers
            .first()
            .map(|it| it.name.clone())
    };
    let container = named.cloned().or_else(first)?;
    let containers = pod.spec.as_ref().map(|it| it.containers.as_slice());
    let mut own = containers
        .into_iter()
        .flatten()
        .filter(|it| it.name == container);
    Some(InPod {
        namespace: pod.metadata.namespace.clone()?,
        pod: pod.metadata.name.clone()?,
        image: own.next().and_then(|it| it.image.clone()),
        container,
    })
}

/// A DNS subdomain, as names of nodes are (RFC 1123).
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(plain)
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn owned(kind: &str, name: &str) -> Pod {
        let owner = OwnerReference {
            kind: kind.into(),
            name: name.into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        let mut pod = Pod::default();
        pod.metadata.owner_references = Some(vec![owner]);
        pod
    }

    #[test]
    fn a_workload_is_known_by_its_own_name() {
        assert!(is_of(&owned("ReplicaSet", "cart-5d4f9"), "cart"));
        assert!(is_of(&owned("StatefulSet", "cart"), "cart"));
        assert!(!is_of(&owned("StatefulSet", "cart-db"), "cart"));
        assert!(!is_of(&owned("ReplicaSet", "cart-db-5d4f9"), "cart"));
        assert!(!is_of(&Pod::default(), "cart"));
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for odd in ["", "../x", "a/b", "-o", ".", "A", "a\nb"] {
            assert!(!is_name(odd), "{odd:?}");
        }
        assert!(is_name("ip-10-0-0-1.eu-west-1.compute.internal"));
    }
}
