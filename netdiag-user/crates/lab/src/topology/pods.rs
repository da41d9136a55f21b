//! The pods of a node and how they hang on it.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use rtnetlink::LinkBridge;

use crate::cluster::Cluster;
use crate::net::{End, Net, Route};
use crate::plan::{Node, Pod};

const DEVICE: &str = "eth0";
/// The gateway that Calico tells its pods; the node answers for it.
const CALICO_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// No path is ever taken to be narrower than this (`__ip_rt_update_pmtu`).
pub const LARGEST: &str = "65535";
const DEFAULT_IPV4: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const DEFAULT_IPV6: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// Pods on a bridge that is their gateway.
pub async fn bridged(cluster: &Cluster, node: &Node) -> Result<()> {
    let plan = &cluster.plan;
    let net = cluster.net(&node.netns)?;
    let bridge = plan.bridge.as_str();
    let link = LinkBridge::new(bridge)
        .mtu(plan.mtu.pod)
        .address(node.bridge_mac.to_vec());
    net.add(bridge, link.mcast_snooping(false).up().build())
        .await?;
    net.address(bridge, (node.gateway_ipv4().into(), 24), None)
        .await?;
    net.address(bridge, (node.gateway_ipv6().into(), 64), None)
        .await?;
    for pod in &node.pods {
        let inside = veth(cluster, net, pod).await?;
        net.attach(&pod.veth, bridge).await?;
        inside.address(DEVICE, (pod.ipv4.into(), 24), None).await?;
        inside.address(DEVICE, (pod.ipv6.into(), 64), None).await?;
        inside.up(DEVICE).await?;
        let ipv4 = Route::new(DEFAULT_IPV4, Some(node.gateway_ipv4().into()), DEVICE);
        inside.route(ipv4).await?;
        let ipv6 = Route::new(DEFAULT_IPV6, Some(node.gateway_ipv6().into()), DEVICE);
        inside.route(ipv6).await?;
    }
    Ok(())
}

/// Pods without a bridge: a route to each, and an address that is nobody's as their gateway.
pub async fn routed(cluster: &Cluster, node: &Node) -> Result<()> {
    let net = cluster.net(&node.netns)?;
    for pod in &node.pods {
        let inside = veth(cluster, net, pod).await?;
        net.up(&pod.veth).await?;
        let proxy = format!("net/ipv4/conf/{}/proxy_arp", pod.veth);
        net.netns.sysctls(&[(&proxy, "1")])?;
        net.route(Route::new((pod.ipv4.into(), 32), None, &pod.veth))
            .await?;
        inside.address(DEVICE, (pod.ipv4.into(), 32), None).await?;
        inside.up(DEVICE).await?;
        inside
            .neighbour(DEVICE, CALICO_GATEWAY.into(), pod.veth_mac)
            .await?;
        let route = Route::new(DEFAULT_IPV4, Some(CALICO_GATEWAY.into()), DEVICE).onlink();
        inside.route(route).await?;
    }
    Ok(())
}

async fn veth<'a>(cluster: &'a Cluster, net: &Net, pod: &Pod) -> Result<&'a Net> {
    let inside = cluster.net(&pod.netns)?;
    let host = End {
        net,
        name: &pod.veth,
        mac: Some(pod.veth_mac),
    };
    let eth0 = End {
        net: inside,
        name: DEVICE,
        mac: Some(pod.mac),
    };
    Net::veth(host, eth0, cluster.plan.mtu.pod).await?;
    if cluster.plan.deaf {
        inside
            .netns
            .sysctls(&[("net/ipv4/route/min_pmtu", LARGEST)])?;
    }
    Ok(inside)
}
