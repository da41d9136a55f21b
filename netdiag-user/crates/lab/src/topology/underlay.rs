//! The network between the nodes: node A and the outside on one switch, node B on a second one,
//! so that a fault on the path need not be at a node's own link.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, anyhow};
use rtnetlink::LinkBridge;

use super::OVERHEAD;
use crate::cluster::Cluster;
use crate::net::{End, Net, Route};
use crate::plan::{A, B, Node};

/// The outside's own link.
pub const DEVICE: &str = "eth0";
/// The switches' ports.
pub const PORT_A: &str = "port-a";
pub const PORT_B: &str = "port-b";
pub const PORT_OUTSIDE: &str = "port-outside";
pub const TRUNK: &str = "trunk";
const SWITCH: &str = "switch";
/// What is left of a DHCP lease when the lab starts.
const LEASE: Duration = Duration::from_secs(86_400);

pub async fn build(cluster: &Cluster) -> Result<()> {
    let plan = &cluster.plan;
    let mtu = wide(cluster);
    let [first, second] = [
        cluster.net(&plan.switches[0])?,
        cluster.net(&plan.switches[1])?,
    ];
    for switch in [first, second] {
        // Flooding multicast is what a switch without a querier does anyway.
        let link = LinkBridge::new(SWITCH).mtu(mtu).mcast_snooping(false);
        switch.add(SWITCH, link.up().build()).await?;
    }
    let outside = cluster.net(&plan.outside.netns)?;
    connect(first, TRUNK, second, TRUNK, mtu).await?;
    connect(first, PORT_OUTSIDE, outside, DEVICE, mtu).await?;
    second.attach(TRUNK, SWITCH).await?;
    if plan.direct {
        cable(cluster, mtu).await?;
    } else {
        for (index, switch, port) in [(A, first, PORT_A), (B, second, PORT_B)] {
            let node = &plan.nodes[index];
            connect(switch, port, cluster.net(&node.netns)?, &node.uplink, mtu).await?;
        }
    }
    for node in &plan.nodes {
        addresses(cluster, node).await?;
    }
    outside
        .address(DEVICE, (plan.outside.ipv4.into(), 24), None)
        .await?;
    outside
        .address(DEVICE, (plan.outside.ipv6.into(), 64), None)
        .await?;
    outside.up(DEVICE).await?;
    second_network(cluster, mtu).await
}

/// Gives the uplinks and everything between them their final MTU. It comes last because a VXLAN
/// device that is too large for its uplink can only be had by lowering the uplink afterwards.
pub async fn narrow(cluster: &Cluster) -> Result<()> {
    let plan = &cluster.plan;
    let mtu = plan.mtu.uplink;
    if mtu == wide(cluster) {
        return Ok(());
    }
    for (index, switch, port) in [(A, 0, PORT_A), (B, 1, PORT_B)] {
        let node = &plan.nodes[index];
        cluster
            .net(&node.netns)?
            .set(&node.uplink, |link| link.mtu(mtu))
            .await?;
        if plan.direct {
            continue;
        }
        let switch = cluster.net(&plan.switches[switch])?;
        for device in [port, TRUNK, SWITCH] {
            switch.set(device, |link| link.mtu(mtu)).await?;
        }
    }
    cluster
        .net(&plan.switches[0])?
        .set(PORT_OUTSIDE, |link| link.mtu(mtu))
        .await?;
    cluster
        .net(&plan.outside.netns)?
        .set(DEVICE, |link| link.mtu(mtu))
        .await
}

fn wide(cluster: &Cluster) -> u32 {
    let mtu = &cluster.plan.mtu;
    mtu.uplink.max(mtu.tunnel + OVERHEAD)
}

/// A cable from a port of the switch to a device in another namespace.
async fn connect(switch: &Net, port: &str, to: &Net, device: &str, mtu: u32) -> Result<()> {
    let one = End {
        net: switch,
        name: port,
        mac: None,
    };
    let other = End {
        net: to,
        name: device,
        mac: None,
    };
    Net::veth(one, other, mtu).await?;
    switch.attach(port, SWITCH).await
}

/// A cable from node to node.
async fn cable(cluster: &Cluster, mtu: u32) -> Result<()> {
    let mut ends = Vec::new();
    for node in &cluster.plan.nodes {
        ends.push(End {
            net: cluster.net(&node.netns)?,
            name: &node.uplink,
            mac: None,
        });
    }
    let [a, b] = <[End<'_>; 2]>::try_from(ends).map_err(|_| anyhow!("two nodes"))?;
    Net::veth(a, b, mtu).await
}

async fn addresses(cluster: &Cluster, node: &Node) -> Result<()> {
    let plan = &cluster.plan;
    let net = cluster.net(&node.netns)?;
    net.address(&node.uplink, (node.ipv4.into(), 24), None)
        .await?;
    if let Some(leased) = node.leased {
        net.address(&node.uplink, (leased.into(), 24), Some(LEASE))
            .await?;
    }
    net.address(&node.uplink, (node.ipv6.into(), 64), None)
        .await?;
    net.up(&node.uplink).await?;
    let ipv4 = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
    net.route(Route::new(
        ipv4,
        Some(plan.outside.ipv4.into()),
        &node.uplink,
    ))
    .await?;
    let ipv6 = (IpAddr::from(Ipv6Addr::UNSPECIFIED), 0);
    net.route(Route::new(
        ipv6,
        Some(plan.outside.ipv6.into()),
        &node.uplink,
    ))
    .await
}

/// The second cable from node A to the outside, where the plan has one.
async fn second_network(cluster: &Cluster, mtu: u32) -> Result<()> {
    let Some(second) = &cluster.plan.second else {
        return Ok(());
    };
    let node = cluster.net(&cluster.plan.nodes[A].netns)?;
    let outside = cluster.net(&cluster.plan.outside.netns)?;
    let ends = [
        (node, second.device.as_str(), second.node),
        (outside, "eth1", second.outside),
    ];
    let [one, other] = ends.map(|(net, name, _)| End {
        net,
        name,
        mac: None,
    });
    Net::veth(one, other, mtu).await?;
    for (net, device, address) in ends {
        net.address(device, (address.into(), 24), None).await?;
        net.up(device).await?;
    }
    Ok(())
}
