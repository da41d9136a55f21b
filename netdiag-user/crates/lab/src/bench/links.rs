//! Pods' links in numbers, and how long the kernel takes to make one.
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkDelRequest, LinkUnspec, LinkVeth};

use crate::cluster::Cluster;
use crate::net::Net;
use crate::plan::A;

/// Of all links that are made here: the kernel takes a group away in one go.
const GROUP: u32 = 0x6e64;
/// Links have other numbers than the lab's own and than their peers.
const FIRST_INDEX: u32 = 1000;
const FIRST_PEER: u32 = 100_000;
const MTU: u32 = 1450;
/// Nobody's neighbours are asked for on them.
const QUIET: [(&str, &str); 1] = [("net/ipv6/conf/default/disable_ipv6", "1")];

/// The name of a pod's link.
pub fn name(number: u32) -> String {
    format!("vethb{number}")
}

/// Links that stand as long as this; taken away by [`Links::remove`], else with the lab.
pub struct Links<'a> {
    node: &'a Net,
    /// Where the pods' ends are.
    pods: &'a Net,
    pub count: u32,
}

impl<'a> Links<'a> {
    /// None yet.
    pub fn new(cluster: &'a Cluster) -> Result<Self> {
        let node = cluster.net(&cluster.plan.nodes[A].netns)?;
        let pods = cluster.net(&cluster.plan.outside.netns)?;
        for net in [node, pods] {
            net.netns.sysctls(&QUIET)?;
        }
        Ok(Self {
            node,
            pods,
            count: 0,
        })
    }

    /// Makes more of them until there are so many.
    pub async fn up_to(&mut self, count: u32) -> Result<()> {
        while self.count < count {
            self.add().await?;
        }
        Ok(())
    }

    /// Makes one, up on both ends; returns its name.
    pub async fn add(&mut self) -> Result<String> {
        let (name, peer) = (name(self.count), format!("podb{}", self.count));
        let there = self.pods.netns.file().context("cannot open a namespace")?;
        let (index, other) = (FIRST_INDEX + self.count, FIRST_PEER + self.count);
        let peer = LinkUnspec::new_with_name(&peer)
            .index(other)
            .mtu(MTU)
            .link_group(GROUP)
            .setns_by_fd(there.as_raw_fd());
        let link = LinkVeth::new(&name, "")
            .index(index)
            .mtu(MTU)
            .link_group(GROUP)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        self.node.add(&name, link.build()).await?;
        // Neither end can be switched on before both are there.
        for (net, index) in [(self.node, index), (self.pods, other)] {
            let up = LinkUnspec::new_with_index(index).up().build();
            let done = net.handle.link().set(up).execute().await;
            done.with_context(|| format!("cannot switch {name} on"))?;
        }
        self.count += 1;
        Ok(name)
    }

    /// Takes all of them away.
    pub async fn remove(self) -> Result<()> {
        remove_group(self.node).await
    }
}

async fn remove_group(net: &Net) -> Result<()> {
    let mut all = LinkMessage::default();
    all.attributes.push(LinkAttribute::Group(GROUP));
    let gone = LinkDelRequest::new_with_message(net.handle.clone(), all);
    let gone = gone.execute().await;
    gone.with_context(|| format!("cannot take the links of {} away", net.netns.name))
}

/// Between two links that are made: a kubelet starts pods one after the other.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes links in a namespace of their own until told to stop, at most so many; returns the
/// seconds that each took, and leaves none behind.
pub async fn adding(net: &Net, most: usize, stop: impl Fn() -> bool) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    while took.len() < most && !stop() {
        let (name, peer) = (format!("adda{}", took.len()), format!("addb{}", took.len()));
        let link = LinkVeth::new(&name, &peer).build();
        let begun = Instant::now();
        net.add(&name, link).await?;
        took.push(begun.elapsed().as_secs_f64());
        tokio::time::sleep(PAUSE).await;
    }
    for number in 0..took.len() {
        net.remove(&format!("adda{number}")).await?;
    }
    Ok(took)
}
