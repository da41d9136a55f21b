//! The far end of a pod's link: MTU, route MTU and addresses inside its namespace.
use std::{fs::File, path::Path};

use anyhow::{Context, Result};

use super::{links, namespaces::PeerNamespaces, routes};
use crate::model::node::{LinkKind, MAIN, PodSide, RouteKind};

/// Reads the namespace at `path`, which the node sees without `root`. A thread of its own enters
/// it, never one of tokio's.
pub fn read(path: &Path, root: &Path, netns: u32) -> Result<PodSide> {
    let name = Path::new("/").join(path.strip_prefix(root).unwrap_or(path));
    let name = name.to_string_lossy().into_owned();
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let thread = std::thread::Builder::new()
        .name("pod-side".into())
        .spawn(move || {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("entering the pod's network namespace")?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(collect(netns, name))
        })?;
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the reading thread panicked"))?
}

/// The device of the node's that it shares.
fn lower(link: &crate::model::node::Link) -> Option<u32> {
    const SHARING: [&str; 2] = ["macvlan", "ipvlan"];
    match &link.kind {
        LinkKind::Other(kind) if SHARING.contains(&kind.as_str()) => link.link,
        _ => None,
    }
}

async fn collect(netns: u32, path: String) -> Result<PodSide> {
    let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
    tokio::spawn(connection);
    let links = links::links(&handle, &PeerNamespaces::default()).await?;
    let routes = routes::routes(&handle).await?;
    let outward = |l: &&crate::model::node::Link| l.up && l.kind != LinkKind::Loopback;
    let mtu = links
        .iter()
        .filter(outward)
        .map(|l| l.mtu)
        .min()
        .unwrap_or(0);
    let addresses = links.iter().filter(outward).flat_map(|l| &l.addresses);
    Ok(PodSide {
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
    })
}
