//! What the kernel side counted, as one reading of its maps. Live traces and recordings give the
//! same thing; everything behind it is shared.
use netdiag_common::{
    config::counter,
    event::Event,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
};

/// One reading. Counts are totals since the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// `CLOCK_MONOTONIC` ns of the reading.
    pub now: u64,
    pub flows: Vec<(FlowHopKey, FlowHop)>,
    pub outers: Vec<(OuterKey, Outer)>,
    pub icmp_errors: Vec<(IcmpErrorKey, IcmpError)>,
    pub drops: Vec<(DropKey, Dropped)>,
    pub retransmits: Vec<(RetransmitKey, Retransmitted)>,
    pub counters: [u64; counter::COUNT as usize],
    /// Records drained from the ring since the last reading.
    pub events: Vec<Event>,
}

impl Observation {
    pub fn counter(&self, index: u32) -> u64 {
        self.counters.get(index as usize).copied().unwrap_or(0)
    }

    /// Entries that a table evicted: what was put in and is there no more.
    pub fn evicted(&self, added: u32, present: usize) -> u64 {
        self.counter(added).saturating_sub(present as u64)
    }

    /// Flow entries evicted before they were read.
    pub fn evicted_flows(&self) -> u64 {
        self.evicted(counter::FLOWS_ADDED, self.flows.len())
    }

    /// Everything that could not be delivered or stored, flows apart.
    pub fn lost(&self) -> u64 {
        self.counter(counter::RING_FULL)
            + self.counter(counter::FLOWS_REFUSED)
            + self.counter(counter::DROPS_REFUSED)
            + self.counter(counter::RETRANSMITS_REFUSED)
            + self.counter(counter::OUTERS_REFUSED)
            + self.counter(counter::ICMP_REFUSED)
            + self.evicted(counter::DROPS_ADDED, self.drops.len())
            + self.evicted(counter::RETRANSMITS_ADDED, self.retransmits.len())
            + self.evicted(counter::OUTERS_ADDED, self.outers.len())
            + self.evicted(counter::ICMP_ADDED, self.icmp_errors.len())
    }
}
