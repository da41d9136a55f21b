//! Gathers what the rules ask for. One file a kind of evidence; each is a plain function that may
//! take its time, because it runs beside the watching.
mod connections;
pub mod etcd;
pub(crate) mod inet_diag;
mod interception;
mod ipam;
pub(crate) mod link_filters;
mod manifest;
mod memory;
pub(crate) mod netlink;
pub(crate) mod nfnetlink;
mod owners;
mod pod_networks;
mod processes;
mod qdiscs;
mod receivers;
mod resolvers;
mod rules;
mod rulesets;
mod runtime;
mod security;
mod services;
mod sockets;
mod source_nat;
mod tracked;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use netdiag_lang::{english, mark};

use super::{listing, namespaces, stack};
use crate::{
    model::{
        gather::{Piece, Want},
        verdict::NotChecked,
    },
    sys::{cost, file},
};

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub root: PathBuf,
    /// The CNI result cache, where it was named.
    pub cni_dir: Option<PathBuf>,
    /// Where etcd is, as far as that was said.
    pub etcd: etcd::EtcdArgs,
    /// The container runtime's socket, where it was named.
    pub cri_socket: Option<PathBuf>,
}

impl Places {
    /// Where a path of the node's is seen from here.
    fn under_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A small file of the node's.
    fn text(&self, path: &Path, largest: u64) -> Option<String> {
        file::text(&self.under_root(path), usize::try_from(largest).ok()?).ok()
    }

    /// The same of one that is no text.
    fn bytes(&self, path: &Path, largest: u64) -> Option<Vec<u8>> {
        file::read(&self.under_root(path), usize::try_from(largest).ok()?).ok()
    }
}

/// What was found out, and what of it was left out.
type Found<T> = (T, Vec<NotChecked>);

/// An answer that tells what it leaves out.
fn told<T>(found: Result<Found<T>>, piece: fn(T) -> Piece) -> Result<Piece> {
    found.map(|(all, left)| piece(all).without(left))
}

/// Finds out one thing; the error is a sentence for `not_checked`.
pub fn gather(want: &Want, places: &Places) -> Result<Piece, String> {
    let piece = match want {
        Want::Listeners(netns) => {
            let root = places.root.clone();
            let look = move || sockets::listeners(&root);
            inside(&places.root, *netns, look).map(Piece::Listeners)
        }
        Want::Commands(name) => {
            let found = processes::daemons::of_node(&places.root, name);
            Ok(Piece::Commands(found))
        }
        Want::Impostors => {
            let found = processes::daemons::impostors(&places.root);
            Ok(Piece::Impostors(found))
        }
        Want::MemoryCgroup(id) => memory::by_id(&places.root, *id).map(Piece::MemoryCgroup),
        Want::Ipam => told(ipam::ranges(places), Piece::Ipam),
        Want::Connections(netns) => {
            let root = places.root.clone();
            let look = move || connections::destinations(&root);
            inside(&places.root, *netns, look).map(Piece::Connections)
        }
        Want::Services => services::services(&places.root).map(Piece::Services),
        Want::Rules(netns) => {
            let watched = *netns;
            let look = move || rules::rules(watched);
            told(inside(&places.root, *netns, look), Piece::Rules)
        }
        Want::Security(netns) => told(security::hooks(&places.root, *netns), Piece::Security),
        Want::LinkFilters(netns) => told(
            link_filters::filters(&places.root, *netns),
            Piece::LinkFilters,
        ),
        Want::Qdiscs => told(qdiscs::qdiscs(), Piece::Qdiscs),
        Want::Receivers { netns, port } => {
            let (root, port) = (places.root.clone(), *port);
            let look = move || receivers::receivers(&root, port);
            inside(&places.root, *netns, look).map(Piece::Receivers)
        }
        Want::Resolvers => told(resolvers::resolvers(&places.root), Piece::Resolvers),
        Want::Tracked(address) => told(tracked::translated(*address), Piece::Tracked),
        Want::Etcd => etcd::members(places).map(Piece::Etcd),
        Want::Interception(netns) => {
            let root = places.root.clone();
            let look = move || interception::interception(&root);
            inside(&places.root, *netns, look).map(Piece::Interception)
        }
        Want::Runtime => runtime::runtime(places).map(Piece::Runtime),
        Want::SourceNat(packet) => {
            source_nat::source_nat(&places.root, packet).map(Piece::SourceNat)
        }
        Want::Stack(netns) => {
            let root = places.root.clone();
            let most = match namespaces::own() == Some(*netns) {
                true => listing::KEPT,
                false => listing::POD,
            };
            let look = move || Ok(Box::new(stack::read(&root, &most)));
            inside(&places.root, *netns, look).map(Piece::Stack)
        }
        Want::PodNetworks => told(pod_networks::pod_networks(&places.root), Piece::PodNetworks),
    };
    piece.map_err(|e| format!("{e:#}"))
}

/// Runs `work` in the namespace with that inode, on a thread of its own, never one of tokio's.
pub(crate) fn inside<T: Send + 'static>(
    root: &Path,
    netns: u32,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let found = namespaces::find(root, netns);
    let found = found.with_context(|| english!("no network namespace has the inode {netns}"))?;
    let thread = std::thread::Builder::new().name("gather".into());
    let joined = thread
        .spawn(move || {
            cost::of(|| {
                // Nothing is asked of who is there already: an agent with few capabilities.
                namespaces::enter(&found.path, netns)
                    .context(mark!("entering the network namespace"))?;
                work()
            })
        })?
        .join();
    let (done, spent) =
        joined.map_err(|_| anyhow::anyhow!(mark!("the gathering thread panicked")))?;
    cost::add(spent);
    done
}
