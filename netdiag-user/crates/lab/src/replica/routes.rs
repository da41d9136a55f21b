//! Nexthop objects and routes (RTM_NEWNEXTHOP, RTM_NEWROUTE).
use std::io;

use super::{
    netlink::{self, APPEND, CREATE, address, bytes, nested, number},
    space::{Place, Space},
};
use crate::model::{
    node::LOCAL as LOCAL_TABLE,
    world::route::{Hop, Kind, Metrics, Nexthop, Preference, Route},
};

const NEW: u16 = 24;
const DELETE: u16 = 25;
const NEW_NEXTHOP: u16 = 104;
/// RTA_…
const TO: u16 = 1;
const FROM: u16 = 2;
const OIF: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const PREFERRED: u16 = 7;
const METRICS: u16 = 8;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
const VIA: u16 = 18;
const PREFERENCE: u16 = 20;
const NEXTHOP: u16 = 30;
/// RTAX_…
const LOCK: u16 = 1;
const MTU: u16 = 2;
const HOP_LIMIT: u16 = 10;
/// NHA_…
const ID: u16 = 1;
const GROUP: u16 = 2;
const BLACKHOLE: u16 = 4;
const HOP_OIF: u16 = 5;
const HOP_GATEWAY: u16 = 6;
/// RTNH_F_ONLINK
const ONLINK: u8 = 4;
/// RTPROT_KERNEL, RTPROT_BOOT
const KERNEL: u8 = 2;
const BOOT: u8 = 3;

pub fn add(place: &Place<'_>, space: &mut Space) {
    objects(place, space);
    let all = place.stack.routes.some().into_iter().flatten();
    let mut all: Vec<&Route> = all.filter(|route| is_wanted(route)).collect();
    // What a gateway is reached by comes before what leads by it.
    all.sort_by_key(|route| route.hops.iter().any(|hop| hop.gateway.is_some()));
    for route in all {
        let dead = route
            .hops
            .iter()
            .any(|hop| !space.made.contains(&hop.device));
        if dead && !route.hops.is_empty() {
            space.lacks(format!(
                "a route to {} by a link that is not here",
                route.to
            ));
            continue;
        }
        if route.hops.iter().any(|hop| hop.encap) {
            space.lacks(format!("a route to {} that wraps packets itself", route.to));
            continue;
        }
        ask(space, route);
    }
    gone(place, space);
}

pub fn ask(space: &mut Space, route: &Route) {
    let added = added(space, route);
    space.refused(added, || {
        format!("route to {} in table {}", route.to, route.table)
    });
}

fn added(space: &mut Space, route: &Route) -> io::Result<()> {
    let ask = |space: &mut Space, onlink: bool| {
        let body = message(route, onlink);
        space.route.ask(NEW, CREATE | APPEND, &body)
    };
    let gateways = route.hops.iter().any(|hop| hop.gateway.is_some());
    match ask(space, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Whose gateway was on the link when it was made.
        Err(_) if gateways && route.nexthop.is_none() => ask(space, true),
        done => done,
    }
}

/// What IPv6 makes by itself of groups and of anycast stays the kernel's.
fn is_wanted(route: &Route) -> bool {
    let own = matches!(
        route.kind,
        Kind::Multicast | Kind::Anycast | Kind::Broadcast
    );
    !(own && route.protocol == KERNEL)
}

/// Routes to an address of its own that the kernel made and somebody took away.
fn gone(place: &Place<'_>, space: &mut Space) {
    let (Ok(routes), Some(all)) = (place.stack.routes.whole(), place.stack.addresses.some()) else {
        return;
    };
    for own in all {
        let address = own.own.address;
        let here = |route: &&Route| {
            route.table == LOCAL_TABLE && route.kind == Kind::Local && route.to.contains(address)
        };
        if routes.iter().any(|route| here(&route)) || !space.made.contains(&own.device) {
            continue;
        }
        let ipv6 = address.is_ipv6();
        let length = if ipv6 { 128 } else { 32 };
        let header = [
            netlink::family(ipv6),
            length,
            0,
            0,
            LOCAL_TABLE as u8,
            0,
            254,
            2,
        ];
        let mut body = [&header[..], &[0; 4]].concat();
        body.extend(netlink::address(TO, address));
        let _ = space.route.ask(DELETE, 0, &body);
    }
}

fn message(route: &Route, onlink: bool) -> Vec<u8> {
    let ipv6 = route.to.address.is_ipv6();
    let table = u8::try_from(route.table).unwrap_or(0);
    let from = route.from.map_or(0, |from| from.length);
    let protocol = if route.protocol == 0 {
        BOOT
    } else {
        route.protocol
    };
    let kind = kind(route.kind);
    let mut body = vec![netlink::family(ipv6), route.to.length, from, route.tos];
    body.extend([table, protocol, route.scope.0, kind]);
    let one = match route.hops.as_slice() {
        [hop] if route.nexthop.is_none() => Some(hop),
        _ => None,
    };
    let linked = one.is_some_and(|hop| hop.onlink || (onlink && hop.gateway.is_some()));
    body.extend(u32::from(if linked { ONLINK } else { 0 }).to_ne_bytes());
    body.extend(number(TABLE, route.table));
    if route.to.length > 0 {
        body.extend(address(TO, route.to.address));
    }
    if let Some(from) = route.from {
        body.extend(address(FROM, from.address));
    }
    if route.priority != 0 {
        body.extend(number(PRIORITY, route.priority));
    }
    body.extend(
        route
            .prefsrc
            .map_or_else(Vec::new, |it| address(PREFERRED, it)),
    );
    body.extend(metrics(&route.metrics));
    if ipv6 && route.ipv6_preference != Preference::Medium {
        let preference = match route.ipv6_preference {
            Preference::Low => 3,
            Preference::Medium => 0,
            Preference::High => 1,
        };
        body.extend(netlink::byte(PREFERENCE, preference));
    }
    match (route.nexthop, one) {
        (Some(object), _) => body.extend(number(NEXTHOP, object)),
        (None, Some(hop)) => {
            body.extend(number(OIF, hop.device));
            body.extend(gateway(hop, ipv6));
        }
        (None, None) if !route.hops.is_empty() => {
            let hops = route.hops.iter();
            let hops: Vec<u8> = hops.flat_map(|hop| next(hop, ipv6, onlink)).collect();
            body.extend(bytes(MULTIPATH, &hops));
        }
        (None, None) => {}
    }
    body
}

/// One of several (`rtnexthop`).
fn next(hop: &Hop, ipv6: bool, onlink: bool) -> Vec<u8> {
    let gateway = gateway(hop, ipv6);
    let onlink = hop.onlink || (onlink && hop.gateway.is_some());
    let mut one = ((8 + gateway.len()) as u16).to_ne_bytes().to_vec();
    one.push(if onlink { ONLINK } else { 0 });
    one.push(u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX));
    one.extend(hop.device.to_ne_bytes());
    one.extend(gateway);
    one
}

fn gateway(hop: &Hop, ipv6: bool) -> Vec<u8> {
    match hop.gateway {
        Some(to) if to.is_ipv6() == ipv6 => address(GATEWAY, to),
        Some(to) => {
            let family = u16::from(netlink::family(to.is_ipv6())).to_ne_bytes();
            bytes(VIA, &[&family[..], &netlink::octets(to)].concat())
        }
        None => Vec::new(),
    }
}

fn metrics(of: &Metrics) -> Vec<u8> {
    let mut all = Vec::new();
    if of.mtu_locked {
        all.extend(number(LOCK, 1 << MTU));
    }
    all.extend(of.mtu.map_or_else(Vec::new, |mtu| number(MTU, mtu)));
    all.extend(
        of.hop_limit
            .map_or_else(Vec::new, |it| number(HOP_LIMIT, it)),
    );
    match all.is_empty() {
        true => all,
        false => nested(METRICS, &all),
    }
}

/// RTN_…
fn kind(of: Kind) -> u8 {
    match of {
        Kind::Unicast => 1,
        Kind::Local => 2,
        Kind::Broadcast => 3,
        Kind::Anycast => 4,
        Kind::Multicast => 5,
        Kind::Blackhole => 6,
        Kind::Unreachable => 7,
        Kind::Prohibit => 8,
        Kind::Throw => 9,
    }
}

/// Single hops before the groups that name them.
fn objects(place: &Place<'_>, space: &mut Space) {
    let all = place.stack.nexthops.some().into_iter().flatten();
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, object)| matches!(object, Nexthop::Group(_)));
    for (id, object) in all {
        let body = object_message(*id, object);
        let added = space.route.ask(NEW_NEXTHOP, CREATE, &body);
        space.refused(added, || format!("nexthop object {id}"));
    }
}

/// `nhmsg` and its attributes.
fn object_message(id: u32, object: &Nexthop) -> Vec<u8> {
    let header = |family: u8, flags: u32| {
        let header = [family, 0, BOOT, 0];
        [&header[..], &flags.to_ne_bytes(), &number(ID, id)].concat()
    };
    match object {
        Nexthop::Blackhole => [header(2, 0), bytes(BLACKHOLE, &[])].concat(),
        Nexthop::Group(ids) => {
            let one = |(id, weight): &(u32, u16)| {
                let weight = u8::try_from(weight.saturating_sub(1)).unwrap_or(u8::MAX);
                [&id.to_ne_bytes()[..], &[weight, 0, 0, 0]].concat()
            };
            let ids: Vec<u8> = ids.iter().flat_map(one).collect();
            [header(0, 0), bytes(GROUP, &ids)].concat()
        }
        Nexthop::Hop(hop) => {
            let ipv6 = hop.gateway.is_some_and(|it| it.is_ipv6());
            let flags = if hop.onlink { ONLINK } else { 0 };
            let gateway = hop
                .gateway
                .map_or_else(Vec::new, |it| address(HOP_GATEWAY, it));
            let family = netlink::family(ipv6);
            [
                header(family, flags.into()),
                number(HOP_OIF, hop.device),
                gateway,
            ]
            .concat()
        }
    }
}
