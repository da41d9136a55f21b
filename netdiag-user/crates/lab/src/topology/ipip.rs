//! The tunnel as Calico sets it up: one IPIP device for all peers, routes that name the peer's
//! own address.
use anyhow::Result;
use rtnetlink::LinkIpIp;

use crate::cluster::Cluster;
use crate::link::name;
use crate::net::Route;
use crate::plan::Node;

pub async fn tunnel(cluster: &Cluster, node: &Node, peer: &Node) -> Result<()> {
    let plan = &cluster.plan;
    let net = cluster.net(&node.netns)?;
    let device = plan.tunnel.device.as_str();
    // Where the ipip module is loaded every namespace has a tunl0, and that is the one which
    // Calico uses; it takes no `local`.
    if !net.links().await?.iter().any(|link| name(link) == device) {
        net.add(device, LinkIpIp::new(device).local(node.ipv4).build())
            .await?;
    }
    net.set(device, |link| link.mtu(plan.mtu.tunnel).up())
        .await?;
    net.address(device, (node.pods_ipv4.into(), 32), None)
        .await?;
    let to = (peer.pods_ipv4.into(), 24);
    net.route(Route::new(to, Some(peer.ipv4.into()), device).onlink())
        .await
}
