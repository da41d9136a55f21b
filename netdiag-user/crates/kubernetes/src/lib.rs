//! The Kubernetes API: which pods, Services and nodes there are, as the cluster knows them. The one
//! folder that knows the API's objects and its client library.
//!
//! Everything here happens beside the trace: tasks of their own list and watch, and what they know
//! is handed over as a whole. An API that is slow, gone or forbids something costs names, never
//! time.
//!
//! Of the pods of other nodes only those are known that back a Service: EndpointSlices name them,
//! and a node need not watch all pods of the cluster.
mod bounded;
mod cluster_store;
mod connect;
pub mod events;
mod follow;
mod keep;
mod kubeconfig;
mod liveness;
mod objects;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use kube::Client;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::cluster_store::ClusterStore;
pub use self::{connect::access, follow::why, kubeconfig::Asked};
use model::cluster::{Cluster, Topic};
use netdiag_model as model;
use netdiag_sys as sys;

/// API servers from 1.32 on stream lists by default.
const STREAMING_SINCE: (u32, u32) = (1, 32);
/// How long Nodes are waited for before this one is taken by its name.
const NODES: Duration = Duration::from_secs(5);

/// This node, as far as it knows itself.
struct This {
    name: String,
    addresses: Vec<IpAddr>,
}

impl This {
    fn new(name: Option<&str>) -> Self {
        let host = || nix::sys::utsname::uname().map(|u| u.nodename().to_string_lossy().into());
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
        });
        Self {
            name: name.map_or_else(|| host().unwrap_or_default(), str::to_owned),
            addresses: addresses.filter(|a| !a.is_loopback()).collect(),
        }
    }
}

/// A watched API. What it follows ends when it is dropped.
pub struct Kubernetes {
    picture: watch::Receiver<Arc<Cluster>>,
    unverified: bool,
    _tasks: JoinSet<()>,
}

impl Kubernetes {
    /// Starts to follow it; nothing where no API is known.
    pub async fn open(asked: Asked<'_>, node: Option<&str>) -> Result<Option<Self>> {
        Self::within(asked, node, bounded::PAGE).await
    }

    /// The same with answers of so many bytes at most.
    async fn within(asked: Asked<'_>, node: Option<&str>, most: usize) -> Result<Option<Self>> {
        let Some(config) = connect::config(asked).await? else {
            return Ok(None);
        };
        let this = This::new(node);
        let server = config.cluster_url.to_string();
        let unverified = config.accept_invalid_certs;
        let (book, picture) = ClusterStore::new(server.trim_end_matches('/').to_owned());
        let client = connect::client(config, &book, most)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(book.clone().publish());
        tasks.spawn(all(client, book, picture.clone(), this));
        Ok(Some(Self {
            picture,
            unverified,
            _tasks: tasks,
        }))
    }

    /// What is known now.
    pub fn picture(&self) -> Arc<Cluster> {
        self.picture.borrow().clone()
    }

    /// Whether whoever answers is taken for the API.
    pub fn is_unverified(&self) -> bool {
        self.unverified
    }

    /// Each picture as it comes.
    pub fn pictures(&self) -> watch::Receiver<Arc<Cluster>> {
        self.picture.clone()
    }

    /// Waits until every kind is known or in trouble, or for so long.
    pub async fn settle(&mut self, patience: Duration) {
        let all = |cluster: &Arc<Cluster>| Topic::ALL.iter().all(|t| cluster.settled(*t));
        let _ = timeout(patience, self.picture.wait_for(all)).await;
    }
}

async fn all(
    client: Client,
    book: ClusterStore,
    picture: watch::Receiver<Arc<Cluster>>,
    this: This,
) {
    let streaming = streams(&client).await;
    let at_once = |client: &Client, book: &ClusterStore| (client.clone(), book.clone());
    let (c, b) = at_once(&client, &book);
    let nodes = follow::follow::<objects::Node>(c, b, None, streaming);
    let (c, b) = at_once(&client, &book);
    let services = follow::follow::<objects::Service>(c, b, None, streaming);
    let (c, b) = at_once(&client, &book);
    let slices = follow::follow::<objects::EndpointSlice>(c, b, None, streaming);
    let (c, b) = at_once(&client, &book);
    let settings = settings::follow(c, b);
    let pods = async {
        let name = node_name(&book, picture, this).await;
        let fields = format!("spec.nodeName={name}");
        follow::follow::<objects::Pod>(client, book.clone(), Some(fields), streaming).await;
    };
    tokio::join!(nodes, services, slices, settings, pods);
}

/// Whether it is worth asking for a streamed list: an older API server passes the wish over, and
/// the end of the list would never be told.
async fn streams(client: &Client) -> bool {
    let asked = timeout(NODES, client.apiserver_version()).await;
    let Ok(Ok(version)) = asked else { return false };
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    (number(&version.major), number(&version.minor)) >= STREAMING_SINCE
}

/// By which name the cluster knows this node: its own if there is such a Node, else that of the
/// one Node with an address of this node's.
async fn node_name(
    book: &ClusterStore,
    mut picture: watch::Receiver<Arc<Cluster>>,
    this: This,
) -> String {
    let begun = Instant::now();
    let settled = picture.wait_for(|c| c.settled(Topic::Nodes));
    let known = timeout(NODES, settled).await;
    let cluster = match known {
        Ok(Ok(cluster)) => cluster.clone(),
        _ => Arc::default(),
    };
    log::debug!("the nodes were known after {:?}", begun.elapsed());
    let own = |address: &IpAddr| this.addresses.contains(address);
    let mut by_address = cluster.nodes.iter().filter(|n| n.addresses.iter().any(own));
    let by_name = cluster.nodes.iter().any(|n| n.name == this.name);
    let (name, why) = match (by_name, by_address.next(), by_address.next()) {
        (true, ..) => (this.name, None),
        (false, Some(one), None) => (one.name.clone(), None),
        (false, ..) if cluster.nodes.is_empty() => (this.name, None),
        (false, ..) => {
            let why = format!(
                "no Node is called {} and none has an address of this one: --node-name NAME says \
                 which it is",
                this.name
            );
            (this.name, Some(why))
        }
    };
    book.write(|inner| {
        inner.node = Some(name.clone());
        inner.no_node = why;
    });
    name
}
