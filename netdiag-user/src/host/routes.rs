//! Routes, neighbours and the VXLAN forwarding tables (RTM_GETROUTE, RTM_GETNEIGH).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};

use crate::model::{
    address::Prefix,
    node::{Fdb, Neighbour, Route, RouteKind},
};

/// Routes of all tables, both families. A multipath route gives one entry per next hop.
pub async fn routes(handle: &Handle) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for query in [v4, v6] {
        let messages: Vec<RouteMessage> = handle
            .route()
            .get(query)
            .execute()
            .try_collect()
            .await
            .context("listing routes by netlink")?;
        routes.extend(messages.iter().flat_map(route));
    }
    Ok(routes)
}

fn route(message: &RouteMessage) -> Vec<Route> {
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
pub async fn neighbours(handle: &Handle) -> Result<Vec<Neighbour>> {
    let messages = neighbour_messages(handle, None).await?;
    Ok(messages.iter().filter_map(neighbour).collect())
}

/// Entries of the VXLAN devices' forwarding tables.
pub async fn fdb(handle: &Handle) -> Result<Vec<Fdb>> {
    let messages = neighbour_messages(handle, Some(AddressFamily::Bridge)).await?;
    Ok(messages.iter().filter_map(fdb_entry).collect())
}

async fn neighbour_messages(
    handle: &Handle,
    family: Option<AddressFamily>,
) -> Result<Vec<NeighbourMessage>> {
    let mut request = handle.neighbours().get();
    if let Some(family) = family {
        request = request.set_address_family(family);
    }
    let what = "listing neighbours by netlink";
    request.execute().try_collect().await.context(what)
}

/// Destination and link-layer address of an entry.
fn parts(message: &NeighbourMessage) -> (Option<IpAddr>, Option<Vec<u8>>) {
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
