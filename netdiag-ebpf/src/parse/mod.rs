//! Bounded reads of packet headers; the same code serves a tc hook's skb and a dropped one.
pub mod ethernet;
pub mod ip;
pub mod tcp;
pub mod tunnel;
pub mod usual;

use core::mem::offset_of;

use netdiag_common::{flow::FlowKey, front::Words, hop::FlowHopKey};

/// Where a packet's bytes come from.
pub trait Bytes {
    /// `N` bytes at `offset`, or nothing where the packet is shorter.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// Copies `length` bytes (1 to 128, see [`copy_length`]) to `to`.
    fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool;
}

/// `available`, at most `MOST`, in a form whose bounds every verifier sees: older ones do not
/// learn from a comparison with zero. `MOST` is a power of two. Must not be called with 0.
#[inline(always)]
pub fn copy_length<const MOST: u32>(available: u32) -> u32 {
    const { assert!(MOST.is_power_of_two()) };
    let last = u64::from(if available > MOST { MOST } else { available }) - 1;
    masked(last, u64::from(MOST) - 1) as u32 + 1
}

/// `value & mask`, which the compiler must not leave out where it knows better than the verifier.
#[inline(always)]
pub fn masked(mut value: u64, mask: u64) -> u64 {
    // SAFETY: a register moved onto itself; it keeps the compiler, which knows the bounds, from
    // leaving out the mask, which the verifier needs.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value) };
    value & mask
}

/// Bytes that an event's record takes.
pub const CAPTURE: u32 = netdiag_common::event::CAPTURE as u32;

/// Fragment state of a packet.
pub const WHOLE: u8 = 0;
pub const FIRST: u8 = 1;
pub const LATER: u8 = 2;

/// What the headers of one IP packet say.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    pub flow: FlowKey,
    /// Where it is and how it is carried; with the flow, the key of its counts.
    pub ifindex: u32,
    pub direction: u8,
    pub carried: u8,
    pub place_padding: [u8; 2],
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
        flow: FlowKey::EMPTY,
        ifindex: 0,
        direction: 0,
        carried: 0,
        place_padding: [0; 2],
        l3: 0,
        l4: 0,
        length: 0,
        id: 0,
        fragment: WHOLE,
        df: 0,
        padding: [0; 6],
    };

    /// Writes the flow by whole words: what is written in pieces and read as one makes the CPU
    /// wait.
    #[inline(always)]
    pub fn set_flow(&mut self, words: [u64; FLOW_WORDS]) {
        // SAFETY: as many bytes, at a multiple of eight, and any bits are a flow.
        unsafe {
            (&raw mut self.flow)
                .cast::<[u64; FLOW_WORDS]>()
                .write(words)
        };
    }

    /// Says where it is, by one word.
    #[inline(always)]
    pub fn set_place(&mut self, ifindex: u32, direction: u8, carried: u8) {
        let word = u64::from(ifindex) | u64::from(direction) << 32 | u64::from(carried) << 40;
        // SAFETY: the eight bytes behind the flow, see the assertion.
        unsafe { (&raw mut self.ifindex).cast::<u64>().write(word) };
    }

    #[inline(always)]
    pub const fn key(&self) -> &FlowHopKey {
        // SAFETY: begins with the key's fields in its order, see the assertion.
        unsafe { &*(&raw const *self).cast() }
    }

    /// The same in words.
    #[inline(always)]
    pub const fn key_words(&self) -> &Words {
        // SAFETY: as above; aligned to words.
        unsafe { &*(&raw const *self).cast() }
    }
}

const FLOW_WORDS: usize = size_of::<FlowKey>() / 8;

const _: () = assert!(
    offset_of!(Packet, flow) == offset_of!(FlowHopKey, flow)
        && offset_of!(Packet, ifindex) == offset_of!(FlowHopKey, ifindex)
        && offset_of!(Packet, direction) == offset_of!(FlowHopKey, direction)
        && offset_of!(Packet, carried) == offset_of!(FlowHopKey, carried)
        && offset_of!(Packet, place_padding) == offset_of!(FlowHopKey, padding)
        && offset_of!(Packet, ifindex).is_multiple_of(8)
        && align_of::<Packet>() == 8
);

#[inline(always)]
pub const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
