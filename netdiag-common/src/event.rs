//! Ring records: first occurrences and rate-limited samples, with the packet's first bytes.
use crate::{flow::FlowKey, wire};

pub const DROP: u32 = 1;
pub const OVERSIZE: u32 = 2;
pub const WIRE_RETRANSMIT: u32 = 3;
pub const SOCKET_RETRANSMIT: u32 = 4;

/// Bytes of a packet that a record can carry.
pub const CAPTURE: usize = 128;

/// Least time between two records of one map entry.
pub const EMIT_INTERVAL_NS: u64 = 1_000_000_000;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub time: u64,
    pub location: u64,
    pub flow: FlowKey,
    pub kind: u32,
    pub reason: u32,
    pub ifindex: u32,
    pub netns: u32,
    pub length: u32,
    pub limit: u32,
    pub sequence: u32,
    pub direction: u8,
    pub carried: u8,
    pub captured: u16,
    pub packet: [u8; CAPTURE],
}
wire!(Event, 216);
