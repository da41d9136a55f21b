//! Routes of all tables, and what was learned beside them (RTM_GETROUTE).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RoutePreference, RouteType, RouteVia,
    },
};

use crate::{
    listing::{self, Listed, Message},
    model::{
        address::Prefix,
        world::{
            address::Scope,
            route::{Exception, Hop, Kind, Metrics, Preference, Route},
        },
    },
};

/// The bit of RTAX_MTU in RTAX_LOCK's value.
const MTU_LOCKED: u32 = 1 << 2;

pub fn routes(most: usize) -> Result<Listed<Route>> {
    let take = |message, all: &mut Vec<Route>| {
        if let Message::NewRoute(message) = message
            && !message.header.flags.contains(RouteFlags::Cloned)
        {
            all.extend(route(&message));
        }
    };
    listing::list_each(asks(RouteFlags::empty()), most, "routes", take)
}

/// Learned path MTUs and redirects: what `ip route show cache` shows.
pub fn exceptions(most: usize) -> Result<Listed<Exception>> {
    let take = |message, all: &mut Vec<Exception>| {
        if let Message::NewRoute(message) = message
            && message.header.flags.contains(RouteFlags::Cloned)
        {
            all.extend(exception(&message));
        }
    };
    listing::list_each(asks(RouteFlags::Cloned), most, "learned routes", take)
}

fn asks(flags: RouteFlags) -> [Message; 2] {
    [AddressFamily::Inet, AddressFamily::Inet6].map(|family| {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.flags = flags;
        Message::GetRoute(message)
    })
}

/// Nothing for kinds that no packet meets (`nat`, `xresolve`).
fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let any = any(header.address_family)?;
    let mut route = Route {
        kind: kind(header.kind)?,
        table: u32::from(header.table),
        to: Prefix {
            address: any,
            length: header.destination_prefix_length,
        },
        from: None,
        tos: header.tos,
        priority: 0,
        scope: Scope(header.scope.into()),
        protocol: header.protocol.into(),
        prefsrc: None,
        metrics: Metrics::default(),
        hops: Vec::new(),
        nexthop: None,
        ipv6_preference: Preference::Medium,
    };
    let mut single = hop(0);
    single.dead = header.flags.contains(RouteFlags::Dead);
    single.linkdown = header.flags.contains(RouteFlags::Linkdown);
    single.onlink = header.flags.contains(RouteFlags::Onlink);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.to.address = plain(address).unwrap_or(any);
            }
            RouteAttribute::Source(address) => {
                route.from = plain(address).map(|address| Prefix {
                    address,
                    length: header.source_prefix_length,
                });
            }
            RouteAttribute::Priority(metric) => route.priority = *metric,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::PrefSource(address) => route.prefsrc = plain(address),
            RouteAttribute::Metrics(all) => route.metrics = metrics(all),
            RouteAttribute::NhId(id) => route.nexthop = Some(*id),
            RouteAttribute::Preference(preference) => {
                route.ipv6_preference = of_preference(*preference);
            }
            RouteAttribute::MultiPath(all) => route.hops = all.iter().map(of_many).collect(),
            other => lead(&mut single, other),
        }
    }
    // The kernel names loopback, too, as where a local or refusing route leads.
    if route.hops.is_empty() && (single.device != 0 || single.gateway.is_some()) {
        route.hops.push(single);
    }
    Some(route)
}

fn hop(device: u32) -> Hop {
    Hop {
        device,
        gateway: None,
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: false,
        encap: false,
    }
}

fn of_many(next: &RouteNextHop) -> Hop {
    let mut one = hop(next.interface_index);
    one.weight = u16::from(next.hops) + 1;
    one.dead = next.flags.contains(RouteNextHopFlags::Dead);
    one.linkdown = next.flags.contains(RouteNextHopFlags::Linkdown);
    one.onlink = next.flags.contains(RouteNextHopFlags::Onlink);
    next.attributes.iter().for_each(|a| lead(&mut one, a));
    one
}

/// Where it leads.
fn lead(hop: &mut Hop, attribute: &RouteAttribute) {
    match attribute {
        RouteAttribute::Oif(index) => hop.device = *index,
        RouteAttribute::Gateway(address) => hop.gateway = plain(address),
        RouteAttribute::Via(RouteVia::Inet6(address)) => hop.gateway = Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet(address)) => hop.gateway = Some((*address).into()),
        RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => hop.encap = true,
        _ => {}
    }
}

fn exception(message: &RouteMessage) -> Option<Exception> {
    let (mut to, mut single, mut learned) = (None, hop(0), Metrics::default());
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = plain(address),
            RouteAttribute::Metrics(all) => learned = metrics(all),
            RouteAttribute::Table(own) => table = *own,
            other => lead(&mut single, other),
        }
    }
    Some(Exception {
        to: to?,
        table: Some(table),
        device: single.device,
        gateway: single.gateway,
        mtu: learned.mtu,
        mtu_locked: learned.mtu_locked,
    })
}

fn metrics(all: &[RouteMetric]) -> Metrics {
    let mut metrics = Metrics::default();
    for one in all {
        match one {
            RouteMetric::Mtu(mtu) if *mtu > 0 => metrics.mtu = Some(*mtu),
            RouteMetric::Lock(which) => metrics.mtu_locked = which & MTU_LOCKED != 0,
            RouteMetric::Hoplimit(limit) if *limit > 0 => metrics.hop_limit = Some(*limit),
            _ => {}
        }
    }
    metrics
}

fn kind(kind: RouteType) -> Option<Kind> {
    Some(match kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Local => Kind::Local,
        RouteType::Broadcast => Kind::Broadcast,
        RouteType::Anycast => Kind::Anycast,
        RouteType::Multicast => Kind::Multicast,
        RouteType::BlackHole => Kind::Blackhole,
        RouteType::Unreachable => Kind::Unreachable,
        RouteType::Prohibit => Kind::Prohibit,
        RouteType::Throw => Kind::Throw,
        _ => return None,
    })
}

fn of_preference(preference: RoutePreference) -> Preference {
    match preference {
        RoutePreference::Low => Preference::Low,
        RoutePreference::High => Preference::High,
        _ => Preference::Medium,
    }
}

fn any(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
