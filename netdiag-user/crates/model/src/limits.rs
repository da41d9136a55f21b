//! What a packet to each destination may measure: its route's own mtu, the device, and what the
//! device's underlay leaves after encapsulation.
use std::net::IpAddr;

use netdiag_common::hop::{FROM_DEVICE, FROM_OVERHEAD, FROM_ROUTE, Limit};
use netdiag_lang::mark;
use serde::{Deserialize, Serialize};

use super::{
    address::Prefix,
    node::{LOCAL, Link, LinkKind, MAIN, Node, Route, RouteKind},
};

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitFrom {
    Route,
    Device,
    Overhead,
}

impl LimitFrom {
    pub fn from_wire(value: u8) -> Option<Self> {
        match value {
            FROM_ROUTE => Some(Self::Route),
            FROM_DEVICE => Some(Self::Device),
            FROM_OVERHEAD => Some(Self::Overhead),
            _ => None,
        }
    }

    pub fn to_wire(self) -> u8 {
        match self {
            Self::Route => FROM_ROUTE,
            Self::Device => FROM_DEVICE,
            Self::Overhead => FROM_OVERHEAD,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Route => mark!("route"),
            Self::Device => mark!("device"),
            Self::Overhead => mark!("tunnel overhead"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimit {
    pub bytes: u32,
    pub from: LimitFrom,
}

/// Outer bytes that a tunnel adds to the inner IP packet: the outer IP header and the tunnel's
/// own, and for VXLAN and Geneve (RFC 7348, RFC 8926) the inner Ethernet header.
pub fn overhead(kind: &LinkKind, outer_v6: bool) -> Option<u32> {
    let by_family = |v4, v6| if outer_v6 { v6 } else { v4 };
    match kind {
        LinkKind::Vxlan | LinkKind::Geneve => Some(by_family(50, 70)),
        LinkKind::Ipip | LinkKind::Sit => Some(20),
        LinkKind::Gre => Some(by_family(24, 44)),
        LinkKind::Wireguard => Some(by_family(60, 80)),
        // RFC 2473; the encapsulation limit is an option.
        LinkKind::Ip6Tunnel => Some(40),
        _ => None,
    }
}

/// The far end of the tunnel that a route leads through: for IPIP the gateway itself, for VXLAN
/// what the FDB says of the gateway's link-layer address.
pub fn remote(node: &Node, link: &Link, gateway: Option<IpAddr>) -> Option<IpAddr> {
    match link.kind {
        LinkKind::Vxlan => gateway
            .and_then(|gateway| {
                let near =
                    |n: &&super::node::Neighbour| n.ifindex == link.index && n.address == gateway;
                let mac = node.neighbours.iter().find(near)?.lladdr.as_ref()?;
                let to = |f: &&super::node::Fdb| f.ifindex == link.index && f.lladdr == *mac;
                node.fdb.iter().find(to).map(|f| f.vtep)
            })
            .or(link.tunnel.as_ref()?.remote),
        _ => link.tunnel.as_ref()?.remote.or(gateway),
    }
}

/// What the underlay takes towards `remote`: bytes from the outer IP header on, with the name
/// of the device that says so.
pub fn underlay(node: &Node, link: &Link, remote: Option<IpAddr>) -> Option<(u32, u32)> {
    let tunnel = link.tunnel.as_ref()?;
    let by_route = remote.and_then(|remote| {
        let route = node.route_to(remote)?;
        if route.kind != RouteKind::Unicast {
            return None;
        }
        let oif = node.link(route.oif?)?;
        Some((route.mtu.map_or(oif.mtu, |m| m.min(oif.mtu)), oif.index))
    });
    by_route.or_else(|| {
        if link.kind == LinkKind::Wireguard {
            return only_way_out(node);
        }
        let local = tunnel.local;
        let owner = |l: &&Link| {
            Some(l.index) == tunnel.underlay
                || local.is_some_and(|a| l.addresses.iter().any(|x| x.prefix.address == a))
        };
        let lower = node.links.iter().find(owner)?;
        Some((lower.mtu, lower.index))
    })
}

/// The device of the default route, where there is one only: WireGuard's peers are told by generic
/// netlink alone.
#[expect(clippy::disallowed_methods, reason = "of the routes themselves")]
fn only_way_out(node: &Node) -> Option<(u32, u32)> {
    let default = |r: &&Route| r.kind == RouteKind::Unicast && r.destination.is_anywhere();
    let mut ways = node.routes.iter().filter(default).filter_map(|r| r.oif);
    let first = node.link(ways.next()?).filter(|l| !l.is_tunnel())?;
    ways.all(|oif| oif == first.index)
        .then_some((first.mtu, first.index))
}

/// What a tunnel device leaves for the inner packet on the way to `remote`.
pub fn tunnel_leaves(node: &Node, link: &Link, remote: Option<IpAddr>) -> Option<u32> {
    let (bytes, _) = underlay(node, link, remote)?;
    let outer_v6 = remote
        .or(link.tunnel.as_ref()?.local)
        .is_some_and(|a| a.is_ipv6());
    let extra = link.tunnel.as_ref()?.extra;
    Some(bytes.saturating_sub(overhead(&link.kind, outer_v6)?.saturating_add(extra)))
}

/// The limit of one route.
pub fn of_route(node: &Node, route: &Route) -> Option<RouteLimit> {
    let link = node.link(route.oif?)?;
    let mut limit = RouteLimit {
        bytes: link.mtu,
        from: LimitFrom::Device,
    };
    if let Some(mtu) = route.mtu.filter(|m| *m < limit.bytes && *m > 0) {
        limit = RouteLimit {
            bytes: mtu,
            from: LimitFrom::Route,
        };
    }
    let far = remote(node, link, route.gateway);
    if let Some(left) = tunnel_leaves(node, link, far).filter(|left| *left < limit.bytes) {
        limit = RouteLimit {
            bytes: left,
            from: LimitFrom::Overhead,
        };
    }
    Some(limit)
}

/// The kernel side's longest-prefix table, of the main and local tables' routes. Where policy
/// rules may send packets by another table, a destination is judged only if both tables say the
/// same.
pub fn table(node: &Node) -> Vec<(Prefix, Limit)> {
    let mut rows: Vec<(Prefix, u32, Limit)> = Vec::new();
    for route in &node.routes {
        let limit = match route.kind {
            RouteKind::Local if route.table == LOCAL => Limit::default(),
            RouteKind::Unicast if route.table == MAIN => match of_route(node, route) {
                Some(limit) => Limit {
                    bytes: limit.bytes,
                    from: limit.from.to_wire(),
                    padding: [0; 3],
                },
                None => continue,
            },
            _ => continue,
        };
        rows.push((route.destination, route.metric, limit));
    }
    // Of several routes to one prefix the kernel takes the least metric; local ones go first.
    rows.sort_by_key(|(prefix, metric, limit)| (*prefix, limit.bytes != 0, *metric));
    rows.dedup_by_key(|(prefix, ..)| *prefix);
    let rows = rows.into_iter().map(|(prefix, _, limit)| (prefix, limit));
    let mut rows: Vec<_> = rows.collect();
    agree_with_policy(node, &mut rows);
    rows
}

/// Takes the limit from destinations that a policy table routes with another one, and adds those
/// that only a policy table knows.
fn agree_with_policy(node: &Node, rows: &mut Vec<(Prefix, Limit)>) {
    let policy = |r: &&Route| r.kind == RouteKind::Unicast && node.policy_tables.contains(&r.table);
    let routes: Vec<&Route> = node.routes.iter().filter(policy).collect();
    if routes.is_empty() {
        return;
    }
    let limit = |r: &Route| of_route(node, r).map_or(0, |l| l.bytes);
    let routes: Vec<_> = routes
        .into_iter()
        .map(|r| (r.destination, r.table, limit(r)))
        .collect();
    for (prefix, ..) in &routes {
        if !rows.iter().any(|(p, _)| p == prefix) {
            let main = rows.iter().filter(|(p, _)| covers(p, prefix));
            let main = main.max_by_key(|(p, _)| p.length).map(|(_, l)| *l);
            rows.push((*prefix, main.unwrap_or_default()));
        }
    }
    for (prefix, main) in rows.iter_mut() {
        let differs = |table: u32| {
            let own = routes
                .iter()
                .filter(|(p, t, _)| *t == table && covers(p, prefix));
            own.max_by_key(|(p, ..)| p.length)
                .is_some_and(|(.., bytes)| *bytes != main.bytes)
        };
        if node.policy_tables.iter().any(|table| differs(*table)) {
            *main = Limit::default();
        }
    }
}

fn covers(wide: &Prefix, narrow: &Prefix) -> bool {
    wide.length <= narrow.length && wide.contains(narrow.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OVERLAY, UPLINK, ip, link, overlay_node, route};

    fn limit(node: &Node, destination: &str) -> Option<RouteLimit> {
        of_route(node, node.route_to(ip(destination))?)
    }

    #[test]
    fn mixed_tunnelled_and_plain_destinations_have_their_own_limits() {
        let mut node = overlay_node(1450, 1450, 1400);
        node.routes
            .push(route("172.20.3.0/24", UPLINK, Some("192.0.2.3")));
        let tunnelled = limit(&node, "172.20.2.9").expect("a route");
        assert_eq!(
            (tunnelled.bytes, tunnelled.from),
            (1350, LimitFrom::Overhead)
        );
        let plain = limit(&node, "172.20.3.9").expect("a route");
        assert_eq!((plain.bytes, plain.from), (1400, LimitFrom::Device));
    }

    #[test]
    fn a_routes_own_mtu_counts() {
        let mut node = overlay_node(1500, 1450, 1500);
        node.routes[1].mtu = Some(1300);
        let limit = limit(&node, "172.20.2.9").expect("a route");
        assert_eq!((limit.bytes, limit.from), (1300, LimitFrom::Route));
    }

    #[test]
    fn the_underlays_route_to_that_peer_decides() {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut narrow = route("192.0.2.2/32", UPLINK, None);
        narrow.mtu = Some(1400);
        node.routes.push(narrow);
        assert_eq!(limit(&node, "172.20.2.9").expect("a route").bytes, 1350);
    }

    #[test]
    fn an_ipv6_underlay_takes_seventy() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.fdb[0].vtep = ip("2001:db8::2");
        node.routes.push(route("2001:db8::/64", UPLINK, None));
        assert_eq!(limit(&node, "172.20.2.9").expect("a route").bytes, 1430);
    }

    #[test]
    fn ipip_goes_to_its_gateway() {
        let mut node = overlay_node(1450, 1450, 1450);
        node.links[1] = link(OVERLAY, "tunl0", LinkKind::Ipip, 1450);
        node.links[1].tunnel = Some(super::super::node::Tunnel::default());
        node.routes[1].gateway = Some(ip("192.0.2.2"));
        let limit = limit(&node, "172.20.2.9").expect("a route");
        assert_eq!((limit.bytes, limit.from), (1430, LimitFrom::Overhead));
    }

    #[test]
    fn local_destinations_have_no_limit_in_the_table() {
        let mut node = overlay_node(1450, 1450, 1500);
        let own = Route {
            kind: RouteKind::Local,
            table: LOCAL,
            ..route("192.0.2.1/32", UPLINK, None)
        };
        node.routes.push(own);
        let rows = table(&node);
        let of = |text: &str| {
            let prefix: Prefix = text.parse().expect("a prefix");
            rows.iter()
                .find(|(p, _)| *p == prefix)
                .map(|(_, l)| l.bytes)
        };
        assert_eq!(of("192.0.2.1/32"), Some(0));
        assert_eq!(of("192.0.2.0/24"), Some(1500));
        assert_eq!(of("172.20.2.0/24"), Some(1450));
    }

    #[test]
    fn what_a_policy_table_routes_otherwise_is_not_judged() {
        let mut node = overlay_node(1450, 1450, 1400);
        node.routes
            .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
        node.routes[1].table = 5;
        let of = |node: &Node, text: &str| {
            let prefix: Prefix = text.parse().expect("a prefix");
            table(node)
                .iter()
                .find(|(p, _)| *p == prefix)
                .map(|(_, l)| l.bytes)
        };
        assert_eq!(of(&node, "172.20.2.0/24"), None, "no rule asks the table");
        node.policy_tables = vec![5];
        assert_eq!(of(&node, "172.20.2.0/24"), Some(0));
        assert_eq!(of(&node, "0.0.0.0/0"), Some(1400));
    }
}
