//! Bounded reads of packet headers; the same code serves a tc hook's skb and a dropped one.
pub mod ethernet;
pub mod ip;
pub mod tcp;
pub mod tunnel;

use netdiag_common::flow::FlowKey;

/// Where a packet's bytes come from.
pub trait Bytes {
    /// `N` bytes at `offset`, or nothing where the packet is shorter.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// Copies `length` bytes (at most 128) to `to`.
    fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool;
}

/// Fragment state of a packet.
pub const WHOLE: u8 = 0;
pub const FIRST: u8 = 1;
pub const LATER: u8 = 2;

/// What the headers of one IP packet say.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    pub flow: FlowKey,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the transport header.
    pub l4: u32,
    /// Length as the IP header says, itself included; 0 where it does not (BIG TCP).
    pub length: u32,
    pub id: u32,
    pub fragment: u8,
    pub df: u8,
    pub padding: [u8; 6],
}

impl Packet {
    pub const EMPTY: Self = Self {
        flow: FlowKey {
            source: [0; 16],
            destination: [0; 16],
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            family: 0,
            padding: [0; 2],
        },
        l3: 0,
        l4: 0,
        length: 0,
        id: 0,
        fragment: WHOLE,
        df: 0,
        padding: [0; 6],
    };
}

#[inline(always)]
pub const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
