//! What the Kubernetes API says, where there is one, beside everything that works without.
use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use netdiag_lang::{english, mark, t};
use tokio::sync::watch::Receiver;

use crate::{
    kernel::support::Feature,
    model::{
        cluster::{Cluster, Topic},
        node::Node,
        text::listed,
        verdict::NotChecked,
    },
};

/// How long the first pictures are waited for: who only wants names must not be kept.
const PATIENCE: Duration = Duration::from_secs(2);

/// A person who asks for it waits longer.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// Where the API is, as far as that was said.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub kubeconfig: Option<&'a Path>,
    pub node_name: Option<&'a str>,
    /// Root may run the program that the kubeconfig names.
    pub allow_exec_plugin: bool,
}

/// The API, or why there is none: a sentence.
pub struct Source(Result<Api, String>);

impl Source {
    /// Fails where an API was named and cannot be used.
    pub async fn open(place: Option<Place<'_>>) -> Result<Self> {
        let Some(place) = place else {
            return Ok(Self(Err("it was not asked for".into())));
        };
        let api = open(place).await;
        match api {
            Err(error) if place.kubeconfig.is_some() => Err(error),
            Err(error) => Ok(Self(Err(format!("{error:#}")))),
            Ok(Some(api)) => Ok(Self(Ok(api))),
            Ok(None) => Ok(Self(Err(NONE.into()))),
        }
    }

    /// Each picture as it comes.
    pub fn pictures(&self) -> Result<Receiver<Arc<Cluster>>, String> {
        self.0.as_ref().map(Api::pictures).map_err(String::clone)
    }

    /// What is known now.
    pub fn picture(&self) -> Arc<Cluster> {
        self.0.as_ref().map(Api::picture).unwrap_or_default()
    }

    /// Waits until the API has said what it has to say, but not for long.
    pub async fn settle(&mut self) {
        if let Ok(api) = &mut self.0 {
            api.settle(PATIENCE).await;
        }
    }

    pub fn not_checked(&self) -> Vec<NotChecked> {
        // Of an API that is not there the pods' sources tell.
        let Ok(api) = &self.0 else { return Vec::new() };
        let cluster = api.picture();
        let mut rows = cluster.not_checked();
        if api.is_unverified() {
            let what = english!("who answers as {}", cluster.server);
            let why = mark!("the kubeconfig has insecure-skip-tls-verify");
            rows.push(NotChecked::new(what, why));
        }
        rows
    }
}

/// What doctor says of it.
pub async fn feature(place: Place<'_>) -> Result<Feature> {
    let Source(api) = Source::open(Some(place)).await?;
    let result = match api {
        Ok(mut api) => {
            api.settle(LONG_PATIENCE).await;
            allowed(&api.picture())
        }
        Err(why) => Err((
            why,
            mark!("--kubeconfig FILE, or a service account in the cluster"),
        )),
    };
    let available = result.is_ok();
    let (detail, remedy) = match result {
        Ok(detail) => (detail, String::new()),
        Err((detail, remedy)) => (detail, remedy.to_owned()),
    };
    Ok(Feature {
        name: mark!("Kubernetes API"),
        available,
        essential: false,
        detail,
        remedy,
    })
}

fn allowed(cluster: &Cluster) -> Result<String, (String, &'static str)> {
    let missing = cluster.not_checked();
    let known = |t: &Topic| cluster.states.get(t).is_some_and(|s| s.known);
    let known: Vec<_> = Topic::ALL.into_iter().filter(known).collect();
    let known: Vec<_> = known.into_iter().map(Topic::resource).collect();
    let (server, node) = (&cluster.server, cluster.node.as_deref().unwrap_or("?"));
    if missing.is_empty() {
        let (services, nodes) = (cluster.services.len(), cluster.nodes.len());
        return Ok(t!(
            "{server} lets {node} read {}: {services} Services, {nodes} nodes",
            listed(&known)
        ));
    }
    let missing = missing
        .iter()
        .map(|row| format!("{}: {}", row.what, row.why));
    let missing = missing.collect::<Vec<_>>().join("; ");
    let remedy = match known.is_empty() {
        true => mark!("see that the server can be reached from here, and as whom it is asked"),
        false => mark!("the ClusterRole in netdiag's docs/cluster.md"),
    };
    Err((missing, remedy))
}

/// The addresses by which the cluster knows this node: what its overlay has announced where it
/// did, else its Node's.
pub fn know_as(node: &mut Node, cluster: &Cluster) {
    let Some(member) = cluster.member() else {
        return;
    };
    let internal = member.addresses.iter();
    let internal = internal.map(|a| (*a, format!("the InternalIP of Node {}", member.name)));
    for (address, by) in internal {
        if !node.known_as.iter().any(|(known, _)| *known == address) {
            node.known_as.push((address, by));
        }
    }
}

#[cfg(feature = "k8s")]
use crate::kubernetes::{Asked, Kubernetes as Api};

#[cfg(feature = "k8s")]
const NONE: &str = mark!("no Kubernetes API was given or found");

#[cfg(feature = "k8s")]
async fn open(place: Place<'_>) -> Result<Option<Api>> {
    let asked = Asked {
        kubeconfig: place.kubeconfig,
        context: None,
        plugins: place.allow_exec_plugin,
    };
    Api::open(asked, place.node_name).await
}

#[cfg(not(feature = "k8s"))]
const NONE: &str = mark!("this netdiag was built without it (feature k8s)");

#[cfg(not(feature = "k8s"))]
async fn open(place: Place<'_>) -> Result<Option<Api>> {
    if place.kubeconfig.is_some() {
        anyhow::bail!("--kubeconfig: {NONE}");
    }
    Ok(None)
}

/// There is never one.
#[cfg(not(feature = "k8s"))]
enum Api {}

#[cfg(not(feature = "k8s"))]
impl Api {
    fn picture(&self) -> Arc<Cluster> {
        match *self {}
    }

    fn is_unverified(&self) -> bool {
        match *self {}
    }

    fn pictures(&self) -> Receiver<Arc<Cluster>> {
        match *self {}
    }

    async fn settle(&mut self, _patience: Duration) {
        match *self {}
    }
}
