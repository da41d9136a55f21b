//! Everything that a cause may look at: readings with names, beside the node and its pods.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::{
    dns::{Dns, DnsKey},
    flow::FlowKey,
    hop::{EGRESS, FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey, PLAIN},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

use super::clock::Clock;
use crate::model::{
    address::from_wire,
    dns, flow,
    gather::Gathered,
    limits::LimitFrom,
    node::{Link, Node},
    observation::Observation,
    pod::{Pod, PodIndex},
    reason::{self, Reasons},
    roles::{Role, role},
    verdict::{PodRef, PodRole},
};

/// One flow at one hop.
#[derive(Clone, Debug)]
pub struct HopFlow {
    pub key: FlowHopKey,
    pub hop: FlowHop,
    pub interface: String,
    pub role: Option<Role>,
}

impl HopFlow {
    pub fn flow(&self) -> &FlowKey {
        &self.key.flow
    }

    pub fn egress(&self) -> bool {
        self.key.direction == EGRESS
    }

    pub fn direction(&self) -> &'static str {
        direction(self.key.direction)
    }

    pub fn plain(&self) -> bool {
        self.key.carried == PLAIN
    }

    pub fn limit_from(&self) -> Option<LimitFrom> {
        LimitFrom::from_wire(self.hop.limit_from)
    }
}

pub fn direction(direction: u8) -> &'static str {
    if direction == EGRESS {
        "egress"
    } else {
        "ingress"
    }
}

/// Packets of one flow that died at one place for one reason.
#[derive(Clone, Debug)]
pub struct Loss {
    pub key: DropKey,
    pub dropped: Dropped,
    pub reason: String,
    /// `symbol+0x1c3`.
    pub location: String,
    /// In this node's own namespace only; a pod's indexes mean other links.
    pub interface: Option<String>,
    /// The pod in whose namespace it happened.
    pub inside: Option<Pod>,
    pub harmless: bool,
}

impl Loss {
    pub fn flow(&self) -> &FlowKey {
        &self.key.flow
    }

    /// The function that dropped it.
    pub fn symbol(&self) -> &str {
        self.location.split('+').next().unwrap_or(&self.location)
    }
}

/// A pair of outer addresses on an uplink.
#[derive(Clone, Debug)]
pub struct OuterPair {
    pub key: OuterKey,
    pub outer: Outer,
    pub interface: String,
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl OuterPair {
    pub fn egress(&self) -> bool {
        self.key.direction == EGRESS
    }
}

/// One question of a client to a server, at one link.
#[derive(Clone, Debug)]
pub struct Question {
    pub key: DnsKey,
    pub dns: Dns,
    pub client: IpAddr,
    pub server: IpAddr,
    /// In lower case, see [`dns::name`].
    pub name: String,
    pub interface: String,
    pub role: Option<Role>,
}

impl Question {
    /// For the same order every time.
    pub fn key_order(&self) -> (u64, IpAddr, IpAddr, &str, u16) {
        let first = self.dns.first_query;
        (first, self.client, self.server, &self.name, self.key.kind)
    }
}

pub struct Facts<'a> {
    pub node: &'a Node,
    /// The same when the run began: what counters are compared with.
    pub start: &'a Node,
    pub pods: &'a PodIndex,
    /// What rules asked for beside the readings.
    pub gathered: &'a Gathered,
    pub clock: Clock,
    pub now: u64,
    pub flows: Vec<HopFlow>,
    pub losses: Vec<Loss>,
    pub outers: Vec<OuterPair>,
    pub icmp_errors: Vec<(IcmpErrorKey, IcmpError)>,
    pub dns: Vec<Question>,
    pub retransmits: Vec<(RetransmitKey, Retransmitted)>,
    pub oom_kills: Vec<(u32, OomKill)>,
}

/// Names for what the kernel numbers.
pub trait Names {
    fn symbol(&self, address: u64) -> String;
    fn reasons(&self) -> &Reasons;
}

/// Names that were written down before, none at first.
#[derive(Default)]
pub struct KnownNames {
    pub symbols: BTreeMap<u64, String>,
    pub reasons: Reasons,
}

impl Names for KnownNames {
    fn symbol(&self, address: u64) -> String {
        let known = self.symbols.get(&address).cloned();
        known.unwrap_or_else(|| format!("{address:#x}"))
    }

    fn reasons(&self) -> &Reasons {
        &self.reasons
    }
}

/// What is known beside the readings.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub node: &'a Node,
    pub start: &'a Node,
    pub pods: &'a PodIndex,
    pub gathered: &'a Gathered,
    pub names: &'a dyn Names,
    pub clock: Clock,
}

impl<'a> Facts<'a> {
    pub fn new(known: &Known<'a>, observation: &Observation) -> Self {
        let Known {
            node,
            start,
            pods,
            gathered,
            names,
            clock,
        } = *known;
        let flows = observation
            .flows
            .iter()
            .map(|(key, hop)| hop_flow(node, key, hop));
        let losses = observation.drops.iter();
        let outers = observation.outers.iter().map(|(key, outer)| OuterPair {
            key: *key,
            outer: *outer,
            interface: node.link_name(key.ifindex),
            source: from_wire(key.source),
            destination: from_wire(key.destination),
        });
        Self {
            node,
            start,
            pods,
            gathered,
            clock,
            now: observation.now,
            flows: flows.collect(),
            losses: losses
                .map(|(key, dropped)| loss(node, pods, names, key, dropped))
                .collect(),
            outers: outers.collect(),
            icmp_errors: observation.icmp_errors.clone(),
            dns: observation.dns.iter().map(|q| question(node, q)).collect(),
            retransmits: observation.retransmits.clone(),
            oom_kills: observation.oom_kills.clone(),
        }
    }

    /// What a counter of a namespace gained during the run; nothing where this kernel has no such
    /// counter, or the namespace is younger than the run.
    pub fn moved(&self, netns: u32, counter: &str) -> Option<u64> {
        let before = self.start.counter(netns, counter)?;
        let now = self.node.counter(netns, counter)?;
        Some(now.saturating_sub(before))
    }

    /// The pod that owns an address: as a source says, else the one whose namespace has it.
    pub fn pod(&self, address: IpAddr, as_role: PodRole) -> Option<PodRef> {
        if let Some(pod) = self.pods.by_address(address) {
            return Some(pod.refer(Some(address), Some(as_role)));
        }
        let side = self
            .node
            .pod_sides
            .iter()
            .find(|s| s.addresses.contains(&address))?;
        let link = self
            .node
            .links
            .iter()
            .find(|l| l.peer_netns == Some(side.netns));
        Some(PodRef {
            namespace: None,
            name: None,
            ip: Some(address.to_string()),
            interface: link.map(|l| l.name.clone()),
            role: Some(as_role),
        })
    }

    /// Whether `address` belongs to a pod of this node.
    pub fn is_local_pod(&self, address: IpAddr) -> bool {
        let by_side = self
            .node
            .pod_sides
            .iter()
            .any(|s| s.addresses.contains(&address));
        by_side
            || self
                .pods
                .by_address(address)
                .is_some_and(|p| p.interface.is_some())
    }

    /// The pods at both ends of a flow, as far as they are known.
    pub fn pods_of(&self, flow: &FlowKey) -> Vec<PodRef> {
        let (source, destination) = flow::ends(flow);
        let ends = [
            self.pod(source, PodRole::Source),
            self.pod(destination, PodRole::Destination),
        ];
        ends.into_iter().flatten().collect()
    }

    /// The link by which packets to `destination` leave.
    pub fn link_towards(&self, destination: IpAddr) -> Option<&'a Link> {
        self.node.link(self.node.route_to(destination)?.oif?)
    }
}

fn question(node: &Node, (key, dns): &(DnsKey, Dns)) -> Question {
    Question {
        key: *key,
        dns: *dns,
        client: from_wire(key.client),
        server: from_wire(key.server),
        name: dns::name(&key.name),
        interface: node.link_name(key.ifindex),
        role: node.link(key.ifindex).and_then(|l| role(node, l)),
    }
}

fn hop_flow(node: &Node, key: &FlowHopKey, hop: &FlowHop) -> HopFlow {
    HopFlow {
        key: *key,
        hop: *hop,
        interface: node.link_name(key.ifindex),
        role: node.link(key.ifindex).and_then(|l| role(node, l)),
    }
}

fn loss(node: &Node, pods: &PodIndex, names: &dyn Names, key: &DropKey, dropped: &Dropped) -> Loss {
    let reason = names.reasons().name(key.reason);
    let location = names.symbol(key.location);
    let own = key.netns == node.netns && key.ifindex != 0;
    // Neither a namespace nor a flow: nobody can say that it was a packet of this node's.
    let nobodys = key.netns == 0 && key.flow.family == 0;
    Loss {
        key: *key,
        dropped: *dropped,
        harmless: nobodys || reason::harmless(&reason, &location),
        reason,
        location,
        interface: own.then(|| node.link_name(key.ifindex)),
        inside: pods.by_netns(key.netns).cloned(),
    }
}
