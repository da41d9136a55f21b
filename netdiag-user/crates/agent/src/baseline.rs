//! The counts of one reading, and what a later one has beyond them.
//!
//! The kernel's tables count since the programs were loaded. What was counted since some reading is
//! the same reading less that one's counts: rows that gained nothing since are not in it, and those
//! that did look as if they had come then. So a run that goes on for weeks is judged as one that
//! began some minutes ago, and nothing is taken from the kernel for it.
//!
//! Of a row that is left stands its key as a number of 64 bits and its counts alone: two of 65,000
//! keys have the same number in one of eight billion readings.
mod rows;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use netdiag_common::{
    config::counter,
    loss::{DropKey, Dropped},
};

use crate::model::observation::Observation;
use rows::Row;

/// Rows of one table, in the order of their keys' numbers.
type Table<const N: usize> = Vec<(u64, [u64; N])>;

/// A reading's counts.
#[derive(Debug, Default)]
pub struct Baseline {
    /// `CLOCK_MONOTONIC` ns of that reading.
    pub at: u64,
    hash: RandomState,
    flows: Table<10>,
    outers: Table<3>,
    icmp_errors: Table<2>,
    dns: Table<12>,
    claims: Table<4>,
    drops: Drops,
    retransmits: Table<2>,
    oom_kills: Table<1>,
    counters: [u64; counter::COUNT as usize],
    evicted_flows: u64,
    evicted_others: u64,
    recursion_misses: u64,
}

/// Drops whose rows go move to the row of all others at their place: with the counts stands the place.
#[derive(Debug, Default)]
struct Drops {
    rows: Table<3>,
    /// The place of each row, in the same order.
    places: Vec<u64>,
}

impl Baseline {
    /// Of the beginning, when nothing had been counted.
    pub fn nothing(at: u64) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    pub fn new(reading: &Observation) -> Self {
        let hash = RandomState::new();
        Self {
            at: reading.now,
            flows: table(&hash, &reading.flows),
            outers: table(&hash, &reading.outers),
            icmp_errors: table(&hash, &reading.icmp_errors),
            dns: table(&hash, &reading.dns),
            claims: table(&hash, &reading.claims),
            drops: Drops::new(&hash, &reading.drops),
            retransmits: table(&hash, &reading.retransmits),
            oom_kills: table(&hash, &reading.oom_kills),
            counters: reading.counters,
            evicted_flows: reading.evicted_flows,
            evicted_others: reading.evicted_others,
            recursion_misses: reading.recursion_misses,
            hash,
        }
    }

    /// What `reading` counted since; its records are not copied.
    pub fn since(&self, reading: &Observation) -> Observation {
        let (hash, at) = (&self.hash, self.at);
        let mut counters = reading.counters;
        for (now, before) in counters.iter_mut().zip(&self.counters) {
            *now = now.saturating_sub(*before);
        }
        Observation {
            now: reading.now,
            flows: since(hash, at, &self.flows, &reading.flows),
            outers: since(hash, at, &self.outers, &reading.outers),
            icmp_errors: since(hash, at, &self.icmp_errors, &reading.icmp_errors),
            dns: since(hash, at, &self.dns, &reading.dns),
            claims: since(hash, at, &self.claims, &reading.claims),
            drops: self.drops.since(hash, at, &reading.drops),
            retransmits: since(hash, at, &self.retransmits, &reading.retransmits),
            oom_kills: since(hash, at, &self.oom_kills, &reading.oom_kills),
            counters,
            evicted_flows: reading.evicted_flows.saturating_sub(self.evicted_flows),
            evicted_others: reading.evicted_others.saturating_sub(self.evicted_others),
            recursion_misses: reading
                .recursion_misses
                .saturating_sub(self.recursion_misses),
            events: Vec::new(),
        }
    }

    /// Rows of drops that were taken out of the table and went nowhere.
    pub fn forget(&mut self, gone: &[DropKey]) {
        for key in gone {
            self.drops.forget(self.hash.hash_one(key));
        }
    }
}

fn table<const N: usize, K: Hash, R: Row<N>>(hash: &RandomState, rows: &[(K, R)]) -> Table<N> {
    let row = |(key, row): &(K, R)| (hash.hash_one(key), row.counts());
    let mut table: Table<N> = rows.iter().map(row).collect();
    table.sort_unstable_by_key(|(key, _)| *key);
    table
}

fn find<const N: usize>(table: &Table<N>, key: u64) -> Option<usize> {
    table.binary_search_by_key(&key, |(known, _)| *known).ok()
}

fn since<const N: usize, K: Hash + Copy, R: Row<N> + Copy>(
    hash: &RandomState,
    at: u64,
    before: &Table<N>,
    rows: &[(K, R)],
) -> Vec<(K, R)> {
    let gained = |(key, row): &(K, R)| {
        let mut row = *row;
        let stays = match find(before, hash.hash_one(key)) {
            Some(found) => less(&mut row, at, &before[found].1),
            None => true,
        };
        stays.then_some((*key, row))
    };
    rows.iter().filter_map(gained).collect()
}

/// Leaves what a row gained; false where that is nothing.
fn less<const N: usize, R: Row<N>>(row: &mut R, at: u64, before: &[u64; N]) -> bool {
    let now = row.counts();
    if is_new(&now, before) {
        return true;
    }
    let mut gained = now;
    for (gained, before) in gained.iter_mut().zip(before).skip(1) {
        *gained -= before;
    }
    // The time of the first: no earlier than the reading that is taken off.
    gained[0] = now[0].max(at);
    row.set(gained);
    gained[1..].iter().any(|count| *count > 0)
}

/// Its place was given to another meanwhile, and it came anew: the first count is a time that stays.
fn is_new<const N: usize>(now: &[u64; N], before: &[u64; N]) -> bool {
    now[0] != before[0] || now.iter().zip(before).any(|(now, before)| now < before)
}

impl Drops {
    fn new(hash: &RandomState, rows: &[(DropKey, Dropped)]) -> Self {
        let table = table(hash, rows);
        let by_key: HashMap<u64, u64> = rows
            .iter()
            .map(|(key, _)| (hash.hash_one(key), hash.hash_one(key.rest())))
            .collect();
        Self {
            places: table.iter().map(|(key, _)| by_key[key]).collect(),
            rows: table,
        }
    }

    fn since(
        &self,
        hash: &RandomState,
        at: u64,
        rows: &[(DropKey, Dropped)],
    ) -> Vec<(DropKey, Dropped)> {
        let moved = self.moved(hash, rows);
        let gained = |(key, row): &(DropKey, Dropped)| {
            let mut row = *row;
            let number = hash.hash_one(key);
            let before = find(&self.rows, number).map(|found| self.rows[found].1);
            if !key.is_rest() {
                let stays = before.is_none_or(|before| less(&mut row, at, &before));
                return stays.then_some((*key, row));
            }
            let [packets, bytes] = moved.get(&number).copied().unwrap_or_default();
            let [_, counted, of_bytes] = before.unwrap_or_default();
            // What moved here was counted before, in another row.
            row.packets = row.packets.saturating_sub(counted.saturating_add(packets));
            row.bytes = row.bytes.saturating_sub(of_bytes.saturating_add(bytes));
            row.first = row.first.max(at);
            (row.packets > 0).then_some((*key, row))
        };
        rows.iter().filter_map(gained).collect()
    }

    /// By place, what stood in rows that are no more, or that came anew.
    fn moved(&self, hash: &RandomState, rows: &[(DropKey, Dropped)]) -> HashMap<u64, [u64; 2]> {
        let mut stays = vec![false; self.rows.len()];
        for (key, row) in rows {
            if let Some(found) = find(&self.rows, hash.hash_one(key)) {
                stays[found] = key.is_rest() || !is_new(&row.counts(), &self.rows[found].1);
            }
        }
        let mut moved: HashMap<u64, [u64; 2]> = HashMap::new();
        let gone = stays.iter().zip(&self.rows).zip(&self.places);
        for ((_, (_, [_, packets, bytes])), place) in gone.filter(|((stays, _), _)| !**stays) {
            let sum = moved.entry(*place).or_default();
            sum[0] = sum[0].saturating_add(*packets);
            sum[1] = sum[1].saturating_add(*bytes);
        }
        moved
    }

    fn forget(&mut self, key: u64) {
        if let Some(found) = find(&self.rows, key) {
            self.rows.remove(found);
            self.places.remove(found);
        }
    }
}

#[cfg(test)]
mod tests;
