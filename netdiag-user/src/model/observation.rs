//! What the kernel side counted, as one reading of its maps. Live traces and recordings give the
//! same thing; everything behind it is shared.
use netdiag_common::{
    claim::{Claim, ClaimKey},
    config::counter,
    dns::{Dns, DnsKey},
    event::Event,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

/// One reading. Counts are totals since the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// `CLOCK_MONOTONIC` ns of the reading.
    pub now: u64,
    pub flows: Vec<(FlowHopKey, FlowHop)>,
    pub outers: Vec<(OuterKey, Outer)>,
    pub icmp_errors: Vec<(IcmpErrorKey, IcmpError)>,
    pub dns: Vec<(DnsKey, Dns)>,
    /// Who says that an address is theirs.
    pub claims: Vec<(ClaimKey, Claim)>,
    pub drops: Vec<(DropKey, Dropped)>,
    pub retransmits: Vec<(RetransmitKey, Retransmitted)>,
    /// Processes killed for want of memory, by pid.
    pub oom_kills: Vec<(u32, OomKill)>,
    pub counters: [u64; counter::COUNT as usize],
    /// Flow entries that were evicted before any reading had them.
    pub evicted_flows: u64,
    /// The same of all other tables.
    pub evicted_others: u64,
    /// Drops and retransmits that met the program still busy on their CPU.
    pub recursion_misses: u64,
    /// Records drained from the ring since the last reading.
    pub events: Vec<Event>,
}

impl Observation {
    pub fn counter(&self, index: u32) -> u64 {
        self.counters.get(index as usize).copied().unwrap_or(0)
    }

    /// Everything that could not be delivered or stored, flows apart.
    pub fn lost(&self) -> u64 {
        self.counter(counter::RING_FULL)
            + self.counter(counter::FLOWS_REFUSED)
            + self.counter(counter::DROPS_REFUSED)
            + self.counter(counter::RETRANSMITS_REFUSED)
            + self.counter(counter::OUTERS_REFUSED)
            + self.counter(counter::ICMP_REFUSED)
            + self.counter(counter::DNS_REFUSED)
            + self.evicted_others
            + self.recursion_misses
    }
}
