//! The numbers of a row that a column shows, a row is sorted by and a trend is drawn of.
use super::counts::Counts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    In,
    Out,
    Packets,
    Bytes,
    Drops,
    DroppedBytes,
    Retransmits,
    Oversize,
}

impl Metric {
    pub fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::In => counts.in_packets,
            Self::Out => counts.out_packets,
            Self::Packets => counts.in_packets.saturating_add(counts.out_packets),
            Self::Bytes => counts.in_bytes.saturating_add(counts.out_bytes),
            Self::Drops => counts.drops,
            Self::DroppedBytes => counts.dropped_bytes,
            Self::Retransmits => counts.retransmits,
            Self::Oversize => counts.oversize,
        }
    }
}
