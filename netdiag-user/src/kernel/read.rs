//! One reading of the kernel side's maps.
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Map, PerCpuArray, RingBuf},
};
use netdiag_common::{config::counter, event::Event};

use super::{batch, load::Programs};
use crate::model::observation::Observation;

/// `CLOCK_MONOTONIC` in ns, the clock that the programs use.
pub fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let now = now.map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Programs {
    /// Reads every table. Counters first: what is added meanwhile must not look evicted.
    pub fn observe(&mut self) -> Result<Observation> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let counters = self.counters()?;
        Ok(Observation {
            counters,
            flows: self.entries("FLOWS")?,
            outers: self.entries("OUTERS")?,
            icmp_errors: self.entries("ICMP_ERRORS")?,
            drops: self.entries("DROPS")?,
            retransmits: self.entries("RETRANSMITS")?,
            events: self.drain()?,
            now: now(),
        })
    }

    fn counters(&mut self) -> Result<[u64; counter::COUNT as usize]> {
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

    fn entries<K: Pod, V: Pod>(&mut self, name: &str) -> Result<Vec<(K, V)>> {
        let map = self.ebpf.map(name);
        let map = map.with_context(|| format!("the eBPF object has no map {name}"))?;
        let fd = fd(map).with_context(|| format!("map {name} has another type"))?;
        batch::entries(fd).with_context(|| format!("reading map {name}"))
    }

    /// Takes all records from the ring.
    pub fn drain(&mut self) -> Result<Vec<Event>> {
        let mut ring: RingBuf<_> = self.map("EVENTS")?;
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.extend(decode(&item));
        }
        Ok(events)
    }
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
