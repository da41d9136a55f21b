//! What is judged of a flood.
//!
//! Where the kernel forgets rows of drops because more flows die than it has room for, the rows that a
//! reading finds are a sample, and a smaller one names the same cause for a fraction of the memory.
//! What is left out goes on counting in the row for all others at its place, so that sums stay exact.
//! While the kernel has room for every flow, nothing is left out.
use std::{cmp::Reverse, hash::BuildHasher};

use netdiag_common::{
    config::counter,
    flow::FlowKey,
    hop::{ACK, FlowHop, FlowHopKey},
    loss::{DropKey, Dropped},
};

use crate::model::{
    flow::TCP,
    hash::{Keyed, Map, Set},
    observation::{Observation, Wanted, join},
};

/// Rows of one place that are judged.
const ROWS: usize = 1024;
/// And so many more where otherwise nothing tells who sent to whom.
const PAIRS: usize = 1024;
/// Rows that tell it.
const EACH: u32 = 2;
/// Flows that got no answer, of those that the table of flows still has when it has forgotten others.
const SILENT: usize = 2048;
/// For so long after it forgot some, ns: until then they are what a flood left.
const LASTS: u64 = 60_000_000_000;

/// From whom to whom.
type Pair = ([u8; 16], [u8; 16]);

/// What was left out of the readings before: a row that came back with all that it counted would be
/// told twice.
#[derive(Default)]
pub struct Excerpt {
    /// Rows by a number for their key and their first packet.
    out: Set<u64>,
    /// Flows of this reading, by theirs.
    gone: Set<u64>,
    /// Flows that found no room by the last reading.
    overflowed: u64,
    /// Until when flows that got no answer are too many.
    until: u64,
}

/// What of one place stays.
#[derive(Default)]
struct Place {
    rows: usize,
    pairs: Map<Pair, u32>,
    /// The sum of what does not.
    rest: Option<Dropped>,
}

impl Place {
    fn admits(&mut self, key: &DropKey) -> bool {
        let pair = (key.flow.source, key.flow.destination);
        let of_pair = self.pairs.get(&pair).copied().unwrap_or(0);
        let admits = self.rows < ROWS || (of_pair < EACH && self.rows < ROWS + PAIRS);
        if admits {
            self.rows += 1;
            self.pairs.insert(pair, of_pair + 1);
        }
        admits
    }

    fn leave_out(&mut self, row: &Dropped) {
        match &mut self.rest {
            Some(rest) => join(rest, row),
            None => self.rest = Some(*row),
        }
    }
}

impl Wanted for Excerpt {
    fn drops(&mut self, rows: &mut Vec<(DropKey, Dropped)>) {
        self.gone = self.leave_out(rows);
    }

    fn flow(&self, flow: &FlowKey) -> bool {
        self.gone.is_empty() || !self.gone.contains(&number(flow))
    }
}

impl Excerpt {
    /// Leaves of the flows at hops what is judged, when all are read.
    pub fn flows(&mut self, observation: &mut Observation) {
        let overflowed = observation
            .evicted_flows
            .saturating_add(observation.counter(counter::HOPS_UNKEPT));
        if std::mem::replace(&mut self.overflowed, overflowed) < overflowed {
            self.until = observation.now.saturating_add(LASTS);
        }
        if observation.now < self.until {
            silent(&mut observation.flows, &observation.drops);
        }
    }

    /// Tells the flows whose rows are left out, by their numbers.
    fn leave_out(&mut self, rows: &mut Vec<(DropKey, Dropped)>) -> Set<u64> {
        let rests = rows.iter().filter(|(key, _)| key.is_rest());
        let mut places: Map<DropKey, Place> =
            rests.map(|(key, _)| (*key, Place::default())).collect();
        let mut gone = Set::default();
        if places.is_empty() {
            self.out.clear();
            return gone;
        }
        let mut out = Set::default();
        // The oldest stay, as they did before.
        rows.sort_unstable_by_key(|(key, row)| (row.first, Reverse(row.packets), key.flow));
        rows.retain(|(key, row)| {
            let place = places.get_mut(&key.rest()).filter(|_| !key.is_rest());
            let Some(place) = place else { return true };
            let row_number = Keyed::default().hash_one((key, row.first));
            if !self.out.contains(&row_number) && place.admits(key) {
                return true;
            }
            place.leave_out(row);
            out.insert(row_number);
            gone.insert(number(&key.flow));
            false
        });
        rows.shrink_to_fit();
        for (key, row) in rows.iter_mut().filter(|(key, _)| key.is_rest()) {
            let rest = places.get(key).and_then(|place| place.rest.as_ref());
            rest.into_iter().for_each(|rest| join(row, rest));
        }
        self.out = out;
        // One that died elsewhere as well is still looked at.
        rows.iter().for_each(|(key, _)| {
            gone.remove(&number(&key.flow));
        });
        gone
    }
}

/// Stands for a flow: two of forty thousand have the same one in one of ten billion readings.
fn number(flow: &FlowKey) -> u64 {
    Keyed::default().hash_one(flow)
}

/// Leaves some of the flows that got no answer and tell of nothing else; the same ones in the next
/// reading, as far as they are there.
fn silent(rows: &mut Vec<(FlowHopKey, FlowHop)>, drops: &[(DropKey, Dropped)]) {
    if rows.len() <= SILENT {
        return;
    }
    let known: Set<u64> = rows.iter().map(|(key, _)| number(&key.flow)).collect();
    let lost: Set<u64> = drops.iter().map(|(key, _)| number(&key.flow)).collect();
    let is_silent = |key: &FlowHopKey, hop: &FlowHop| {
        tells_little(hop, key.flow.protocol)
            && !known.contains(&number(&key.flow.reversed()))
            && !lost.contains(&number(&key.flow))
    };
    let of = rows.iter().filter(|(key, hop)| is_silent(key, hop));
    let mut silent: Vec<(u64, Pair)> = of
        .map(|(key, _)| (number(&key.flow), (key.flow.source, key.flow.destination)))
        .collect();
    if silent.len() <= SILENT {
        return;
    }
    silent.sort_unstable();
    silent.dedup();
    let mut pairs: Map<Pair, u32> = Map::default();
    // Of each pair one before the second of another.
    let mut ranked: Vec<(u32, u64)> = Vec::with_capacity(silent.len());
    for (flow, pair) in silent {
        let rank = pairs.entry(pair).or_default();
        ranked.push((*rank, flow));
        *rank += 1;
    }
    ranked.sort_unstable();
    let stay: Set<u64> = ranked
        .into_iter()
        .take(SILENT)
        .map(|(_, flow)| flow)
        .collect();
    rows.retain(|(key, hop)| !is_silent(key, hop) || stay.contains(&number(&key.flow)));
    rows.shrink_to_fit();
}

/// One packet or its repetitions, and nothing wrong with them on this hop.
fn tells_little(hop: &FlowHop, protocol: u8) -> bool {
    let wrong = [hop.oversize, hop.retransmits, hop.fragments];
    wrong.iter().all(|count| *count == 0) && (protocol != TCP || hop.flags & ACK == 0)
}

#[cfg(test)]
mod tests;
