//! What the drop causes share: losses of one reason that persist, by where they were headed.
mod by_hand;
mod by_place;
mod report;
mod scattered;
mod severity;

pub use by_hand::dropped_like;
pub use by_place::{by_a_queue, counted, nobody_answered, unspecified};
pub use report::{drop_evidence, finding};
pub use scattered::with_scattered;
pub use severity::{Standing, is_for_nobody, is_peer, is_published, severity, standing};

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use netdiag_common::{flow::FlowKey, loss::RetransmitKey};
use netdiag_lang::t;

use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP},
        gather::Want,
        node::Link,
        pod::label,
        roles::Role,
        total::Total,
        verdict::{FlowRef, PodRef, PodRole},
    },
    need::Sufferer,
    pipeline::{
        facts::{Facts, Loss},
        success::{SYN, Service},
    },
    shared::pod_networks::own_network,
};

pub use crate::pipeline::picture::PATTERN;

/// TCP flags of what a flow needs to go on: SYN, or data (PSH). Stray FINs, RSTs and bare ACKs
/// of connections that are over are dropped on healthy nodes all day (KUBE-FORWARD's INVALID).
const PSH: u32 = 8;

/// Losses between the same two addresses for the same server's port.
#[derive(Clone)]
pub struct DropGroup<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// Lost are the server's answers, not the requests.
    pub reply: bool,
    /// To so many ports that none of them is the server's.
    pub scattered: bool,
    pub losses: Vec<&'a Loss>,
}

impl DropGroup<'_> {
    pub fn packets(&self) -> u64 {
        self.losses.iter().map(|l| l.dropped.packets).total()
    }

    pub fn first(&self) -> u64 {
        self.losses
            .iter()
            .map(|l| l.dropped.first)
            .min()
            .unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.losses
            .iter()
            .map(|l| l.dropped.last)
            .max()
            .unwrap_or(0)
    }

    pub fn sufferer(&self) -> Sufferer {
        let (client, server) = match self.reply {
            true => (self.destination, self.source),
            false => (self.source, self.destination),
        };
        let server = (server, self.port);
        Sufferer::flow(self.protocol, client, server, self.packets())
    }

    /// Both addresses, with the server's port.
    pub fn ends(&self) -> ((IpAddr, u16), (IpAddr, u16)) {
        match self.reply {
            true => ((self.source, self.port), (self.destination, 0)),
            false => ((self.source, 0), (self.destination, self.port)),
        }
    }

    pub fn target(&self) -> String {
        let protocol = flow::protocol(self.protocol);
        match self.reply {
            true => t!(
                "{protocol} answers from port {} to {}",
                self.port,
                self.destination
            ),
            false if self.scattered => t!("{protocol} {} at many ports", self.destination),
            false => format!("{protocol} {}", endpoint(self.destination, self.port)),
        }
    }

    /// Who sent them: the pod's name where it is known.
    pub fn sender(&self, facts: &Facts<'_>) -> String {
        let pod = facts.pod_at(self.source, PodRole::Source, Some(self.last()));
        pod.map_or_else(|| self.source.to_string(), |p| label(&p))
    }

    pub fn refer(&self, facts: &Facts<'_>) -> FlowRef {
        let at = self.losses.iter().find_map(|l| l.interface.clone());
        let (from, to) = self.ends();
        let flows: HashSet<&FlowKey> = self.losses.iter().map(|l| l.flow()).collect();
        let own = |key: &RetransmitKey| flows.contains(&key.flow);
        let retransmits = facts.retransmits.iter().filter(|(key, _)| own(key));
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: endpoint(from.0, from.1),
            destination: endpoint(to.0, to.1),
            packets: self.packets(),
            retransmits: retransmits.map(|(_, r)| r.packets).total(),
            last_seen_at: at,
            ..FlowRef::default()
        }
    }

    pub fn pods(&self, facts: &Facts<'_>) -> Vec<PodRef> {
        let ends = [
            facts.pod_at(self.source, PodRole::Source, Some(self.last())),
            facts.pod_at(self.destination, PodRole::Destination, Some(self.last())),
        ];
        ends.into_iter().flatten().collect()
    }
}

/// Losses of the wanted kind that persist and in spite of which nothing gets through.
pub fn patterns<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&Loss) -> bool) -> Vec<DropGroup<'a>> {
    let mut patterns = persistent(facts, wanted);
    patterns.retain(|p| p.packets() >= PATTERN);
    patterns
}

/// The same however few they are.
fn persistent<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&Loss) -> bool) -> Vec<DropGroup<'a>> {
    // What got through takes a look at every flow: only where something was lost.
    let through = |l: &Loss| facts.goes_on(l);
    shares(facts, |l| wanted(l) && matters(l) && !through(l))
}

/// Losses of the wanted kind whatever gets through besides: part of what is sent.
pub fn shares<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&Loss) -> bool) -> Vec<DropGroup<'a>> {
    let mut groups: BTreeMap<(IpAddr, IpAddr, u8, u16, bool), DropGroup<'a>> = BTreeMap::new();
    for loss in facts.losses.iter().filter(|l| l.flow().family != 0) {
        let (source, destination) = flow::ends(loss.flow());
        let to_many = destination.is_multicast() || facts.is_broadcast(destination);
        if to_many || loss.forged.is_some() || !wanted(loss) {
            continue;
        }
        let Service { port, reply } = Service::of(facts, loss);
        let protocol = loss.flow().protocol;
        let new = || DropGroup {
            source,
            destination,
            port,
            protocol,
            reply,
            scattered: false,
            losses: Vec::new(),
        };
        let key = (source, destination, protocol, port, reply);
        groups.entry(key).or_insert_with(new).losses.push(loss);
    }
    let mut patterns: Vec<_> = groups.into_values().collect();
    patterns.sort_by_cached_key(|p| std::cmp::Reverse(p.packets()));
    patterns
}

/// What is asked at most which end of a connection serves.
const MOST_ASKED: usize = 8;

/// What tells which end of these serves, where ports alone tell it.
pub fn who_serves(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> Vec<Want> {
    let lost = patterns.iter().filter_map(|p| p.losses.first());
    let mut wants: Vec<Want> = Vec::new();
    for want in lost.flat_map(|l| facts.who_serves(l.flow())) {
        if wants.len() < MOST_ASKED && !wants.contains(&want) {
            wants.push(want);
        }
    }
    wants
}

fn matters(loss: &Loss) -> bool {
    loss.flow().protocol != TCP || loss.dropped.tcp_flags & (SYN | PSH) != 0
}

/// From outside, in the name of this node, of a pod of it that never sent it there, or of nobody in its pods' network.
pub fn is_forged_outside(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let ours = facts.owns(pattern.source)
        || facts.is_local_pod(pattern.source)
        || is_nobodys(facts, pattern.source);
    // A pod may be behind what looks like an uplink.
    let side = facts.pod_side_of(pattern.source).map(|side| side.netns);
    let came_in = |l: &&Loss| {
        let link = facts.link(l.key.ifindex);
        let link = link.filter(|_| l.key.netns == facts.node.netns);
        let own = |l: &Link| side.is_some() && l.peer_netns == side;
        link.is_some_and(|l| facts.role(l) == Some(Role::Uplink) && !own(l))
    };
    let left = |l: &&Loss| {
        let journey = facts.journeys().get(l.flow());
        journey.is_some_and(|j| j.hops.iter().any(|h| h.egress()))
    };
    let mut lost = pattern.losses.iter().copied();
    ours && lost.all(|l| came_in(&l) && !left(&l))
}

/// In the network of this node's pods, whose addresses are known, and none of them has it.
pub fn is_nobodys(facts: &Facts<'_>, address: IpAddr) -> bool {
    let node = facts.node;
    let mut neighbours = node.neighbours.iter().filter(|n| n.lladdr.is_some());
    let known = !node.pod_sides.is_empty() && neighbours.all(|n| n.address != address);
    known && own_network(facts, address).is_some()
}

/// An ICMP error or redirect of the node's own, about a connection that is translated: NAT drops
/// those that it cannot translate back (nf_nat_icmp_reply_translation), and no rule is behind it.
/// Without an echo's identifier it is no ping.
pub fn is_own_error(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let echo = |l: &&Loss| l.flow().source_port != 0;
    matches!(pattern.protocol, 1 | 58)
        && facts.owns(pattern.source)
        && !pattern.losses.iter().any(echo)
}
