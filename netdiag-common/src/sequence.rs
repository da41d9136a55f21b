//! Retransmits as the wire shows them, for senders on this node and elsewhere.
//!
//! A segment whose payload passed a hop before is a retransmit. One that fills a hole left
//! shortly before was reordered on its way; later than that, it was lost upstream and sent
//! again. Keep-alives and window probes (at most one old byte just before the next one) are
//! neither. Arithmetic is modulo 2^32 (RFC 9293 section 3.4).
//!
//! It lives here and not in the kernel crate so that it can be tested on any machine.
use crate::hop::{FlowHop, TRACKED};

/// A hole filled within this time was reordering; a retransmission timeout is never shorter than
/// 200 ms on Linux, and a fast retransmit takes a round trip.
pub const REORDERING_NS: u64 = 3_000_000;

/// Sequence numbers further back than this belong to another connection on the same ports.
const ANOTHER_CONNECTION: i32 = -(1 << 28);

/// What a segment takes up in the sequence space.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub sequence: u32,
    pub payload: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// At most a tick ago; what is exact is asked for.
    pub now: u64,
}

/// Follows the sequence space; true when the segment is a retransmit, which the caller counts.
/// `clock` is read where a hole is left or filled.
#[inline(always)]
pub fn track(hop: &mut FlowHop, segment: &Segment, clock: impl Fn() -> u64) -> bool {
    let marks = segment.fin as u32 + segment.syn as u32;
    let length = segment.payload + marks;
    if length == 0 || segment.rst {
        return false;
    }
    let end = segment.sequence.wrapping_add(length);
    let ahead = end.wrapping_sub(hop.next_sequence) as i32;
    // A SYN with another sequence number begins a new connection on the same ports.
    let restarts = segment.syn && end != hop.next_sequence;
    if hop.flags & TRACKED == 0 || ahead < ANOTHER_CONNECTION || restarts {
        hop.next_sequence = end;
        hop.hole_time = 0;
        hop.flags |= TRACKED;
        progress(hop, segment.payload, segment.now);
        return false;
    }
    if ahead > 0 {
        return advance(hop, segment, end, ahead, clock);
    }
    let before_next = segment.sequence.wrapping_add(1) == hop.next_sequence;
    let probe = marks == 0 && segment.payload == 1 && before_next;
    if probe || fills_hole(hop, segment, end, clock) {
        return false;
    }
    hop.stalled += 1;
    true
}

#[inline(always)]
fn progress(hop: &mut FlowHop, payload: u32, now: u64) {
    hop.progress = now;
    hop.stalled = 0;
    hop.payload += payload as u64;
}

/// New bytes; what lies before the old end in the same segment was sent again.
#[inline(always)]
fn advance(
    hop: &mut FlowHop,
    segment: &Segment,
    end: u32,
    ahead: i32,
    clock: impl Fn() -> u64,
) -> bool {
    let gap = segment.sequence.wrapping_sub(hop.next_sequence) as i32;
    if gap > 0 {
        if hop.hole_time == 0 {
            hop.hole_start = hop.next_sequence;
        }
        hop.hole_end = segment.sequence;
        hop.hole_time = clock();
    }
    hop.next_sequence = end;
    progress(hop, ahead as u32, segment.now);
    gap < 0
}

/// True when an old segment fills a hole so soon that it was merely reordered.
#[inline(always)]
fn fills_hole(hop: &mut FlowHop, segment: &Segment, end: u32, clock: impl Fn() -> u64) -> bool {
    if hop.hole_time == 0 {
        return false;
    }
    let after_start = segment.sequence.wrapping_sub(hop.hole_start) as i32 >= 0;
    let before_end = hop.hole_end.wrapping_sub(segment.sequence) as i32 > 0;
    if !after_start || !before_end {
        return false;
    }
    let soon = clock().saturating_sub(hop.hole_time) < REORDERING_NS;
    if segment.sequence == hop.hole_start {
        hop.hole_start = end;
    }
    if hop.hole_end.wrapping_sub(hop.hole_start) as i32 <= 0 {
        hop.hole_time = 0;
    }
    soon
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A segment `after` ns into the test; a clock that stands at 0 is no clock.
    fn data(sequence: u32, payload: u32, after: u64) -> Segment {
        let now = 1_000 * MS + after;
        Segment {
            sequence,
            payload,
            syn: false,
            fin: false,
            rst: false,
            now,
        }
    }

    /// Which of the segments count as retransmits.
    fn judge(segments: &[Segment]) -> (FlowHop, [bool; 8]) {
        let mut hop = FlowHop::default();
        let mut judged = [false; 8];
        for (segment, slot) in segments.iter().zip(&mut judged) {
            *slot = track(&mut hop, segment, || segment.now);
        }
        (hop, judged)
    }

    #[test]
    fn the_same_bytes_again_are_a_retransmit() {
        let (hop, judged) = judge(&[data(1, 100, 0), data(101, 100, 0), data(1, 100, 300 * MS)]);
        assert_eq!(judged[..3], [false, false, true]);
        assert_eq!((hop.payload, hop.stalled), (200, 1));
    }

    #[test]
    fn a_keep_alive_and_a_window_probe_are_none() {
        let (_, judged) = judge(&[data(1, 100, 0), data(100, 1, 60_000 * MS), data(100, 0, 0)]);
        assert_eq!(judged[..3], [false; 3]);
    }

    #[test]
    fn a_late_segment_was_reordered_and_a_later_one_was_lost_upstream() {
        let soon = [data(1, 100, 0), data(201, 100, 0), data(101, 100, MS)];
        assert_eq!(judge(&soon).1[..3], [false; 3]);
        let late = [data(1, 100, 0), data(201, 100, 0), data(101, 100, 200 * MS)];
        assert_eq!(judge(&late).1[..3], [false, false, true]);
    }

    #[test]
    fn a_hole_is_filled_once() {
        let twice = [
            data(1, 9, 0),
            data(20, 9, 0),
            data(10, 10, MS),
            data(10, 10, 2 * MS),
        ];
        assert_eq!(judge(&twice).1[..4], [false, false, false, true]);
    }

    #[test]
    fn a_syn_again_is_a_retransmit_and_another_one_a_new_connection() {
        let syn = |sequence, now| Segment {
            syn: true,
            ..data(sequence, 0, now)
        };
        let (hop, judged) = judge(&[syn(7, 0), syn(7, 1000 * MS), syn(9_000, 2000 * MS)]);
        assert_eq!(judged[..3], [false, true, false]);
        assert_eq!(hop.next_sequence, 9_001);
    }

    #[test]
    fn stalls_count_up_until_something_new_passes() {
        let again = data(101, 100, 0);
        let (hop, _) = judge(&[data(1, 100, 0), again, again, again]);
        assert_eq!(hop.stalled, 2);
        let (hop, _) = judge(&[data(1, 100, 0), again, again, data(201, 1, 0)]);
        assert_eq!(hop.stalled, 0);
    }

    proptest! {
        /// A stream that nothing disturbs has no retransmit, wherever it starts in the sequence
        /// space; each segment sent twice is one, wrap-around or not.
        #[test]
        fn wrap_around_is_nothing_special(start: u32, sizes in prop::collection::vec(2u32..65_000, 1..40)) {
            let mut hop = FlowHop::default();
            let mut sequence = start;
            for (i, size) in sizes.iter().enumerate() {
                let segment = data(sequence, *size, i as u64 * MS);
                prop_assert!(!track(&mut hop, &segment, || segment.now));
                prop_assert!(track(&mut hop, &segment, || segment.now));
                sequence = sequence.wrapping_add(*size);
            }
            prop_assert_eq!(hop.payload, sizes.iter().map(|s| u64::from(*s)).sum::<u64>());
        }

        /// Any pair of neighbours swapped within the reordering time is no retransmit.
        #[test]
        fn swapped_neighbours_are_no_retransmit(start: u32, size in 2u32..9000, at in 1usize..20) {
            let mut order: [u32; 22] = core::array::from_fn(|i| i as u32);
            order.swap(at, at + 1);
            let mut hop = FlowHop::default();
            for (i, n) in order.iter().enumerate() {
                let sequence = start.wrapping_add(n * size);
                let segment = data(sequence, size, i as u64 * 10_000);
                prop_assert!(!track(&mut hop, &segment, || segment.now));
            }
        }
    }
}
