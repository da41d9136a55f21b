//! What a node's lists say of one address or link: thousands of flows ask the same few of them.
use std::{cell::OnceCell, cmp::Reverse, collections::BTreeMap, net::IpAddr};

use super::{
    address::{Prefix, to_wire},
    hash::{Map, Set},
    node::{LOCAL, Link, MAIN, Node, PodSide, Route, RouteKind},
    roles::{Role, Roles},
};

/// Each list is looked through once, when it is first asked for.
pub struct NodeIndex<'a> {
    node: &'a Node,
    own: OnceCell<Set<IpAddr>>,
    broadcast: OnceCell<Set<IpAddr>>,
    links: OnceCell<Map<u32, &'a Link>>,
    roles: OnceCell<Map<u32, Role>>,
    sides: OnceCell<Map<IpAddr, &'a PodSide>>,
    routes: OnceCell<[Routes<'a>; 3]>,
}

impl<'a> NodeIndex<'a> {
    pub fn new(node: &'a Node) -> Self {
        Self {
            node,
            own: OnceCell::new(),
            broadcast: OnceCell::new(),
            links: OnceCell::new(),
            roles: OnceCell::new(),
            sides: OnceCell::new(),
            routes: OnceCell::new(),
        }
    }

    /// As [`Node::owns`].
    pub fn owns(&self, address: IpAddr) -> bool {
        let all = || self.node.addresses().map(|(_, a)| a.prefix.address);
        self.own.get_or_init(|| all().collect()).contains(&address)
    }

    /// To everybody: 255.255.255.255, or the last address of one of the node's own subnets, which the
    /// local table holds beside the node's addresses.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        let all = self.broadcast.get_or_init(|| {
            let routes = self.node.routes.iter();
            let local = routes.filter(|r| r.kind == RouteKind::Local);
            let one = |r: &Route| Prefix::host(r.destination.address) == r.destination;
            let hosts = local.filter(|r| one(r)).map(|r| r.destination.address);
            hosts.filter(|address| !self.owns(*address)).collect()
        });
        matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) || all.contains(&address)
    }

    /// As [`Node::link`].
    pub fn link(&self, index: u32) -> Option<&'a Link> {
        let links = self.links.get_or_init(|| {
            let mut links = Map::default();
            for link in &self.node.links {
                links.entry(link.index).or_insert(link);
            }
            links
        });
        links.get(&index).copied()
    }

    /// What a link of this node is for.
    pub fn role(&self, link: &Link) -> Option<Role> {
        let roles = self.roles.get_or_init(|| {
            let (links, roles) = (&self.node.links, Roles::new(self.node));
            let known = links.iter().filter_map(|l| Some((l.index, roles.of(l)?)));
            known.collect()
        });
        roles.get(&link.index).copied()
    }

    /// The pod on a link of this node that has an address in its namespace.
    pub fn pod_side_of(&self, address: IpAddr) -> Option<&'a PodSide> {
        let sides = self.sides.get_or_init(|| {
            let mut sides = Map::default();
            for side in &self.node.pod_sides {
                for address in &side.addresses {
                    sides.entry(*address).or_insert(side);
                }
            }
            sides
        });
        sides.get(&address).copied()
    }

    /// As [`Node::route_to`].
    pub(crate) fn route_to(&self, destination: IpAddr) -> Option<&'a Route> {
        let routes = self.routes.get_or_init(|| {
            let of = |wanted: &dyn Fn(&Route) -> bool| {
                Routes::new(self.node.routes.iter().filter(|r| wanted(r)))
            };
            [
                of(&|r| r.kind == RouteKind::Local && r.table == LOCAL),
                of(&|r| r.table == MAIN),
                of(&|_| true),
            ]
        });
        routes.iter().find_map(|all| all.best(destination))
    }
}

/// Routes by the length of their prefixes, the longest first: as many look-ups as there are lengths.
struct Routes<'a>(BTreeMap<Reverse<u8>, Map<(bool, u128), &'a Route>>);

impl<'a> Routes<'a> {
    fn new(routes: impl Iterator<Item = &'a Route>) -> Self {
        let mut all: BTreeMap<_, Map<_, &Route>> = BTreeMap::new();
        for route in routes {
            let prefix = route.destination;
            let same = all.entry(Reverse(prefix.length)).or_default();
            let best = same.entry(masked(prefix.address, prefix.length));
            // Of equal ones the last.
            let best = best.or_insert(route);
            if route.metric <= best.metric {
                *best = route;
            }
        }
        Self(all)
    }

    fn best(&self, destination: IpAddr) -> Option<&'a Route> {
        let mut all = self.0.iter();
        all.find_map(|(Reverse(length), same)| same.get(&masked(destination, *length)).copied())
    }
}

/// The network that an address is in, by its family.
fn masked(address: IpAddr, length: u8) -> (bool, u128) {
    let ipv4 = address.is_ipv4();
    let host = match ipv4 {
        true => 32_u8.saturating_sub(length),
        false => 128_u8.saturating_sub(length),
    };
    let bits = u128::from_be_bytes(to_wire(address));
    let network = bits.checked_shr(host.into()).unwrap_or(0);
    (ipv4, network)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few of them, so that prefixes meet.
        let near = |n: u8| IpAddr::from([10, n & 3, n >> 6, n & 7]);
        let ipv6 = |n: u8| IpAddr::from([0xfd00, 0, 0, u16::from(n & 3), 0, 0, 0, u16::from(n)]);
        prop_oneof![any::<u8>().prop_map(near), any::<u8>().prop_map(ipv6)]
    }

    fn route() -> impl Strategy<Value = Route> {
        let kind = prop_oneof![Just(RouteKind::Unicast), Just(RouteKind::Local)];
        let table = prop_oneof![Just(LOCAL), Just(MAIN), Just(77)];
        (address(), 0..=128_u8, kind, table, 0..3_u32, any::<u32>()).prop_map(
            |(address, length, kind, table, metric, oif)| Route {
                kind,
                destination: Prefix {
                    address,
                    length: if address.is_ipv4() {
                        length % 33
                    } else {
                        length
                    },
                },
                table,
                metric,
                oif: Some(oif),
                gateway: None,
                mtu: None,
            },
        )
    }

    proptest! {
        #[test]
        fn routes_are_found_as_the_node_finds_them(
            routes in prop::collection::vec(route(), 0..40),
            to in prop::collection::vec(address(), 1..40),
        ) {
            let node = Node { routes, ..Node::default() };
            let index = NodeIndex::new(&node);
            for to in to {
                prop_assert_eq!(index.route_to(to), node.route_to(to));
                // The node has no address of its own.
                let host = |r: &Route| r.destination == Prefix::host(to);
                let local = |r: &Route| r.kind == RouteKind::Local && host(r);
                prop_assert_eq!(index.is_broadcast(to), node.routes.iter().any(local));
            }
        }
    }
}
