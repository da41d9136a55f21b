//! Builds what a plan says.
mod gre;
mod ipip;
mod pods;
mod underlay;
mod vxlan;

pub use pods::LARGEST;
pub use underlay::{DEVICE, PORT_A, PORT_B, PORT_OUTSIDE, TRUNK};

use std::net::IpAddr;

use anyhow::Result;

use super::cluster::Cluster;
use super::net::Route;
use super::plan::{A, B, Kind, Node};
use super::{cni, offload};

/// Room for the largest encapsulation, VXLAN over IPv6.
pub const OVERHEAD: u32 = 70;

/// Builds the whole lab and returns when every link is up.
pub async fn build(cluster: &Cluster) -> Result<()> {
    let plan = &cluster.plan;
    prepare(cluster).await?;
    underlay::build(cluster).await?;
    for (node, peer) in [(A, B), (B, A)] {
        let (node, peer) = (&plan.nodes[node], &plan.nodes[peer]);
        match plan.kind {
            Kind::Vxlan => {
                vxlan::tunnel(cluster, node, peer).await?;
                pods::bridged(cluster, node).await?;
            }
            Kind::Gre => {
                gre::tunnel(cluster, node, peer).await?;
                pods::bridged(cluster, node).await?;
            }
            Kind::Ipip => {
                ipip::tunnel(cluster, node, peer).await?;
                pods::routed(cluster, node).await?;
            }
        }
        routes_from_outside(cluster, node).await?;
        cni::write(&cluster.dir(), plan, node)?;
    }
    underlay::narrow(cluster).await?;
    for name in plan.namespaces() {
        let net = cluster.net(&name)?;
        if !plan.options.offload {
            offload::off(&net.netns)?;
        }
        net.ready().await?;
    }
    Ok(())
}

/// Sysctls before the first device: a new device copies the defaults. Without duplicate address
/// detection and router solicitations a link is ready as soon as it is up.
async fn prepare(cluster: &Cluster) -> Result<()> {
    let plan = &cluster.plan;
    let quiet = [
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/dad_transmits", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        // Anyone may ping.
        ("net/ipv4/ping_group_range", "0 2147483647"),
        // A transfer that was given up must not go on for minutes.
        ("net/ipv4/tcp_orphan_retries", "3"),
    ];
    for name in plan.namespaces() {
        let net = cluster.net(&name)?;
        net.netns.sysctls(&quiet)?;
        net.up("lo").await?;
    }
    for switch in &plan.switches {
        cluster.netns(switch)?.sysctls(&[
            ("net/ipv6/conf/all/disable_ipv6", "1"),
            ("net/ipv6/conf/default/disable_ipv6", "1"),
        ])?;
    }
    for node in &plan.nodes {
        let rp_filter = node.rp_filter.to_string();
        cluster.netns(&node.netns)?.sysctls(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", &rp_filter),
            ("net/ipv4/conf/default/rp_filter", &rp_filter),
        ])?;
    }
    Ok(())
}

/// The network knows where each node's pods are, as a cloud's route table does.
async fn routes_from_outside(cluster: &Cluster, node: &Node) -> Result<()> {
    let outside = cluster.net(&cluster.plan.outside.netns)?;
    let ipv4 = (IpAddr::from(node.pods_ipv4), 24);
    outside
        .route(Route::new(ipv4, Some(node.ipv4.into()), DEVICE))
        .await?;
    let ipv6 = (IpAddr::from(node.pods_ipv6), 64);
    outside
        .route(Route::new(ipv6, Some(node.ipv6.into()), DEVICE))
        .await
}
