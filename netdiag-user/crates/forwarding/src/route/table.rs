//! Tables of routes by prefix (net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c): the longest that has what
//! the packet can take wins.
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

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
pub struct Table<'w> {
    /// By length, longest first, and by the bits that count.
    by_length: BTreeMap<Reverse<u8>, HashMap<u128, Vec<&'w Route>>>,
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

    /// Routes of these tables to an address, in the order in which the kernel tries them: by length
    /// first, so that a longer one of any table comes before a shorter one of another, as in the
    /// one trie that `local` and `main` share until somebody makes a rule.
    pub fn to(&self, tables: &[u32], address: IpAddr) -> impl Iterator<Item = &'w Route> {
        let of = |table: &u32| self.tables.get(&(address.is_ipv6(), *table));
        let tables: Vec<_> = tables.iter().filter_map(of).collect();
        let lengths: std::collections::BTreeSet<_> = tables
            .iter()
            .flat_map(|table| table.by_length.keys().copied())
            .collect();
        lengths.into_iter().flat_map(move |length| {
            let mut all = Vec::new();
            for table in &tables {
                all.extend(table.exactly(length, address));
            }
            all
        })
    }

    pub fn has(&self, ipv6: bool, table: u32) -> bool {
        self.tables.contains_key(&(ipv6, table))
    }
}

impl<'w> Table<'w> {
    fn add(&mut self, route: &'w Route) {
        let length = Reverse(route.to.length);
        let routes = self.by_length.entry(length).or_default();
        let key = bits(route.to.address, route.to.length);
        routes.entry(key).or_default().push(route);
    }

    /// Those with a traffic class come first, then the smallest metric; among equals the order in
    /// which they were listed, which is the kernel's.
    fn sort(&mut self) {
        for routes in self.by_length.values_mut().flat_map(HashMap::values_mut) {
            routes.sort_by_key(|route| (Reverse(route.tos), route.priority));
        }
    }

    fn exactly(&self, length: Reverse<u8>, address: IpAddr) -> impl Iterator<Item = &'w Route> {
        let routes = self.by_length.get(&length);
        let found = routes.and_then(|routes| routes.get(&bits(address, length.0)));
        found.into_iter().flatten().copied()
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
pub const SHARED: [u32; 2] = [LOCAL, netdiag_model::node::MAIN];
