//! Which fields of the kernel's rows are counts.
use netdiag_common::{
    claim::NeighbourAnnouncement,
    dns::Dns,
    hop::{FlowHop, IcmpError, OVERSIZE_DF, OVERSIZE_GSO, Outer, RST, SYN},
    loss::{Dropped, Retransmitted},
    oom::OomKill,
};

/// A row's counts. The first is the time that the row came, which tells it from one that came after
/// it by the same key; each other only grows.
pub trait Row<const N: usize> {
    fn counts(&self) -> [u64; N];
    fn set(&mut self, counts: [u64; N]);
}

/// Rows of which all counts are fields of their size, the time first.
macro_rules! rows {
    ($($row:ty: $count:literal [$($field:ident),+];)+) => {$(
        impl Row<$count> for $row {
            fn counts(&self) -> [u64; $count] {
                [$(self.$field),+]
            }

            fn set(&mut self, counts: [u64; $count]) {
                [$(self.$field),+] = counts;
            }
        }
    )+};
}

rows! {
    Outer: 3 [first, packets, bytes];
    IcmpError: 2 [first, packets];
    Dropped: 3 [first, packets, bytes];
    Retransmitted: 2 [first, packets];
    Dns: 12 [
        first_query, queries, answers, noerror, nxdomain, servfail, refused, other, truncated, repeats,
        latency_sum, latency_count
    ];
}

impl Row<10> for FlowHop {
    fn counts(&self) -> [u64; 10] {
        [
            self.first,
            self.packets,
            self.bytes,
            self.payload,
            self.retransmits,
            self.oversize,
            self.fragments,
            self.later_fragments,
            self.syns.into(),
            self.resets.into(),
        ]
    }

    /// Flags of what has not come again go, too: a connection that was opened before is not one that
    /// is being opened.
    fn set(&mut self, counts: [u64; 10]) {
        let opened = self.syns > 0;
        let [
            first,
            packets,
            bytes,
            payload,
            again,
            oversize,
            fragments,
            later,
            syns,
            resets,
        ] = counts;
        (self.first, self.packets, self.bytes) = (first, packets, bytes);
        (self.payload, self.retransmits, self.oversize) = (payload, again, oversize);
        (self.fragments, self.later_fragments) = (fragments, later);
        (self.syns, self.resets) = (small(syns), small(resets));
        if opened && syns == 0 {
            self.flags &= !SYN;
        }
        if resets == 0 {
            self.flags &= !RST;
        }
        if oversize == 0 {
            self.flags &= !(OVERSIZE_DF | OVERSIZE_GSO);
            self.oversize_largest = 0;
        }
    }
}

impl Row<4> for NeighbourAnnouncement {
    fn counts(&self) -> [u64; 4] {
        let all = self.of_one.saturating_add(self.of_other);
        [self.first, all, self.changes.into(), self.last]
    }

    /// Which of the two gained what is not told apart where they took turns: their shares stay then.
    fn set(&mut self, counts: [u64; 4]) {
        self.first = counts[0];
        self.changes = small(counts[2]);
        if self.changes == 0 {
            let alone = if self.latest == 1 {
                &mut self.of_other
            } else {
                &mut self.of_one
            };
            *alone = counts[1];
        }
    }
}

impl Row<1> for OomKill {
    fn counts(&self) -> [u64; 1] {
        [self.time]
    }

    fn set(&mut self, _: [u64; 1]) {}
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
