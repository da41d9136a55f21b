//! What became of the events that the programs met: each was counted into a table or handed over, or
//! has a name for why it was not.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::total::Total;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    pub drops: DropEvents,
    pub records: RecordEvents,
}

/// Dropped packets. `seen` is the sum of all that follows; what is `ignored` or `foreign` counts one
/// for a superpacket too, because nobody looks inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropEvents {
    pub seen: u64,
    /// In rows that were read.
    pub aggregated: u64,
    /// Freed for a reason that is no loss.
    pub ignored: u64,
    /// In network namespaces of other owners.
    pub foreign: u64,
    /// Left out by a filter.
    pub left_out: u64,
    pub lost: LostDrops,
    /// Counted, and neither in a row nor in what is lost by name: 0, or the counting is wrong.
    pub unaccounted: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostDrops {
    /// The table had no row for them.
    pub no_room: u64,
    /// In rows that the table forgot before they were read again.
    pub evicted: u64,
    /// Met the program still busy on their CPU (kernel/trace/bpf_trace.c).
    pub interrupted: u64,
}

/// Records of single events, for the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordEvents {
    /// Records that were due.
    pub seen: u64,
    pub delivered: u64,
    /// Came after the last reading.
    pub late: u64,
    pub lost: LostRecords,
    /// As of drops.
    pub unaccounted: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostRecords {
    pub ring_full: u64,
}

impl LostDrops {
    pub fn all(&self) -> u64 {
        [self.no_room, self.evicted, self.interrupted]
            .iter()
            .total()
    }
}

/// How much more there is than what is accounted for.
pub fn difference(all: u64, accounted: u64) -> i64 {
    i64::try_from(i128::from(all) - i128::from(accounted)).unwrap_or(i64::MAX)
}

impl DropEvents {
    /// From what the programs counted of drops in this node's namespaces, `counted`, and whether the
    /// table has forgotten rows: then what is missing was in them.
    pub fn close(mut self, counted: u64, forgot: bool) -> Self {
        let stored = [self.aggregated, self.lost.no_room].iter().total();
        if forgot {
            self.lost.evicted = counted.saturating_sub(stored);
        }
        self.unaccounted = difference(counted, stored.saturating_add(self.lost.evicted));
        let apart = [
            self.ignored,
            self.foreign,
            self.left_out,
            self.lost.interrupted,
        ];
        self.seen = [counted].iter().chain(&apart).total();
        self
    }
}

impl RecordEvents {
    pub fn close(mut self) -> Self {
        let known = [self.delivered, self.late, self.lost.ring_full];
        self.unaccounted = difference(self.seen, known.iter().total());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(aggregated: u64, no_room: u64) -> DropEvents {
        DropEvents {
            aggregated,
            ignored: 1,
            foreign: 2,
            left_out: 3,
            lost: LostDrops {
                no_room,
                evicted: 0,
                interrupted: 4,
            },
            ..DropEvents::default()
        }
    }

    #[test]
    fn every_drop_has_its_place() {
        let closed = drops(90, 10).close(100, false);
        assert_eq!((closed.seen, closed.unaccounted), (110, 0));
        assert_eq!(closed.lost.all(), 14);
    }

    #[test]
    fn what_is_missing_was_forgotten_only_where_rows_were() {
        let closed = drops(80, 10).close(100, true);
        assert_eq!((closed.lost.evicted, closed.unaccounted), (10, 0));
        assert_eq!(drops(80, 10).close(100, false).unaccounted, 10);
        // More than there was is wrong in any case.
        for forgot in [false, true] {
            assert_eq!(drops(95, 10).close(100, forgot).unaccounted, -5);
        }
    }

    #[test]
    fn every_record_has_its_place() {
        let records = |delivered| RecordEvents {
            seen: 20,
            delivered,
            late: 1,
            lost: LostRecords { ring_full: 9 },
            ..RecordEvents::default()
        };
        assert_eq!(records(10).close().unaccounted, 0);
        assert_eq!(records(8).close().unaccounted, 2);
        assert_eq!(records(12).close().unaccounted, -2);
    }
}
