//! A GRE tunnel from node to node, with a key as those have that must be told apart.
use std::net::IpAddr;

use anyhow::Result;
use rtnetlink::LinkGre;
use rtnetlink::packet_route::link::GreIOFlags;

use crate::cluster::Cluster;
use crate::net::Route;
use crate::plan::Node;

pub async fn tunnel(cluster: &Cluster, node: &Node, peer: &Node) -> Result<()> {
    let plan = &cluster.plan;
    let net = cluster.net(&node.netns)?;
    let device = plan.tunnel.device.as_str();
    let key = plan.tunnel.vni;
    let link = LinkGre::new(device)
        .local(node.ipv4)
        .remote(peer.ipv4)
        .ttl(64)
        .pmtudisc(true)
        .iflags(GreIOFlags::Key)
        .oflags(GreIOFlags::Key)
        .ikey(key)
        .okey(key);
    net.add(device, link.build()).await?;
    net.set(device, |link| link.mtu(plan.mtu.tunnel).up())
        .await?;
    let theirs: [(IpAddr, u8); 2] = [(peer.pods_ipv4.into(), 24), (peer.pods_ipv6.into(), 64)];
    for to in theirs {
        net.route(Route::new(to, None, device)).await?;
    }
    Ok(())
}
