//! Retransmits as the wire shows them, for senders on this node and elsewhere.
//!
//! A segment whose payload passed here before is a retransmit. One that fills a hole left
//! shortly before was reordered on its way; later than that, it was lost upstream and sent
//! again. Keep-alives and window probes (at most one old byte just before the next one) are
//! neither. Arithmetic is modulo 2^32 (RFC 9293 section 3.4).
use netdiag_common::hop::{FlowHop, TRACKED};

use super::hop::Seen;
use crate::{
    emit::add,
    parse::tcp::{self, Tcp},
};

/// A hole filled within this time was reordering; an RTO is never shorter than 200 ms on Linux
/// and a fast retransmit takes a round trip.
const REORDERING_NS: u64 = 3_000_000;

/// Sequence numbers further back than this belong to another connection on the same ports.
const ANOTHER_CONNECTION: i32 = -(1 << 28);

/// Follows the sequence space; true when the segment is a retransmit.
#[inline(always)]
pub fn track(hop: &mut FlowHop, tcp: &Tcp, payload: u32, seen: &Seen) -> bool {
    let marks = u32::from(tcp.flags & tcp::FIN != 0) + u32::from(tcp.flags & tcp::SYN != 0);
    let length = payload + marks;
    if length == 0 || tcp.flags & tcp::RST != 0 {
        return false;
    }
    let end = tcp.sequence.wrapping_add(length);
    let ahead = end.wrapping_sub(hop.next_sequence) as i32;
    if hop.flags & TRACKED == 0 || ahead < ANOTHER_CONNECTION || restarts(hop, tcp, end) {
        start(hop, end, payload, seen);
        return false;
    }
    if ahead > 0 {
        return advance(hop, tcp.sequence, end, ahead, seen);
    }
    let before_next = tcp.sequence.wrapping_add(1) == hop.next_sequence;
    if marks == 0 && payload == 1 && before_next {
        return false;
    }
    if fills_hole(hop, tcp.sequence, end, seen) {
        return false;
    }
    retransmitted(hop, seen);
    true
}

/// A SYN with another sequence number begins a new connection on the same ports.
#[inline(always)]
fn restarts(hop: &FlowHop, tcp: &Tcp, end: u32) -> bool {
    tcp.flags & tcp::SYN != 0 && end != hop.next_sequence
}

#[inline(always)]
fn start(hop: &mut FlowHop, end: u32, payload: u32, seen: &Seen) {
    hop.next_sequence = end;
    hop.hole_time = 0;
    hop.flags |= TRACKED;
    progress(hop, payload, seen);
}

#[inline(always)]
fn progress(hop: &mut FlowHop, payload: u32, seen: &Seen) {
    hop.progress = seen.now;
    hop.stalled = 0;
    hop.payload += u64::from(payload);
}

#[inline(always)]
fn retransmitted(hop: &mut FlowHop, seen: &Seen) {
    add(&raw mut hop.retransmits, u64::from(seen.segments));
    hop.stalled += 1;
}

/// New bytes; what lies before the old end in the same segment was sent again.
#[inline(always)]
fn advance(hop: &mut FlowHop, sequence: u32, end: u32, ahead: i32, seen: &Seen) -> bool {
    let gap = sequence.wrapping_sub(hop.next_sequence) as i32;
    if gap > 0 {
        if hop.hole_time == 0 {
            hop.hole_start = hop.next_sequence;
        }
        hop.hole_end = sequence;
        hop.hole_time = seen.now;
    }
    hop.next_sequence = end;
    progress(hop, ahead as u32, seen);
    if gap < 0 {
        add(&raw mut hop.retransmits, 1);
    }
    gap < 0
}

/// True when an old segment fills a hole so soon that it was merely reordered.
#[inline(always)]
fn fills_hole(hop: &mut FlowHop, sequence: u32, end: u32, seen: &Seen) -> bool {
    if hop.hole_time == 0 {
        return false;
    }
    let after_start = sequence.wrapping_sub(hop.hole_start) as i32 >= 0;
    let before_end = hop.hole_end.wrapping_sub(sequence) as i32 > 0;
    if !after_start || !before_end {
        return false;
    }
    let soon = seen.now - hop.hole_time < REORDERING_NS;
    if sequence == hop.hole_start {
        hop.hole_start = end;
    }
    if hop.hole_end.wrapping_sub(hop.hole_start) as i32 <= 0 {
        hop.hole_time = 0;
    }
    soon
}
