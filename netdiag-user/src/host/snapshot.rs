//! One reading of everything: the audit's snapshot.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result};
use rtnetlink::Handle;

use super::{
    counters, links,
    namespaces::{self, PeerNamespaces},
    neighbours::Watch,
    pod_side, routes, rules, sysctl,
};
use crate::model::{
    node::{Counters, Link, NeighbourMoves, Node, PodSide},
    roles::{Role, role},
};

/// Reads the node of the namespace that it was opened in.
pub struct Reader {
    handle: Handle,
    root: PathBuf,
    name: String,
    kernel: String,
    neighbours: Watch,
    /// Where the namespaces of the last reading are.
    paths: Mutex<Vec<(u32, PathBuf)>>,
    /// Pod sides do not change while the pod lives. The next namespace gets the inode of one that
    /// is gone, its link another index, its pod another beginning: the two are the key.
    sides: Mutex<HashMap<(u32, Hold), PodSide>>,
    /// Pods' namespaces that no link leads into.
    linkless: Mutex<Vec<Linkless>>,
}

/// A pod's namespace by its inode, and since when it is this pod's (`CLOCK_MONOTONIC` ns).
pub type Linkless = (u32, Option<u64>);

/// What a namespace is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hold {
    /// The index of the link that leads there.
    Link(u32),
    Pod(Option<u64>),
}

impl Reader {
    /// Opens netlink. Must be called within a tokio runtime.
    pub fn open(root: &Path, name: Option<&str>) -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        let uname = nix::sys::utsname::uname().context("asking for the kernel's name")?;
        let host = uname.nodename().to_string_lossy().into_owned();
        Ok(Self {
            handle,
            root: root.to_owned(),
            neighbours: Watch::open()?,
            name: name.map_or(host, str::to_owned),
            kernel: uname.release().to_string_lossy().into_owned(),
            paths: Mutex::default(),
            sides: Mutex::default(),
            linkless: Mutex::default(),
        })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Pods whose namespaces no link leads into (macvlan, ipvlan, a device moved in), as the next
    /// reading is to show them. Tells whether that is news.
    pub fn look_into(&self, pods: Vec<Linkless>) -> bool {
        let mut known = lock(&self.linkless);
        let news = *known != pods;
        *known = pods;
        news
    }

    pub async fn node(&self) -> Result<Node> {
        let peers = namespaces::peers(&self.handle, &self.root).await;
        let links = links::links(&self.handle, &peers).await?;
        let names: Vec<_> = links.iter().map(|l| l.name.clone()).collect();
        let rules = rules::rules(&self.handle).await.unwrap_or_default();
        let mut node = Node {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            netns: namespaces::own().unwrap_or(0),
            routes: routes::routes(&self.handle).await?,
            policy_tables: rules::policy_tables(&rules),
            rules,
            neighbours: routes::neighbours(&self.handle).await?,
            fdb: routes::fdb(&self.handle).await?,
            sysctls: sysctl::read(&self.root, &names),
            links,
            pod_sides: Vec::new(),
            linkless: Vec::new(),
            counters: Vec::new(),
            known_as: Vec::new(),
            neighbour_moves: self.neighbour_moves(),
        };
        (node.pod_sides, node.linkless) = self.sides(&node, &peers);
        *lock(&self.paths) = paths(&node, &peers);
        node.counters = self.counters();
        Ok(node)
    }

    /// Neighbours whose link-layer address changed since this was opened.
    pub fn neighbour_moves(&self) -> Vec<NeighbourMoves> {
        self.neighbours.moves()
    }

    /// Counters of the namespaces that the last reading of the node found.
    pub fn counters(&self) -> Vec<Counters> {
        // Where the first process is. In a container of its own that is its namespace.
        let first = self.root.join("proc/1/ns/net");
        counters::read(lock(&self.paths).clone(), first)
    }

    /// Those of pods with a link here, and of those without.
    fn sides(&self, node: &Node, peers: &PeerNamespaces) -> (Vec<PodSide>, Vec<PodSide>) {
        let is_pod = |l: &&Link| role(node, l) == Some(Role::Pod);
        let links = node.links.iter().filter(is_pod);
        let linked: Vec<_> = links.filter_map(|l| Some((l.peer_netns?, l))).collect();
        let mut linkless = lock(&self.linkless).clone();
        linkless.retain(|(i, _)| *i != node.netns && !linked.iter().any(|(inode, _)| inode == i));
        let mut known = lock(&self.sides);
        known.retain(|(inode, hold), _| match hold {
            Hold::Link(index) => node.link(*index).is_some(),
            Hold::Pod(since) => linkless.contains(&(*inode, *since)),
        });
        let mut look = |inode: u32, hold: Hold, peer: Option<u32>| {
            if let Some(side) = known.get(&(inode, hold)) {
                return Some(side.clone());
            }
            let mut side = pod_side::read(peers.path(inode)?, &self.root, inode).ok()?;
            if peer.is_some_and(|peer| side.ports.contains(&peer)) {
                // A switch's addresses are no pod's.
                side.addresses.clear();
            }
            known.insert((inode, hold), side.clone());
            Some(side)
        };
        let linked = linked
            .into_iter()
            .filter_map(|(inode, l)| look(inode, Hold::Link(l.index), l.link))
            .collect();
        let linkless = linkless
            .into_iter()
            .filter_map(|(inode, since)| look(inode, Hold::Pod(since), None))
            .collect();
        (linked, linkless)
    }
}

/// This namespace and the pods'.
fn paths(node: &Node, peers: &PeerNamespaces) -> Vec<(u32, PathBuf)> {
    let own = (node.netns, PathBuf::from("/proc/self/ns/net"));
    let pods = node.sides();
    let pods = pods.filter_map(|s| Some((s.netns, peers.path(s.netns)?.to_owned())));
    std::iter::once(own).chain(pods).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}
