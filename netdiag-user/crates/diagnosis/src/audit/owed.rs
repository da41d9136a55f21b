//! The conversations that a node owes its pods.
use std::{collections::BTreeSet, net::IpAddr};

use super::class;
use crate::{
    model::{
        address::is_link_local,
        flow::{TCP, UDP},
        gather::Resolver,
        node::{Link, PodSide, RouteKind},
    },
    pipeline::{facts::Facts, predicted::Question},
    predicted::{self, between},
};

const DNS: u16 = 53;
/// Of whoever is asked for the way alone, no rules.
const ANY: u16 = 443;
/// Somebody in the world: a root name server (a.root-servers.net).
const WORLD: [&str; 2] = ["198.41.0.4", "2001:503:ba3e::2:30"];
/// Other nodes whose pods are asked for.
const NODES: usize = 256;

/// Who is to be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    NameServer,
    Service,
    /// Another node's pods: the way there, whatever rules make of a port.
    Others,
    /// Likewise the world, where the pod and the node have a default route.
    World,
    /// Likewise a pod here, by the node itself.
    Pod,
}

pub struct Owed {
    pub from: IpAddr,
    pub to: (IpAddr, u16),
    pub question: Question,
    pub whom: Whom,
}

impl Owed {
    fn new(whom: Whom, from: IpAddr, to: (IpAddr, u16), protocol: u8) -> Self {
        let (address, port) = to;
        Self {
            from,
            to,
            question: Question {
                flow: between((from, address), Some(port), protocol),
                bytes: predicted::SMALL,
                mark: 0,
            },
            whom,
        }
    }
}

/// What concerns each pod; then Services and other nodes, for one pod of each class.
pub fn all(facts: &Facts<'_>, pods: Vec<&PodSide>) -> Vec<Owed> {
    let own = |side: &&PodSide| {
        let mut all = servers(facts, side);
        all.extend(side.addresses.iter().flat_map(|pod| world(facts, *pod)));
        all.extend(side.addresses.iter().filter_map(|pod| by_node(facts, *pod)));
        all
    };
    let mut all: Vec<Owed> = pods.iter().flat_map(own).collect();
    let mut classes = BTreeSet::new();
    let first = pods
        .into_iter()
        .filter(|side| class::of(facts, side).is_some_and(|class| classes.insert(class)));
    let first: Vec<&PodSide> = first.collect();
    for side in &first {
        let others = others(facts);
        all.extend(
            others
                .filter_map(|to| Some(Owed::new(Whom::Others, own_of(side, to)?, (to, ANY), TCP))),
        );
    }
    let services = facts.gathered.services().into_iter();
    for service in services.flat_map(|all| &all.rules) {
        let to = (service.address, service.port);
        let from = first
            .iter()
            .filter_map(|side| own_of(side, service.address));
        all.extend(from.map(|from| Owed::new(Whom::Service, from, to, service.protocol)));
    }
    all
}

/// A pod without name servers of its own has those that kubelet gives it.
fn servers(facts: &Facts<'_>, side: &PodSide) -> Vec<Owed> {
    let resolvers = facts.gathered.resolvers().unwrap_or_default();
    let own = |it: &&Resolver| it.netns == side.netns && !it.kubelet;
    let told: Vec<_> = match resolvers.iter().any(|it| own(&it)) {
        true => resolvers.iter().filter(own).collect(),
        false => resolvers.iter().filter(|it| it.kubelet).collect(),
    };
    let servers = told.into_iter().flat_map(|it| it.servers.iter().copied());
    let far = servers.filter(|server| !server.is_loopback());
    far.filter_map(|server| {
        let from = own_of(side, server)?;
        Some(Owed::new(Whom::NameServer, from, (server, DNS), UDP))
    })
    .collect()
}

fn world(facts: &Facts<'_>, pod: IpAddr) -> Option<Owed> {
    let mut all = WORLD.iter().filter_map(|address| address.parse().ok());
    let to: IpAddr = all.find(|address: &IpAddr| address.is_ipv4() == pod.is_ipv4())?;
    let route = facts.way(&facts.from_node(to))?;
    let owed = || Owed::new(Whom::World, pod, (to, ANY), TCP);
    facts.leads_out(route).then(owed)
}

/// As kubelet's probes.
fn by_node(facts: &Facts<'_>, pod: IpAddr) -> Option<Owed> {
    let link = facts.link_by(&facts.from_node(pod))?;
    let of = |link: &Link| {
        let own = link.addresses.iter().filter(|it| !it.link_local);
        let mut own = own.map(|it| it.prefix.address);
        own.find(|it| it.is_ipv4() == pod.is_ipv4() && !it.is_loopback())
    };
    let from = of(link).or_else(|| facts.node.links.iter().find_map(of))?;
    Some(Owed::new(Whom::Pod, from, (pod, ANY), TCP))
}

/// An address of each network behind a tunnel.
fn others(facts: &Facts<'_>) -> impl Iterator<Item = IpAddr> {
    let tunnel = |index: Option<u32>| {
        let link = index.and_then(|index| facts.link(index));
        link.is_some_and(|link| link.is_tunnel() && link.up)
    };
    let routes = facts.node.routes.iter();
    let routes = routes.filter(move |route| {
        let to = route.destination.address;
        let own = facts.owns(to) || to.is_multicast();
        let far = route.kind == RouteKind::Unicast && tunnel(route.oif) && !own;
        far && !is_link_local(to) && !facts.leads_out(route)
    });
    routes
        .take(NODES)
        .map(|route| second(route.destination.address, route.destination.length))
}

/// Behind the network's own address, where it has more than that.
fn second(network: IpAddr, length: u8) -> IpAddr {
    match network {
        IpAddr::V4(it) if length < 31 => (u32::from(it) + 2).to_be_bytes().into(),
        IpAddr::V6(it) if length < 127 => (u128::from(it) + 2).to_be_bytes().into(),
        other => other,
    }
}

/// The pod's own address of that one's family.
fn own_of(side: &PodSide, to: IpAddr) -> Option<IpAddr> {
    let mut own = side.addresses.iter().copied();
    own.find(|address| address.is_ipv4() == to.is_ipv4())
}
