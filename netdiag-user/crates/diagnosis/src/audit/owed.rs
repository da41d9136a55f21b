//! The conversations that a node owes its pods, and those who ask for them.
mod inward;
mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{class, whom::Whom};
use crate::{
    model::{
        flow::{TCP, UDP},
        gather::{Reach, Resolver, Want, reach},
        node::{Link, PodSide},
        services::Services,
    },
    pipeline::{facts::Facts, predicted::Question},
    predicted::{self, behind, between},
};

const DNS: u16 = 53;
/// Of whoever is asked for the way alone, no rules.
const ANY: u16 = 443;
/// Somebody in the world: a root name server (a.root-servers.net).
const WORLD: [&str; 2] = ["198.41.0.4", "2001:503:ba3e::2:30"];
/// Ports of a pod that are asked for, and Services that are not led on.
const PORTS: usize = 8;
const TOLD: usize = 64;
/// Pods of a class that are told apart, as Services lead to some of them.
const ALIKE: usize = 4;
/// Services that a pod asks for itself by.
const ITSELF: usize = 2;

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
        all.extend(
            side.addresses
                .iter()
                .flat_map(|pod| by_node(facts, side, *pod)),
        );
        all
    };
    let mut all: Vec<Owed> = pods.iter().flat_map(own).collect();
    let mut classes: BTreeMap<class::Class, Vec<&PodSide>> = BTreeMap::new();
    for side in &pods {
        if let Some(class) = class::of(facts, side) {
            let alike = classes.entry(class).or_default();
            if alike.len() < ALIKE {
                alike.push(side);
            }
        }
    }
    let first: Vec<&PodSide> = classes
        .values()
        .filter_map(|all| all.first().copied())
        .collect();
    let others = others::all(facts);
    for side in &first {
        let to_each = others
            .iter()
            .filter_map(|to| Some(Owed::new(Whom::Others, own_of(side, *to)?, (*to, ANY), TCP)));
        all.extend(to_each);
    }
    all.extend(inward::all(facts));
    let services = facts.gathered.services().into_iter();
    for service in services.flat_map(|all| &all.rules) {
        let to = (service.address, service.port);
        let own = |side: &&&PodSide| {
            let mut backends = service.backends.iter();
            backends.any(|(backend, _)| side.addresses.contains(backend))
        };
        // One that it does not lead to, where there is one.
        let one = |alike: &Vec<&PodSide>| {
            let other = alike.iter().find(|side| !own(side));
            own_of(other.or(alike.first())?, service.address)
        };
        let from = classes.values().filter_map(one);
        all.extend(from.map(|from| Owed::new(Whom::Service, from, to, service.protocol)));
    }
    let asked: BTreeSet<_> = all.iter().map(|it| (it.from, it.to)).collect();
    let by_itself = by_itself(facts, &pods).into_iter();
    all.extend(by_itself.filter(|it| !asked.contains(&(it.from, it.to))));
    for told in facts.gathered.services().into_iter().flat_map(unled) {
        let from = first.iter().filter_map(|side| own_of(side, told));
        all.extend(from.map(|from| Owed::new(Whom::Service, from, (told, ANY), TCP)));
    }
    all
}

/// Services that lead to who asks: by its own link, in and out again.
fn by_itself(facts: &Facts<'_>, pods: &[&PodSide]) -> Vec<Owed> {
    let mut all = Vec::new();
    let mut asked: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let services = facts.gathered.services().into_iter();
    for service in services.flat_map(|all| &all.rules) {
        for (backend, _) in &service.backends {
            if !pods.iter().any(|side| side.addresses.contains(backend)) {
                continue;
            }
            let count = asked.entry(*backend).or_default();
            *count += 1;
            if *count <= ITSELF {
                let to = (service.address, service.port);
                all.push(Owed::new(Whom::Service, *backend, to, service.protocol));
            }
        }
    }
    all
}

/// Addresses that somebody is sure are Services', and that no rule has.
fn unled(all: &Services) -> BTreeSet<IpAddr> {
    let led = |address: IpAddr| all.rules.iter().any(|rule| rule.address == address);
    let told = all.told.iter().filter(|it| it.sure && !led(it.address));
    told.map(|it| it.address).take(TOLD).collect()
}

/// What tells as what a pod's packets leave: for the first pod of each address family.
pub fn leaving(facts: &Facts<'_>) -> Vec<Want> {
    let sides = facts.node.pod_sides.iter();
    let all: Vec<IpAddr> = sides.flat_map(|side| side.addresses.clone()).collect();
    let first = [true, false].map(|ipv4| all.iter().find(|it| it.is_ipv4() == ipv4));
    let owed = first
        .into_iter()
        .flatten()
        .filter_map(|pod| world(facts, *pod));
    let foreseen = owed.filter_map(|owed| facts.foreseen(facts.prepared(), &owed.question));
    foreseen.flat_map(|it| behind::wants(facts, &it)).collect()
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

/// As kubelet's probes: for the way itself, and for each port that a server listens at.
fn by_node(facts: &Facts<'_>, side: &PodSide, pod: IpAddr) -> Vec<Owed> {
    let Some(from) = asks_from(facts, pod) else {
        return Vec::new();
    };
    let listeners = facts.gathered.listeners(side.netns).unwrap_or_default();
    let ports: BTreeSet<u16> = listeners.iter().map(|it| it.port).collect();
    let served = |port: &u16| matches!(reach(listeners, pod, *port), Reach::Served(_));
    let ports = ports.into_iter().filter(served).take(PORTS);
    let servers = ports.map(|port| Owed::new(Whom::Server, from, (pod, port), TCP));
    let way = Owed::new(Whom::Pod, from, (pod, ANY), TCP);
    std::iter::once(way).chain(servers).collect()
}

/// The node's address that it asks a pod from.
fn asks_from(facts: &Facts<'_>, pod: IpAddr) -> Option<IpAddr> {
    let link = facts.link_by(&facts.from_node(pod))?;
    let of = |link: &Link| own(link, pod.is_ipv4());
    of(link).or_else(|| facts.node.links.iter().find_map(of))
}

/// What others may ask it by.
fn own(link: &Link, ipv4: bool) -> Option<IpAddr> {
    let own = link.addresses.iter().filter(|it| !it.link_local);
    let mut own = own.map(|it| it.prefix.address);
    own.find(|it| it.is_ipv4() == ipv4 && !it.is_loopback())
}

/// The pod's own address of that one's family.
fn own_of(side: &PodSide, to: IpAddr) -> Option<IpAddr> {
    let mut own = side.addresses.iter().copied();
    own.find(|address| address.is_ipv4() == to.is_ipv4())
}
