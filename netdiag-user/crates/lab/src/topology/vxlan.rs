//! The tunnel as flannel sets it up: nothing is learned, every entry is there from the start.
use std::net::IpAddr;

use anyhow::Result;
use rtnetlink::LinkVxlan;

use crate::cluster::Cluster;
use crate::net::Route;
use crate::plan::Node;

pub async fn tunnel(cluster: &Cluster, node: &Node, peer: &Node) -> Result<()> {
    let plan = &cluster.plan;
    let net = cluster.net(&node.netns)?;
    let device = plan.tunnel.device.as_str();
    let second = plan.second.as_ref().filter(|_| node.tunnel_on_second);
    let underlay = second.map_or(&node.uplink, |second| &second.device);
    let agreed = (plan.tunnel.vni, plan.tunnel.port);
    let (vni, port) = node.overlay.unwrap_or(agreed);
    let link = LinkVxlan::new(device, vni)
        .dev(net.index(underlay).await?)
        .port(port)
        .learning(false)
        .mtu(plan.mtu.tunnel)
        .address(node.tunnel_mac.to_vec());
    let link = match node.local {
        IpAddr::V4(local) => link.local(local),
        IpAddr::V6(local) => link.local6(local),
    };
    net.add(device, link.up().build()).await?;
    let own = [(node.pods_ipv4.into(), 32), (node.pods_ipv6.into(), 128)];
    for address in own {
        net.address(device, address, None).await?;
    }
    let theirs: [(IpAddr, u8); 2] = [(peer.pods_ipv4.into(), 24), (peer.pods_ipv6.into(), 64)];
    for (network, length) in theirs {
        net.neighbour(device, network, peer.tunnel_mac).await?;
        net.route(Route::new((network, length), Some(network), device).onlink())
            .await?;
    }
    net.forwarding(device, peer.tunnel_mac, peer.known_as).await
}
