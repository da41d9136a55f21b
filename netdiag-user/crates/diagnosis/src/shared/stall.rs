//! When a flow counts as stalled.
use netdiag_common::hop::FlowHop;

/// Retransmits without a new byte between them. One is a tail loss probe or a lost packet, two
/// may be bad luck on a lossy path; the third comes 1.4 s after the loss with Linux's least
/// retransmission timeout of 200 ms, doubled each time (RFC 6298).
pub const RETRANSMITS: u32 = 3;

pub fn is_stalled(hop: &FlowHop) -> bool {
    hop.stalled >= RETRANSMITS
}
