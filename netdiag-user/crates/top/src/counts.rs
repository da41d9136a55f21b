//! What is counted of a row. Each number only grows.
use crate::model::total::add;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Into the node's stack at a hop: what a pod sends.
    pub in_packets: u64,
    pub in_bytes: u64,
    /// Out by a hop: what a pod gets.
    pub out_packets: u64,
    pub out_bytes: u64,
    pub drops: u64,
    pub dropped_bytes: u64,
    pub retransmits: u64,
    pub oversize: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        add(&mut self.in_packets, other.in_packets);
        add(&mut self.in_bytes, other.in_bytes);
        add(&mut self.out_packets, other.out_packets);
        add(&mut self.out_bytes, other.out_bytes);
        add(&mut self.drops, other.drops);
        add(&mut self.dropped_bytes, other.dropped_bytes);
        add(&mut self.retransmits, other.retransmits);
        add(&mut self.oversize, other.oversize);
    }

    /// For keeping the rows of which there is most to tell.
    pub fn weight(&self) -> (u64, u64) {
        let lost = [self.drops, self.retransmits, self.oversize];
        let lost = lost.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        (lost, self.in_packets.saturating_add(self.out_packets))
    }
}
