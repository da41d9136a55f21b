//! The far end of a pod's link: MTU, route MTU and addresses inside its namespace.
use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{budget::Budget, links, listing::POD, namespaces, nsids, routes};
use crate::{
    model::node::{Link, LinkKind, MAIN, PodSide, RouteKind},
    sys::file,
};

/// A pod's side, and which of its listings were longer than what is read of them.
#[derive(Clone, Debug)]
pub struct Side {
    pub side: PodSide,
    pub more: More,
    /// Its links lead into namespaces, and none into this node's: several nodes can be on one
    /// machine, as with kind, and the kernel shows the processes of all.
    pub elsewhere: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More {
    pub links: bool,
    pub addresses: bool,
    pub routes: bool,
    /// Any of them changed while it was read: it is read again with the next reading.
    pub changed: bool,
}

/// Reads the namespaces at these paths, which the node sees without `root`, one after the other for
/// as long as there is time. A thread of its own enters them, never one of tokio's. Nothing for one
/// that is gone or may not be entered, and fewer than were asked for where time was up.
pub fn read(all: Vec<(u32, PathBuf)>, root: &Path, budget: Duration) -> Vec<Option<Side>> {
    if all.is_empty() {
        return Vec::new();
    }
    let root = root.to_owned();
    let thread = std::thread::Builder::new().name("pod-side".into());
    let spawned = thread.spawn(move || {
        let budget = Budget::new(budget);
        let node = file::namespace(Path::new("/proc/thread-self/ns/net")).ok();
        let mut found = Vec::new();
        for (netns, path) in all {
            if budget.is_spent() {
                break;
            }
            let side = one(netns, &path, &root, node.as_ref());
            found.push(
                side.map_err(|e| log::debug!("{}: {e:#}", path.display()))
                    .ok(),
            );
        }
        found
    });
    let joined = spawned.map(std::thread::JoinHandle::join);
    joined.map_or_else(|_| Vec::new(), Result::unwrap_or_default)
}

fn one(netns: u32, path: &Path, root: &Path, node: Option<&File>) -> Result<Side> {
    namespaces::enter(path, netns).context("entering the pod's network namespace")?;
    let name = Path::new("/").join(path.strip_prefix(root).unwrap_or(path));
    here(netns, name.to_string_lossy().into_owned(), node)
}

/// Whether a namespace whose links lead into those with these ids is no pod of the node that it
/// knows by that one. A link that leads nowhere may have been moved in: nothing tells from where.
fn is_elsewhere(ids: &[Option<i32>], node: Option<i32>) -> bool {
    !ids.is_empty() && ids.iter().all(|id| id.is_some() && *id != node)
}

/// The device of the node's that it shares.
fn lower(link: &Link) -> Option<u32> {
    const SHARING: [&str; 2] = ["macvlan", "ipvlan"];
    match &link.kind {
        LinkKind::Other(kind) if SHARING.contains(&kind.as_str()) => link.link,
        _ => None,
    }
}

fn here(netns: u32, path: String, node: Option<&File>) -> Result<Side> {
    let links = links::links(&POD, false)?;
    let mut routes = routes::onward(POD.routes)?;
    if routes.left.any() {
        // Half of a table names wrong ways.
        routes.all.clear();
    }
    let listings = [links.left, links.left_addresses, routes.left];
    let more = More {
        links: links.left.more,
        addresses: links.left_addresses.more,
        routes: routes.left.more,
        changed: listings.iter().any(|left| left.changed),
    };
    let (ids, links, routes) = (links.nsids, links.all, routes.all);
    let outward = |l: &&Link| l.up && l.kind != LinkKind::Loopback;
    let leads = links.iter().filter(outward);
    let leads: Vec<_> = leads.map(|l| ids.get(&l.index).copied()).collect();
    // The listing gave an id to every namespace that a link leads into.
    let elsewhere = node.is_some_and(|node| is_elsewhere(&leads, nsids::of(node)));
    let mtu = links
        .iter()
        .filter(outward)
        .map(|l| l.mtu)
        .min()
        .unwrap_or(0);
    // An address of a link that is down is the pod's all the same.
    let own = links.iter().filter(|l| l.kind != LinkKind::Loopback);
    let addresses = own.flat_map(|l| &l.addresses);
    let side = PodSide {
        netns,
        mtu,
        route_mtu: routes.iter().filter_map(|r| r.mtu).min(),
        ports: links
            .iter()
            .filter(|l| l.master.is_some())
            .map(|l| l.index)
            .collect(),
        addresses: addresses
            .filter(|a| !a.link_local)
            .map(|a| a.prefix.address)
            .collect(),
        links: links
            .iter()
            .filter(outward)
            .map(|l| (l.index, l.name.clone()))
            .collect(),
        lower: links.iter().filter(outward).find_map(lower),
        path: Some(path),
        ways: routes
            .iter()
            .filter(|r| r.kind == RouteKind::Unicast && r.table == MAIN)
            .map(|r| (r.destination, r.gateway))
            .collect(),
    };
    Ok(Side {
        side,
        more,
        elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_another_node_on_this_machine_has_no_link_to_this_one() {
        assert!(!is_elsewhere(&[], None));
        assert!(!is_elsewhere(&[Some(0)], Some(0)));
        assert!(!is_elsewhere(&[Some(1), Some(0)], Some(0)), "and more");
        assert!(
            !is_elsewhere(&[None, Some(1)], Some(0)),
            "a device moved in"
        );
        assert!(is_elsewhere(&[Some(0)], None));
        assert!(is_elsewhere(&[Some(0), Some(1)], Some(2)));
    }
}
