//! One reading of the kernel side's maps.
use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash, RandomState},
    os::fd::{AsFd, BorrowedFd},
};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Array, Map, PerCpuArray, RingBuf},
    programs::Program,
};
use netdiag_common::{
    config::counter,
    event::Event,
    hop::{FlowHop, FlowHopKey},
    loss::{DropKey, Dropped},
};

use super::{batch, load::Programs, refusal::BadObject, rest::Rest};
use crate::{
    model::observation::{Observation, Wanted},
    sys::bpf,
};

type Counters = [u64; counter::COUNT as usize];
type Drops = Vec<(DropKey, Dropped)>;
type Flows = Vec<(FlowHopKey, FlowHop)>;

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
    pub(super) flows: Balance,
    pub(super) outers: Balance,
    pub(super) icmp_errors: Balance,
    pub(super) dns: Balance,
    pub(super) retransmits: Balance,
    pub(super) drops: Rest,
    readings: u64,
    /// As the last reading had them.
    counters: Counters,
}

/// Of each key a number stands here: the keys of a flood would take megabytes. Two of 65,000 keys
/// have the same one in one of eight billion readings.
#[derive(Default)]
pub(super) struct Balance {
    hash: RandomState,
    /// In order.
    present: Vec<u64>,
    found: u64,
}

impl Balance {
    /// Entries that no reading had. The counter is read before the table: what is added between
    /// the two is found early, which the running sum makes good.
    fn lost<K: Hash, V>(&mut self, rows: &[(K, V)], added: u64) -> u64 {
        let now = rows.iter().map(|(k, _)| self.hash.hash_one(k)).collect();
        self.missing(now, added)
    }

    /// The same, of the rows' numbers.
    fn missing(&mut self, mut now: Vec<u64>, added: u64) -> u64 {
        now.sort_unstable();
        let new = |key: &&u64| self.present.binary_search(key).is_err();
        self.found += now.iter().filter(new).count() as u64;
        self.present = now;
        added.saturating_sub(self.found)
    }

    /// These were taken out of the table: where one is there again, it was added again.
    pub(super) fn forget<K: Hash>(&mut self, gone: &[K]) {
        let gone: HashSet<u64> = gone.iter().map(|key| self.hash.hash_one(key)).collect();
        self.present.retain(|key| !gone.contains(key));
    }
}

impl Unread {
    fn judge(&mut self, o: &mut Observation) {
        o.evicted_others += self
            .outers
            .lost(&o.outers, o.counter(counter::OUTERS_ADDED))
            + self
                .icmp_errors
                .lost(&o.icmp_errors, o.counter(counter::ICMP_ADDED))
            + self.dns.lost(&o.dns, o.counter(counter::DNS_ADDED))
            + self
                .retransmits
                .lost(&o.retransmits, o.counter(counter::RETRANSMITS_ADDED));
    }
}

impl Programs {
    /// Reads every table. Counters first: what is added meanwhile must not look evicted.
    pub fn observe(&mut self, wanted: &mut impl Wanted) -> Result<Observation> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.flush()?;
        let counters = self.counters()?;
        let (drops, evicted_drops) = self.drops(&counters, wanted)?;
        let (flows, evicted_flows) = self.flows(&counters, wanted)?;
        let mut observation = Observation {
            counters,
            flows,
            outers: self.entries("OUTERS")?,
            icmp_errors: self.entries("ICMP_ERRORS")?,
            dns: self.entries("DNS")?,
            claims: self.entries("CLAIMS")?,
            drops,
            retransmits: self.entries("RETRANSMITS")?,
            oom_kills: self.entries("OOM_KILLS")?,
            events: self.drain()?,
            now: now(),
            evicted_flows,
            evicted_others: evicted_drops,
            recursion_misses: self.recursion_misses(),
        };
        self.unread.counters = counters;
        self.unread.judge(&mut observation);
        self.next_reading()?;
        Ok(observation)
    }

    /// The drops that are wanted, with how many rows no reading had.
    fn drops(&mut self, counters: &Counters, wanted: &mut impl Wanted) -> Result<(Drops, u64)> {
        let mut drops = self.entries("DROPS")?;
        let added = counters[counter::DROPS_ADDED as usize];
        let evicted = self.unread.drops.add_to(&mut drops, added);
        wanted.drops(&mut drops);
        Ok((drops, evicted))
    }

    /// The same of flows at hops.
    fn flows(&mut self, counters: &Counters, wanted: &impl Wanted) -> Result<(Flows, u64)> {
        let hash = self.unread.flows.hash.clone();
        let mut numbers = Vec::new();
        let flows = self.entries_where("FLOWS", |key: &FlowHopKey| {
            numbers.push(hash.hash_one(key));
            wanted.flow(&key.flow)
        })?;
        let added = counters[counter::FLOWS_ADDED as usize];
        Ok((flows, self.unread.flows.missing(numbers, added)))
    }

    /// Rows that the last reading found in the tables of flows and drops.
    pub fn rows(&self) -> usize {
        self.unread.flows.present.len() + self.unread.drops.len()
    }

    /// Whether the programs counted nothing since the last reading but what is nobody's here: then no
    /// table has changed except those of retransmits and of processes killed, which wait for the
    /// next one.
    pub fn is_quiet(&mut self) -> Result<bool> {
        let mut now = self.counters()?;
        for left_out in [counter::HOPS_LEFT, counter::DROPS_LEFT, counter::CANARIES] {
            now[left_out as usize] = self.unread.counters[left_out as usize];
        }
        Ok(now == self.unread.counters)
    }

    /// How many packets were seen dropped that agents of netdiag's dropped to see that.
    pub fn canaries(&mut self) -> Result<u64> {
        Ok(self.counters()?[counter::CANARIES as usize])
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

    pub(super) fn counters(&mut self) -> Result<Counters> {
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
        self.entries_where(name, |_| true)
    }

    fn entries_where<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        wanted: impl FnMut(&K) -> bool,
    ) -> Result<Vec<(K, V)>> {
        let map = self.ebpf.map(name);
        let map = map.ok_or_else(|| BadObject::no_map(name))?;
        let fd = fd(map).ok_or_else(|| BadObject::other_map(name))?;
        batch::entries(fd, wanted).with_context(|| format!("reading map {name}"))
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
    bpf::recursion_misses(&program).ok()
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
    fn what_was_taken_out_and_came_again_is_not_lost() {
        let mut balance = Balance::default();
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 2), 0);
        balance.forget(&[1]);
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 3), 0);
        assert_eq!(balance.lost(&[(2, ())], 4), 1, "this one was not taken out");
    }

    #[test]
    fn what_is_found_before_it_is_counted_is_not_lost_later() {
        let mut balance = Balance::default();
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 1), 0);
        assert_eq!(balance.lost(&[(1, ()), (2, ())], 2), 0);
    }
}
