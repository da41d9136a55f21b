//! One reading of the kernel side's maps.
use std::{
    collections::HashSet,
    hash::Hash,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Array, Map, PerCpuArray, RingBuf},
    programs::Program,
};
use netdiag_common::{
    config::counter,
    dns::DnsKey,
    event::Event,
    hop::{FlowHopKey, IcmpErrorKey, OuterKey},
    loss::{DropKey, RetransmitKey},
};

use super::{batch, cost, load::Programs, refusal::Broken, rest::Rest};
use crate::{
    model::observation::Observation,
    sys::file::{self, SMALL},
};

/// `CLOCK_MONOTONIC` in ns, the clock that the programs use.
pub fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let now = now.map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What each table lost before it was read: entries added since the reading before, less those
/// that this one found new.
#[derive(Default)]
pub(super) struct Unread {
    flows: Balance<FlowHopKey>,
    outers: Balance<OuterKey>,
    icmp_errors: Balance<IcmpErrorKey>,
    dns: Balance<DnsKey>,
    drops: Balance<DropKey>,
    retransmits: Balance<RetransmitKey>,
    pub(super) rest: Rest,
    readings: u64,
}

struct Balance<K> {
    present: HashSet<K>,
    found: u64,
}

impl<K> Default for Balance<K> {
    fn default() -> Self {
        Self {
            present: HashSet::new(),
            found: 0,
        }
    }
}

impl<K: Copy + Eq + Hash> Balance<K> {
    /// Entries that no reading had. The counter is read before the table: what is added between
    /// the two is found early, which the running sum makes good.
    fn lost<V>(&mut self, rows: &[(K, V)], added: u64) -> u64 {
        self.found += rows
            .iter()
            .filter(|(k, _)| !self.present.contains(k))
            .count() as u64;
        self.present.clear();
        self.present.extend(rows.iter().map(|(k, _)| *k));
        added.saturating_sub(self.found)
    }
}

impl Unread {
    fn judge(&mut self, o: &mut Observation) {
        o.evicted_flows = self.flows.lost(&o.flows, o.counter(counter::FLOWS_ADDED));
        o.evicted_others = self
            .outers
            .lost(&o.outers, o.counter(counter::OUTERS_ADDED))
            + self
                .icmp_errors
                .lost(&o.icmp_errors, o.counter(counter::ICMP_ADDED))
            + self.dns.lost(&o.dns, o.counter(counter::DNS_ADDED))
            + self.drops.lost(&o.drops, o.counter(counter::DROPS_ADDED))
            + self
                .retransmits
                .lost(&o.retransmits, o.counter(counter::RETRANSMITS_ADDED));
        self.rest.add_to(&mut o.drops);
    }
}

impl Programs {
    /// Reads every table. Counters first: what is added meanwhile must not look evicted.
    pub fn observe(&mut self) -> Result<Observation> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let counters = self.counters()?;
        let mut observation = Observation {
            counters,
            flows: self.entries("FLOWS")?,
            outers: self.entries("OUTERS")?,
            icmp_errors: self.entries("ICMP_ERRORS")?,
            dns: self.entries("DNS")?,
            claims: self.entries("CLAIMS")?,
            drops: self.entries("DROPS")?,
            retransmits: self.entries("RETRANSMITS")?,
            oom_kills: self.entries("OOM_KILLS")?,
            events: self.drain()?,
            now: now(),
            evicted_flows: 0,
            evicted_others: 0,
            recursion_misses: self.recursion_misses(),
        };
        self.unread.judge(&mut observation);
        self.next_reading()?;
        Ok(observation)
    }

    /// From here on the programs may add new rows again.
    fn next_reading(&mut self) -> Result<()> {
        self.unread.readings += 1;
        let readings = self.unread.readings;
        let mut map: Array<_, u64> = self.map("READINGS")?;
        map.set(0, readings, 0)
            .context("telling the programs of a reading")
    }

    /// Runs that the kernel left out because the same program was interrupted on that CPU
    /// (kernel/trace/bpf_trace.c): it counts them for us.
    fn recursion_misses(&self) -> u64 {
        let missed = |(_, program): (&str, &Program)| misses(program.fd().ok()?.as_fd());
        self.ebpf.programs().filter_map(missed).sum()
    }

    pub(super) fn counters(&mut self) -> Result<[u64; counter::COUNT as usize]> {
        let map: PerCpuArray<_, u64> = self.map("COUNTERS")?;
        let mut sums = [0; counter::COUNT as usize];
        for (index, sum) in sums.iter_mut().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            *sum = map
                .get(&index, 0)
                .context("reading the counters")?
                .iter()
                .sum();
        }
        Ok(sums)
    }

    pub(super) fn entries<K: Pod, V: Pod>(&mut self, name: &str) -> Result<Vec<(K, V)>> {
        let map = self.ebpf.map(name);
        let map = map.ok_or_else(|| Broken::no_map(name))?;
        let fd = fd(map).ok_or_else(|| Broken::other_map(name))?;
        batch::entries(fd).with_context(|| format!("reading map {name}"))
    }

    /// Takes all records from the ring.
    pub fn drain(&mut self) -> Result<Vec<Event>> {
        let mut ring: RingBuf<_> = self.map("EVENTS")?;
        let mut events = Vec::new();
        let mut taken = 0;
        while let Some(item) = ring.next() {
            taken += 1;
            events.extend(decode(&item));
        }
        self.delivered += taken;
        Ok(events)
    }
}

/// How many runs of one of our programs the kernel left out.
pub(super) fn misses(program: BorrowedFd<'_>) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = file::kernel(Path::new(&path), SMALL).ok()?;
    cost::numbers(&text).get("recursion_misses").copied()
}

fn fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::LruHashMap(data) | Map::HashMap(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

#[expect(unsafe_code, reason = "bytes of the ring to a Pod type")]
fn decode(bytes: &[u8]) -> Option<Event> {
    // SAFETY: as many bytes as the type has, and every bit pattern of it is a value.
    (bytes.len() >= size_of::<Event>())
        .then(|| unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_reading_had_is_lost() {
        let mut balance = Balance::default();
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 2), 0);
        assert_eq!(
            balance.lost(&[(2, ()), (3, ())], 3),
            0,
            "1 was read before it went"
        );
        assert_eq!(
            balance.lost(&[(3, ())], 5),
            2,
            "two came and went in between"
        );
    }

    #[test]
    fn what_is_found_before_it_is_counted_is_not_lost_later() {
        let mut balance = Balance::default();
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 1), 0);
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 2), 0);
    }
}
