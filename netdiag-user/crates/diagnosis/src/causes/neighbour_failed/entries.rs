//! The entries that a tunnel's device has of other nodes, and those that it lacks.
use std::net::IpAddr;

use netdiag_common::hop::VXLAN;

use super::{Hop, neighbours};
use crate::{
    model::{
        flow,
        node::{Fdb, Neighbour},
    },
    pipeline::facts::{Facts, OuterPair},
    shared::losses::DropGroup,
};

/// The node that packets of the same network come from through this tunnel.
pub fn sender(facts: &Facts<'_>, worst: &DropGroup<'_>, hop: &Hop<'_>) -> Option<IpAddr> {
    let network = facts
        .way(&facts.from_to(worst.source, worst.destination))?
        .destination;
    let vni = hop.link?.tunnel.as_ref()?.vni?;
    let from = |o: &&OuterPair| {
        let (inner, _) = flow::ends(&o.outer.inner);
        !o.egress() && o.key.carried == VXLAN && o.key.vni == vni && network.contains(inner)
    };
    let mut found = facts.outers.iter().filter(from).map(|o| o.source);
    let peer = found.next()?;
    found.all(|other| other == peer).then_some(peer)
}

/// The one forwarding entry of the device whose address no neighbour has.
pub fn spare<'a>(facts: &'a Facts<'_>, hop: &Hop<'_>) -> Option<&'a Fdb> {
    let index = hop.link?.index;
    let known = |f: &&Fdb| {
        let mut neighbours = neighbours(facts, hop.link);
        neighbours.any(|n| n.lladdr.as_ref() == Some(&f.lladdr) && same_family(n, hop.address))
    };
    let own = facts.node.fdb.iter().filter(|f| f.ifindex == index);
    let mut spare = own.filter(|f| !known(f) && f.lladdr.iter().any(|b| *b != 0));
    spare.next().filter(|_| spare.next().is_none())
}

fn same_family(neighbour: &Neighbour, address: IpAddr) -> bool {
    neighbour.address.is_ipv4() == address.is_ipv4()
}
