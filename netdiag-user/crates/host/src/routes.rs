//! Routes, neighbours and the VXLAN forwarding tables (RTM_GETROUTE, RTM_GETNEIGH).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use super::listing::{self, Listed, Message, OTHERS};
use crate::model::{
    address::Prefix,
    node::{Fdb, Neighbour, Route, RouteKind},
};

/// Routes of all tables, both families, of this thread's namespace. A multipath route gives one
/// entry per next hop.
pub fn routes(most: usize) -> Result<Listed<Route>> {
    of_kind(RouteType::Unspec, most)
}

/// Those that lead on, as the kernel itself sorts them out where it can.
pub fn onward(most: usize) -> Result<Listed<Route>> {
    let mut listed = of_kind(RouteType::Unicast, most)?;
    listed.all.retain(|route| route.kind == RouteKind::Unicast);
    Ok(listed)
}

fn of_kind(kind: RouteType, most: usize) -> Result<Listed<Route>> {
    let ask = |family| {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.kind = kind;
        Message::GetRoute(message)
    };
    let asks = [AddressFamily::Inet, AddressFamily::Inet6].map(ask);
    let take = |message, all: &mut Vec<Route>| match message {
        // One route can have a thousand next hops.
        Message::NewRoute(message) if all.len() <= most => all.extend(route(&message)),
        _ => {}
    };
    let mut listed = listing::list_each(asks, most, "routes", take)?;
    listed.left.more |= listed.all.len() > most;
    listed.all.truncate(most);
    Ok(listed)
}

pub(super) fn route(message: &RouteMessage) -> Vec<Route> {
    let Some(kind) = kind(message.header.kind) else {
        return Vec::new();
    };
    // Cached exceptions (RTM_F_CLONED) are no configuration.
    if message
        .header
        .flags
        .contains(rtnetlink::packet_route::route::RouteFlags::Cloned)
    {
        return Vec::new();
    }
    let any: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Vec::new(),
    };
    let length = message.header.destination_prefix_length;
    let mut route = Route {
        kind,
        destination: Prefix {
            address: any,
            length,
        },
        table: u32::from(message.header.table),
        metric: 0,
        oif: None,
        gateway: None,
        mtu: None,
    };
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::MultiPath(next) => hops.clone_from(next),
            other => apply(&mut route, other),
        }
    }
    if hops.is_empty() {
        return vec![route];
    }
    let with_hop = |hop: &rtnetlink::packet_route::route::RouteNextHop| {
        let mut route = route.clone();
        route.oif = Some(hop.interface_index);
        hop.attributes.iter().for_each(|a| apply(&mut route, a));
        route
    };
    hops.iter().map(with_hop).collect()
}

fn kind(kind: RouteType) -> Option<RouteKind> {
    match kind {
        RouteType::Unicast => Some(RouteKind::Unicast),
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast => Some(RouteKind::Local),
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
            Some(RouteKind::Refusing)
        }
        _ => None,
    }
}

fn apply(route: &mut Route, attribute: &RouteAttribute) {
    match attribute {
        RouteAttribute::Destination(address) => {
            if let Some(address) = plain(address) {
                route.destination.address = address;
            }
        }
        RouteAttribute::Gateway(address) => route.gateway = plain(address),
        RouteAttribute::Via(RouteVia::Inet6(address)) => route.gateway = Some((*address).into()),
        RouteAttribute::Oif(index) => route.oif = Some(*index),
        RouteAttribute::Priority(metric) => route.metric = *metric,
        RouteAttribute::Table(table) => route.table = *table,
        RouteAttribute::Metrics(metrics) => {
            route.mtu = metrics.iter().find_map(|m| match m {
                RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                _ => None,
            });
        }
        _ => {}
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// Neighbour entries of all links.
pub fn neighbours() -> Result<Listed<Neighbour>> {
    let ask = Message::GetNeighbour(NeighbourMessage::default());
    let take = |message, all: &mut Vec<Neighbour>| {
        if let Message::NewNeighbour(message) = message {
            all.extend(neighbour(&message));
        }
    };
    listing::list_each([ask], OTHERS, "neighbours", take)
}

/// Entries of these VXLAN devices' forwarding tables. Those of bridges are never asked for: a pod
/// fills one by sending frames.
pub fn fdb(devices: impl IntoIterator<Item = u32>) -> Result<Listed<Fdb>> {
    let asks = devices.into_iter().map(|index| {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = index;
        Message::GetNeighbour(message)
    });
    let take = |message, all: &mut Vec<Fdb>| {
        if let Message::NewNeighbour(message) = message {
            all.extend(fdb_entry(&message));
        }
    };
    listing::list_each(asks, OTHERS, "forwarding entries", take)
}

/// Destination and link-layer address of an entry.
pub(super) fn parts(message: &NeighbourMessage) -> (Option<IpAddr>, Option<Vec<u8>>) {
    let (mut address, mut lladdr) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some((*v4).into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some((*v6).into());
            }
            // Under AF_BRIDGE the address has no family of its own: its length tells.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                address = by_length(bytes);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = Some(bytes.clone()),
            _ => {}
        }
    }
    (address, lladdr)
}

fn by_length(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (address, lladdr) = parts(message);
    Some(Neighbour {
        ifindex: message.header.ifindex,
        address: address?,
        lladdr,
        failed: message.header.state == NeighbourState::Failed,
        permanent: message.header.state == NeighbourState::Permanent,
    })
}

/// A neighbour whose link-layer address is known.
pub fn resolved(message: &NeighbourMessage) -> Option<(u32, IpAddr, Vec<u8>)> {
    let entry = neighbour(message).filter(|n| !n.failed)?;
    Some((entry.ifindex, entry.address, entry.lladdr?))
}

fn fdb_entry(message: &NeighbourMessage) -> Option<Fdb> {
    let (vtep, lladdr) = parts(message);
    Some(Fdb {
        ifindex: message.header.ifindex,
        lladdr: lladdr?,
        vtep: vtep.filter(|a| !a.is_unspecified())?,
    })
}
