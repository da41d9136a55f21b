//! What comes from outside: to the ports of this node's that lead to Services, and to its tunnels from their other ends.
use std::{collections::BTreeSet, net::IpAddr};

use super::{Owed, own};
use crate::{
    audit::whom::Whom,
    model::{
        flow::UDP,
        node::{Link, Node},
        roles::Role,
    },
    pipeline::facts::Facts,
};

/// Other ends of tunnels that are asked about.
const PEERS: usize = 256;

pub fn all(facts: &Facts<'_>) -> Vec<Owed> {
    let mut all = node_ports(facts);
    all.extend(tunnels(facts));
    all
}

/// By each uplink, from somebody on its link.
fn node_ports(facts: &Facts<'_>) -> Vec<Owed> {
    let services = facts.gathered.services();
    let ports: Vec<_> = services
        .into_iter()
        .flat_map(|all| &all.node_ports)
        .collect();
    let links = facts.node.links.iter();
    let links = links.filter(|link| link.up && facts.role(link) == Some(Role::Uplink));
    let mut all = Vec::new();
    for (link, ipv4) in links.flat_map(|link| [(link, true), (link, false)]) {
        let Some((from, to)) = beside(facts.node, link, ipv4).zip(own(link, ipv4)) else {
            continue;
        };
        let of = ports.iter().filter(|it| it.address.is_ipv4() == ipv4);
        all.extend(of.map(|it| Owed::new(Whom::NodePort, from, (to, it.port), it.protocol)));
    }
    all
}

/// A gateway or another neighbour there.
fn beside(node: &Node, link: &Link, ipv4: bool) -> Option<IpAddr> {
    let here = |address: &IpAddr| {
        let own = link.addresses.iter().filter(|it| !it.link_local);
        let mut own = own.map(|it| it.prefix);
        address.is_ipv4() == ipv4 && own.any(|it| it.contains(*address) && it.address != *address)
    };
    let gateways = node.routes.iter().filter(|it| it.oif == Some(link.index));
    let mut gateways = gateways.filter_map(|it| it.gateway);
    let neighbours = node.neighbours.iter().filter(|it| it.ifindex == link.index);
    let mut neighbours = neighbours.map(|it| it.address);
    gateways.find(here).or_else(|| neighbours.find(here))
}

/// Of those that have a port, what their other ends send them.
fn tunnels(facts: &Facts<'_>) -> Vec<Owed> {
    let mut all = Vec::new();
    for link in facts.node.links.iter().filter(|link| link.up) {
        let Some((of, local, port)) = link
            .tunnel
            .as_ref()
            .and_then(|of| Some((of, of.local?, of.port?)))
        else {
            continue;
        };
        let entries = facts.node.fdb.iter().filter(|it| it.ifindex == link.index);
        let peers: BTreeSet<IpAddr> = entries.map(|it| it.vtep).chain(of.remote).collect();
        let peers = peers.into_iter().filter(|it| {
            it.is_ipv4() == local.is_ipv4() && !it.is_unspecified() && !it.is_multicast()
        });
        let own = |peer| Owed::new(Whom::Tunnel, peer, (local, port), UDP);
        all.extend(peers.take(PEERS).map(own));
    }
    all
}
