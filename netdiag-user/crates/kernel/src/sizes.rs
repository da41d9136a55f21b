//! How many entries the maps get, from how many processors there may be.
//!
//! A processor takes free entries of an LRU map for itself, up to 128 at a time, and when the map has
//! none left the next one evicts what is in use (kernel/bpf/bpf_lru_list.c): a small map on a large
//! machine forgets live entries. So small ones get their live entries and some more for
//! each possible processor: the whole 128 where the budget has room for them, else as many as fit,
//! the same number for all. From Linux 6.17 on the kernel takes less where a map is small, and a
//! reserve of `live / processors` is enough.
//!
//! The budget is 16 MiB up to 64 possible processors and 64 KiB more for each beyond.
use std::mem::size_of;

use anyhow::{Result, anyhow};
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    config::counter,
    dns::{Dns, DnsKey},
    filter,
    flow::FlowKey,
    front::{DropFront, Front},
    hop::{FlowHop, FlowHopKey, FragmentKey, FragmentOf, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};
use netdiag_lang::t;

const MIB: u64 = 1 << 20;
/// Of all maps together.
const BUDGET: u64 = 16 * MIB;
/// Possible processors that the budget is for, and what each beyond adds.
const USUAL_CPUS: u64 = 64;
const BUDGET_PER_CPU: u64 = 64 << 10;

/// What a processor takes of an LRU map's free entries (LOCAL_FREE_TARGET).
const TAKEN: u64 = 128;

/// An LRU map whose entries must not be evicted because processors took the rest.
struct Small {
    name: &'static str,
    live: u64,
    /// Bytes of an entry.
    entry: u64,
}

const SMALL: [Small; 5] = [
    small::<OuterKey, Outer>("OUTERS", 2048),
    small::<FragmentKey, FragmentOf>("FRAGMENTS", 2048),
    small::<IcmpErrorKey, IcmpError>("ICMP_ERRORS", 2048),
    small::<NeighbourAnnouncementKey, NeighbourAnnouncement>("CLAIMS", 2048),
    small::<u32, OomKill>("OOM_KILLS", 256),
];

/// Tables of who is asked for, with the bytes of an entry; they have one where nobody is. The
/// addresses take memory only as they come.
const SELECTIONS: [(&str, u64, u64); 2] = [
    ("SELECTED", filter::SELECTED as u64, 0),
    ("SELECTED_PLACES", 4096, entry::<u64, u8>()),
];

/// Room for what has a size of its own: the ring, settings, and what takes memory as it fills.
const REST: u64 = 772 << 10;

const fn small<K, V>(name: &'static str, live: u64) -> Small {
    let entry = entry::<K, V>();
    Small { name, live, entry }
}

/// Key and value in words, and the kernel's `struct htab_elem`.
const fn entry<K, V>() -> u64 {
    const ELEMENT: usize = 48;
    (ELEMENT + size_of::<K>().next_multiple_of(8) + size_of::<V>().next_multiple_of(8)) as u64
}

/// A hash map's entries, all made when it is, and its buckets.
const fn hash(entries: u64, entry: u64) -> u64 {
    const BUCKET: u64 = 16;
    entries * entry + entries.next_power_of_two() * BUCKET
}

/// The large tables, as maps.rs has them, with their entries and the bytes of one: what all
/// processors together take is a part of them.
const LARGE: [(&str, u64, u64); 5] = [
    ("FLOWS", FLOWS, entry::<FlowHopKey, FlowHop>()),
    ("DROPS", DROPS, entry::<DropKey, Dropped>()),
    ("RETRANSMITS", 8192, entry::<RetransmitKey, Retransmitted>()),
    ("DNS", 4096, entry::<DnsKey, Dns>()),
    ("NETNS", 4096, entry::<u32, u8>()),
];
const DROPS: u64 = 16_384;
const FLOWS: u64 = 24_576;

/// Where processors are many, their front caches take the place of a third of the flows.
const MANY_CPUS: u64 = 16;
const FLOWS_OF_MANY: u64 = 16_384;

const fn flows(cpus: u64) -> u64 {
    if cpus > MANY_CPUS {
        FLOWS_OF_MANY
    } else {
        FLOWS
    }
}

/// Rows of drops that all processors together may add between two readings: a quarter of what the
/// table has room for, as those that come while it is read wait for the next one.
const NEW_DROPS: u64 = DROPS / 4;

/// The same for each processor that is online.
pub fn new_drops() -> u64 {
    for_each(NEW_DROPS)
}

/// And of flows at hops.
pub fn new_flows() -> u64 {
    for_each(flows(possible_cpus().unwrap_or(u64::MAX)) / 4)
}

fn for_each(all: u64) -> u64 {
    let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len().max(1));
    (all / cpus as u64).max(1)
}

/// Each processor's part of per-CPU arrays and of the LRU maps' lists.
const PER_CPU: u64 = 8 * counter::COUNT as u64
    + 3 * size_of::<FlowKey>() as u64
    + size_of::<Front>() as u64
    + size_of::<DropFront>() as u64
    + 2048;

/// Bytes that all maps may take with so many possible processors.
pub fn budget(cpus: u64) -> u64 {
    BUDGET + cpus.saturating_sub(USUAL_CPUS) * BUDGET_PER_CPU
}

/// Bytes that they take at most with so many.
pub fn bytes(cpus: u64, selecting: bool) -> u64 {
    with_reserve(cpus, selecting, reserve(cpus, selecting))
}

fn with_reserve(cpus: u64, selecting: bool, reserve: u64) -> u64 {
    let small = SMALL
        .iter()
        .map(|map| hash(map.live + reserve * cpus, map.entry));
    let selections = SELECTIONS
        .iter()
        .map(|(_, entries, entry)| hash(if selecting { *entries } else { 1 }, *entry));
    let large = LARGE.iter().map(|(name, entries, entry)| match *name {
        "FLOWS" => hash(flows(cpus), *entry),
        _ => hash(*entries, *entry),
    });
    let tables = large.chain(small).chain(selections);
    REST + cpus * PER_CPU + tables.sum::<u64>()
}

/// Entries for each processor beside the live ones: all that it takes, or what there is room for.
fn reserve(cpus: u64, selecting: bool) -> u64 {
    let fits = |reserve: &u64| with_reserve(cpus, selecting, *reserve) <= budget(cpus);
    (0..=TAKEN).rev().find(fits).unwrap_or(0)
}

/// The entries of the maps whose number is not the one that they are declared with.
pub fn wanted(cpus: u64, selecting: bool) -> Vec<(&'static str, u32)> {
    let reserve = reserve(cpus, selecting);
    let small = SMALL
        .iter()
        .map(|map| (map.name, map.live + reserve * cpus));
    let none = SELECTIONS.iter().map(|(name, ..)| (*name, 1));
    let flows = (cpus > MANY_CPUS).then_some(("FLOWS", FLOWS_OF_MANY));
    let all = small.chain(none.filter(|_| !selecting)).chain(flows);
    all.map(|(name, entries)| (name, u32::try_from(entries).unwrap_or(u32::MAX)))
        .collect()
}

/// Processors that this machine may ever have (/sys/devices/system/cpu/possible).
pub fn possible_cpus() -> Result<u64> {
    let cpus = aya::util::nr_cpus().map_err(|(what, e)| anyhow!("{what}: {e}"))?;
    Ok(cpus as u64)
}

/// The formula with its numbers, for people.
pub fn told(cpus: u64) -> String {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let reserve = reserve(cpus, false);
    let (takes, most) = (mib(bytes(cpus, false)), mib(budget(cpus)));
    t!(
        "{takes:.1} MiB for {cpus} possible CPUs, of {most:.1} MiB (16 MiB, and 64 KiB for each CPU \
         beyond 64); small tables have {reserve} entries more for each"
    )
}

#[cfg(test)]
mod object;

#[cfg(test)]
mod tests {
    use super::*;

    const CPUS: [u64; 7] = [1, 2, 16, 64, 128, 512, 8192];

    #[test]
    fn all_maps_fit_the_budget() {
        for (cpus, selecting) in CPUS.iter().flat_map(|c| [(*c, false), (*c, true)]) {
            let bytes = bytes(cpus, selecting);
            assert!(bytes <= budget(cpus), "{cpus}: {bytes}");
        }
        assert_eq!(budget(64), 16 << 20);
        assert_eq!(budget(128), (16 << 20) + 64 * (64 << 10));
    }

    #[test]
    fn small_tables_grow_with_the_processors() {
        let of = |cpus, name| {
            let wanted = wanted(cpus, false);
            let entries = wanted.iter().find(|(map, _)| *map == name);
            u64::from(entries.expect("it has a size").1)
        };
        // Whatever two processors keep for themselves, the live ones stay.
        assert_eq!(of(2, "OUTERS"), 2048 + 2 * TAKEN);
        assert_eq!(of(2, "OOM_KILLS"), 256 + 2 * TAKEN);
        for pair in CPUS.windows(2) {
            for map in &SMALL {
                let (fewer, more) = (of(pair[0], map.name), of(pair[1], map.name));
                assert!(more > fewer, "{} {pair:?}", map.name);
            }
        }
        // The kernel since 6.17 takes half of an LRU map at most.
        for cpus in [64, 128, 512] {
            for map in &SMALL {
                assert!(of(cpus, map.name) >= 2 * map.live, "{} {cpus}", map.name);
            }
        }
    }

    #[test]
    fn who_is_asked_for_has_room_only_where_somebody_is() {
        let has = |selecting| wanted(2, selecting).contains(&("SELECTED", 1));
        assert!(has(false) && !has(true));
    }

    #[test]
    fn doctor_tells_the_numbers() {
        let told = told(128);
        assert!(told.contains("128 possible CPUs, of 20.0 MiB"), "{told}");
    }
}
