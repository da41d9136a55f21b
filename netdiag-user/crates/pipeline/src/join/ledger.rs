//! What passed one node's uplinks while it was recorded, and when: flow by flow, and pair by pair
//! of outer addresses. It is kept while the readings go by, for a kernel's table forgets.
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use netdiag_common::hop::{FlowHopKey, OuterKey};

use crate::model::{
    node::Node,
    observation::Observation,
    roles::{Role, Roles},
    total::add,
};

/// Flows and pairs that are remembered at most, 6 MB of them; the kernel's table of flows has
/// 24,576 rows for all hops together.
const MOST: usize = 16_384;
/// Points in time at which a count is remembered. When they are full, every other one goes, and
/// further ones are as far apart as those that stay.
const POINTS: usize = 16;

/// How one row's count grew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Of the first packet and of the last one, `CLOCK_MONOTONIC` ns.
    pub first: u64,
    pub last: u64,
    /// It opens with a SYN: the first packet is the connection's first.
    pub opens: bool,
    /// Before the kernel's table lost the row and counted anew.
    before: u64,
    now: u64,
    /// When a reading had which count.
    points: Vec<(u64, u64)>,
    /// How far they are apart.
    apart: u64,
}

impl Passage {
    fn read(&mut self, at: u64, packets: u64) {
        if packets < self.now {
            add(&mut self.before, self.now);
        }
        let unchanged = packets == self.now;
        self.now = packets;
        let last = self.points.last();
        if last.is_some_and(|(last, _)| unchanged || at < last.saturating_add(self.apart)) {
            return;
        }
        if self.points.len() == POINTS {
            let mut n = 0;
            self.points.retain(|_| {
                n += 1;
                n % 2 == 0
            });
            self.apart = at.saturating_sub(self.points[0].0) / (POINTS as u64 / 2);
        }
        self.points.push((at, self.total()));
    }

    fn total(&self) -> u64 {
        self.before.saturating_add(self.now)
    }

    /// Packets from `from` to `to` at least.
    pub fn least(&self, from: u64, to: u64) -> u64 {
        let by_then = if self.last <= to {
            self.total()
        } else {
            let known = self.points.iter().rev().find(|(at, _)| *at <= to);
            known.map_or(0, |(_, packets)| *packets)
        };
        by_then.saturating_sub(self.before_at_most(from))
    }

    /// Packets from `from` to `to` at most.
    pub fn most(&self, from: u64, to: u64) -> u64 {
        if self.first > to || self.last < from {
            return 0;
        }
        let known = self.points.iter().find(|(at, _)| *at >= to);
        let by_then = known.map_or(self.total(), |(_, packets)| *packets);
        let already = self.points.iter().rev().find(|(at, _)| *at <= from);
        by_then.saturating_sub(already.map_or(0, |(_, packets)| *packets))
    }

    fn before_at_most(&self, from: u64) -> u64 {
        if self.first >= from {
            return 0;
        }
        let known = self.points.iter().find(|(at, _)| *at >= from);
        known.map_or(self.total(), |(_, packets)| *packets)
    }
}

/// One node's share, bounded.
#[derive(Default)]
pub struct Ledger {
    flows: HashMap<FlowHopKey, Passage>,
    outers: HashMap<OuterKey, Passage>,
    /// Something found no room.
    pub full: bool,
}

impl Ledger {
    /// Remembers one reading. A row's index is a link of the node as it is at that reading.
    pub fn add(&mut self, node: &Node, observation: &Observation) {
        let roles = Roles::new(node);
        let uplink = |l: &&_| roles.of(l) == Some(Role::Uplink);
        let uplinks: Vec<u32> = node.links.iter().filter(uplink).map(|l| l.index).collect();
        let now = observation.now;
        for (key, hop) in &observation.flows {
            if !uplinks.contains(&key.ifindex) {
                continue;
            }
            if let Some(row) = row(&mut self.flows, *key, hop.first, &mut self.full) {
                row.last = row.last.max(hop.last);
                row.opens |= hop.syns > 0;
                row.read(now, hop.packets);
            }
        }
        for (key, outer) in &observation.outers {
            if let Some(row) = row(&mut self.outers, *key, outer.first, &mut self.full) {
                row.last = row.last.max(outer.last);
                row.read(now, outer.packets);
            }
        }
    }

    pub fn flows(&self, direction: u8) -> impl Iterator<Item = (&FlowHopKey, &Passage)> {
        let of = move |(key, _): &(&FlowHopKey, _)| key.direction == direction;
        self.flows.iter().filter(of)
    }

    pub fn outers(&self, direction: u8) -> impl Iterator<Item = (&OuterKey, &Passage)> {
        let of = move |(key, _): &(&OuterKey, _)| key.direction == direction;
        self.outers.iter().filter(of)
    }

    /// Whether any uplink was watched: a node that was watched elsewhere only says nothing.
    pub fn sees(&self) -> bool {
        !self.flows.is_empty()
    }
}

fn row<'a, K: Eq + Hash>(
    rows: &'a mut HashMap<K, Passage>,
    key: K,
    first: u64,
    full: &mut bool,
) -> Option<&'a mut Passage> {
    let room = rows.len() < MOST;
    match rows.entry(key) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(new) if room => Some(new.insert(Passage {
            first,
            ..Passage::default()
        })),
        Entry::Vacant(_) => {
            *full = true;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(first: u64, readings: &[(u64, u64)]) -> Passage {
        let mut it = Passage {
            first,
            ..Passage::default()
        };
        for (at, packets) in readings {
            it.read(*at, *packets);
            it.last = *at;
        }
        it
    }

    #[test]
    fn counts_within_a_window_are_bounds() {
        let it = passage(5, &[(10, 2), (20, 6), (30, 6), (40, 9)]);
        assert_eq!((it.least(0, 100), it.most(0, 100)), (9, 9));
        // Between 15 and 25: four came from 10 to 20, nobody knows when.
        assert_eq!((it.least(15, 25), it.most(15, 25)), (0, 7));
        assert_eq!((it.least(20, 30), it.most(20, 30)), (0, 3));
        assert_eq!((it.least(50, 60), it.most(50, 60)), (0, 0));
    }

    #[test]
    fn a_row_that_the_kernel_lost_counts_on() {
        let it = passage(5, &[(10, 7), (20, 2)]);
        assert_eq!(it.least(0, 100), 9);
    }

    #[test]
    fn many_readings_keep_their_ends() {
        let readings: Vec<_> = (1..1000).map(|n| (n * 10, n)).collect();
        let it = passage(1, &readings);
        assert!(it.points.len() <= POINTS);
        assert_eq!((it.least(0, 20_000), it.most(0, 20_000)), (999, 999));
        let (least, most) = (it.least(0, 5_000), it.most(0, 5_000));
        assert!(least <= 500 && 500 <= most && least > 0, "{least} {most}");
    }
}
