//! Other nodes' pods: an address of each network that a tunnel leads to, or that somebody knows to be another node's.
use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    model::{
        address::{Prefix, is_link_local},
        node::{Link, RouteKind},
    },
    pipeline::facts::Facts,
    shared::pod_networks,
};

/// Networks that are asked for.
const MOST: usize = 256;

pub fn all(facts: &Facts<'_>) -> BTreeSet<IpAddr> {
    let known = pod_networks::others(facts).into_iter();
    known.chain(led(facts)).take(MOST).map(second).collect()
}

fn led<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = Prefix> + 'f {
    let tunnel = |index: Option<u32>| {
        let link = index.and_then(|index| facts.link(index));
        link.is_some_and(|link: &Link| link.is_tunnel() && link.up)
    };
    let routes = facts.node.routes.iter().filter(move |route| {
        let to = route.destination.address;
        let own = facts.owns(to) || to.is_multicast();
        let far = route.kind == RouteKind::Unicast && tunnel(route.oif) && !own;
        far && !is_link_local(to) && !facts.leads_out(route)
    });
    routes.map(|route| route.destination)
}

/// Behind the network's own address, where it has more than that.
fn second(network: Prefix) -> IpAddr {
    match network.address {
        IpAddr::V4(it) if network.length < 31 => (u32::from(it) + 2).to_be_bytes().into(),
        IpAddr::V6(it) if network.length < 127 => (u128::from(it) + 2).to_be_bytes().into(),
        other => other,
    }
}
