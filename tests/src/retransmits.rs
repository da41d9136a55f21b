//! Counts retransmits in a capture, by remembering every byte of every connection that passed:
//! another way than netdiag's, which keeps three numbers a flow.
use std::{collections::HashMap, net::IpAddr};

use crate::pcap::{Packet, Segment};

/// Later than this after the hole was left, what fills it was lost and sent again.
const REORDERED: f64 = 0.003;

type Flow = (IpAddr, IpAddr, u16, u16);

#[derive(Default)]
struct Seen {
    /// First sequence number of the connection.
    start: u32,
    /// Sorted, disjoint ranges of positions after `start` that passed.
    ranges: Vec<(u64, u64)>,
    /// Position that was new, and when.
    marks: Vec<(u64, f64)>,
}

impl Seen {
    fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |r| r.1)
    }

    fn overlaps(&self, from: u64, to: u64) -> bool {
        self.ranges.iter().any(|r| from < r.1 && r.0 < to)
    }

    fn add(&mut self, from: u64, to: u64, time: f64) {
        if to > self.end() {
            self.marks.push((from, time));
        }
        self.ranges.push((from, to));
        self.ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for range in self.ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
                _ => merged.push(range),
            }
        }
        self.ranges = merged;
    }

    /// When something beyond `position` passed first.
    fn passed_over(&self, position: u64) -> Option<f64> {
        let beyond = self.marks.iter().filter(|m| m.0 > position);
        beyond.map(|m| m.1).reduce(f64::min)
    }
}

/// Retransmitted segments of every flow that has any.
pub fn count(packets: &[Packet]) -> HashMap<Flow, u64> {
    let mut connections: HashMap<Flow, Seen> = HashMap::new();
    let mut counts = HashMap::new();
    for packet in packets {
        let Some(tcp) = packet.tcp.filter(|tcp| !tcp.rst && size(tcp) > 0) else {
            continue;
        };
        let flow = (
            packet.source,
            packet.destination,
            packet.ports.0,
            packet.ports.1,
        );
        let seen = connections.entry(flow).or_default();
        if seen.ranges.is_empty() || (tcp.syn && tcp.sequence != seen.start) {
            *seen = Seen {
                start: tcp.sequence,
                ..Seen::default()
            };
        }
        let from = u64::from(tcp.sequence.wrapping_sub(seen.start));
        let to = from + size(&tcp);
        if is_retransmit(seen, &tcp, from, to, packet.time) {
            *counts.entry(flow).or_default() += 1;
        }
        seen.add(from, to, packet.time);
    }
    counts
}

/// Sequence numbers that a segment takes.
fn size(tcp: &Segment) -> u64 {
    u64::from(tcp.length) + u64::from(tcp.syn) + u64::from(tcp.fin)
}

fn is_retransmit(seen: &Seen, tcp: &Segment, from: u64, to: u64, time: f64) -> bool {
    let keep_alive = tcp.length == 1 && !tcp.syn && !tcp.fin && to == seen.end();
    if keep_alive {
        return false;
    }
    let again = seen.overlaps(from, to);
    let late = to <= seen.end()
        && seen
            .passed_over(from)
            .is_some_and(|t| time - t >= REORDERED);
    again || late
}
