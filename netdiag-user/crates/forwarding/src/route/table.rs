//! Tables of routes by prefix (net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c): the longest that has what
//! the packet can take wins.
use std::{cmp::Reverse, collections::HashMap, net::IpAddr, slice};

use netdiag_model::{
    address::{Prefix, to_wire},
    node::LOCAL,
    world::{Stack, route::Route},
};

/// All tables of a namespace.
#[derive(Default)]
pub struct Fib<'w> {
    tables: HashMap<(bool, u32), Table<'w>>,
}

#[derive(Default)]
struct Table<'w> {
    /// Longest first.
    by_length: Vec<Length<'w>>,
}

/// The routes to networks of one length, by the bits that count.
struct Length<'w> {
    length: u8,
    networks: HashMap<u128, Vec<&'w Route>>,
}

impl<'w> Fib<'w> {
    pub fn new(stack: &'w Stack) -> Self {
        let mut fib = Self::default();
        for route in stack.routes.some().into_iter().flatten() {
            let table = fib.tables.entry((route.to.address.is_ipv6(), route.table));
            table.or_default().add(route);
        }
        for table in fib.tables.values_mut() {
            table.sort();
        }
        fib
    }

    /// Routes of one table, or of two that share a trie, to an address, in the order in which the kernel tries them: by
    /// length first, so that a longer one of any table comes before a shorter one of another, as in the
    /// one trie that `local` and `main` share until somebody makes a rule.
    pub fn to(&self, (one, other): (u32, Option<u32>), address: IpAddr) -> To<'_, 'w> {
        let of = |table| {
            let table = self.tables.get(&(address.is_ipv6(), table));
            table.map(|it| it.by_length.as_slice())
        };
        To {
            address,
            left: [of(one), other.and_then(of)].map(Option::unwrap_or_default),
            now: [].iter(),
        }
    }

    pub fn has(&self, ipv6: bool, table: u32) -> bool {
        self.tables.contains_key(&(ipv6, table))
    }
}

/// See [`Fib::to`].
pub struct To<'f, 'w> {
    address: IpAddr,
    /// Shorter ones of each table.
    left: [&'f [Length<'w>]; 2],
    now: slice::Iter<'f, &'w Route>,
}

impl<'w> Iterator for To<'_, 'w> {
    type Item = &'w Route;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(route) = self.now.next() {
                return Some(route);
            }
            let longest = |left: &[Length<'_>]| left.first().map(|it| it.length);
            let [one, other] = self.left.map(longest);
            let left = &mut self.left[usize::from(other > one)];
            let (first, rest) = left.split_first()?;
            *left = rest;
            let found = first.networks.get(&bits(self.address, first.length));
            self.now = found.map_or(&[][..], Vec::as_slice).iter();
        }
    }
}

impl<'w> Table<'w> {
    fn add(&mut self, route: &'w Route) {
        let length = route.to.length;
        let at = self.by_length.partition_point(|it| it.length > length);
        if self.by_length.get(at).is_none_or(|it| it.length != length) {
            let networks = HashMap::new();
            self.by_length.insert(at, Length { length, networks });
        }
        let key = bits(route.to.address, length);
        let routes = self.by_length[at].networks.entry(key);
        routes.or_default().push(route);
    }

    /// Those with a traffic class come first, then the smallest metric; among equals the order in
    /// which they were listed, which is the kernel's.
    fn sort(&mut self) {
        let networks = self.by_length.iter_mut().map(|it| &mut it.networks);
        for routes in networks.flat_map(HashMap::values_mut) {
            routes.sort_by_key(|route| (Reverse(route.tos), route.priority));
        }
    }
}

/// The bits of an address that a prefix of that length holds.
fn bits(address: IpAddr, length: u8) -> u128 {
    let wire = Prefix { address, length }.wire_length();
    let all = u128::from_be_bytes(to_wire(address));
    match wire {
        0 => 0,
        wire => all & (u128::MAX << (128 - u32::from(wire))),
    }
}

/// Of [`Fib::to`]: what is tried first of two tables that share one trie.
pub const SHARED: (u32, Option<u32>) = (LOCAL, Some(netdiag_model::node::MAIN));
