//! What the kernel side counted, as one reading of its maps. Live traces and recordings give the
//! same thing; everything behind it is shared.
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    config::counter,
    dns::{Dns, DnsKey},
    event::Event,
    flow::FlowKey,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

use super::total::{Total, add};

/// Which rows of a reading are kept, asked while it is read: a flood's take megabytes.
pub trait Wanted {
    /// Takes from the drops what is not.
    fn drops(&mut self, rows: &mut Vec<(DropKey, Dropped)>);
    /// Whether a flow at a hop is, after the drops.
    fn flow(&self, flow: &FlowKey) -> bool;
}

/// Adds the counts of one row of drops to another's.
pub fn join(into: &mut Dropped, other: &Dropped) {
    add(&mut into.packets, other.packets);
    add(&mut into.bytes, other.bytes);
    into.first = into.first.min(other.first);
    into.last = into.last.max(other.last);
    into.largest = into.largest.max(other.largest);
    into.tcp_flags |= other.tcp_flags;
}

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
    pub claims: Vec<(NeighbourAnnouncementKey, NeighbourAnnouncement)>,
    pub drops: Vec<(DropKey, Dropped)>,
    pub retransmits: Vec<(RetransmitKey, Retransmitted)>,
    /// OOM-killed processes, by pid.
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

    /// Packets that were larger than what was next on their way takes, at all hops.
    pub fn oversize(&self) -> u64 {
        self.flows.iter().map(|(_, hop)| hop.oversize).total()
    }

    /// Packets that sockets sent again.
    pub fn retransmitted(&self) -> u64 {
        self.retransmits.iter().map(|(_, r)| r.packets).total()
    }

    /// Records of single packets for which the ring had no room: each packet is counted in its table
    /// all the same.
    pub fn samples_not_kept(&self) -> u64 {
        self.counter(counter::RING_FULL)
    }

    /// Everything that could not be delivered or stored, flows apart.
    pub fn lost(&self) -> u64 {
        let counters = [
            counter::RING_FULL,
            counter::FLOWS_REFUSED,
            counter::DROPS_REFUSED,
            counter::RETRANSMITS_REFUSED,
            counter::OUTERS_REFUSED,
            counter::ICMP_REFUSED,
            counter::DNS_REFUSED,
        ];
        let counted = counters.into_iter().map(|index| self.counter(index));
        let missed = [self.evicted_others, self.recursion_misses];
        counted.chain(missed).total()
    }
}
