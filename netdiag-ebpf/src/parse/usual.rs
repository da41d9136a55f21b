//! The headers that nearly every packet has, read in one go: an IP header without options or
//! extensions, no fragment, then TCP or UDP, all of it in the linear part.
//!
//! What is anything else goes the long way, by [`super::ip`]; where both can read a packet they
//! say the same of it.
use core::arch::asm;

use super::{Packet, WHOLE, ip};
use crate::maps::WINDOW;

/// A number at a fixed place behind the start of a packet, in the CPU's order.
///
/// By hand, because a packet's words need not lie at multiples of their size: the compiler would
/// read them byte by byte. The caller has compared with the packet's end.
macro_rules! load {
    ($size:literal, $start:expr, $at:expr) => {{
        let loaded: u64;
        // SAFETY: a read that the verifier has checked.
        unsafe {
            asm!(
                concat!("{to} = *(", $size, " *)({from} + {at})"),
                to = out(reg) loaded,
                from = in(reg) $start,
                at = const $at,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        loaded
    }};
}

const ETHERTYPE_V4: u64 = u16::to_be(0x0800) as u64;
const ETHERTYPE_V6: u64 = u16::to_be(0x86dd) as u64;
/// Version 4 and five words of header, as the first byte has them.
const V4_WITHOUT_OPTIONS: u64 = 0x45;
/// More fragments, and the fragment's offset.
const FRAGMENT: u64 = u16::to_be(0x3fff) as u64;
const DONT_FRAGMENT: u64 = u16::to_be(0x4000) as u64;
/// The first half of an IPv4 address mapped to IPv6 is zero, this is the rest.
const MAPPED: u64 = 0xffff_0000;

/// Fills in `packet` from the frame whose Ethernet header ends at `AT`.
#[inline(always)]
pub fn frame<const AT: usize>(start: usize, end: usize, packet: &mut Packet) -> bool {
    if start + AT + ip::V4 + ip::PORTS > end {
        return false;
    }
    match load!("u16", start, AT as i64 - 2) {
        ETHERTYPE_V4 => v4::<AT>(start, packet),
        ETHERTYPE_V6 => start + AT + ip::V6 + ip::PORTS <= end && v6::<AT>(start, packet),
        _ => false,
    }
}

/// The same for an IP packet that begins at `AT`.
#[inline(always)]
pub fn packet<const AT: usize>(start: usize, end: usize, packet: &mut Packet) -> bool {
    if start + AT + ip::V4 + ip::PORTS > end {
        return false;
    }
    if load!("u8", start, AT as i64) >> 4 == 4 {
        v4::<AT>(start, packet)
    } else {
        start + AT + ip::V6 + ip::PORTS <= end && v6::<AT>(start, packet)
    }
}

/// The same for an IP packet of which `length` bytes are known, in memory of ours that is large
/// enough for all of this.
#[inline(always)]
pub fn window(bytes: &[u8; WINDOW], length: u32, packet: &mut Packet) -> bool {
    let start = bytes.as_ptr() as usize;
    if load!("u8", start, 0) >> 4 == 4 {
        length >= (ip::V4 + ip::PORTS) as u32 && v4::<0>(start, packet)
    } else {
        length >= (ip::V6 + ip::PORTS) as u32 && v6::<0>(start, packet)
    }
}

const _: () = assert!(WINDOW >= ip::V6 + ip::PORTS);

#[inline(always)]
fn v4<const AT: usize>(start: usize, packet: &mut Packet) -> bool {
    let protocol = load!("u8", start, AT as i64 + 9);
    let fragment = load!("u16", start, AT as i64 + 6);
    let plain = load!("u8", start, AT as i64) == V4_WITHOUT_OPTIONS && fragment & FRAGMENT == 0;
    if !plain || !has_ports(protocol) {
        return false;
    }
    let source = MAPPED | load!("u32", start, AT as i64 + 12) << 32;
    let destination = MAPPED | load!("u32", start, AT as i64 + 16) << 32;
    let ports = load!("u32", start, AT as i64 + ip::V4 as i64);
    packet.set_flow([0, source, 0, destination, transport(ports, protocol, 4)]);
    packet.l3 = AT as u32;
    packet.l4 = (AT + ip::V4) as u32;
    packet.length = u32::from((load!("u16", start, AT as i64 + 2) as u16).swap_bytes());
    packet.id = 0;
    packet.fragment = WHOLE;
    packet.df = u8::from(fragment & DONT_FRAGMENT != 0);
    true
}

#[inline(always)]
fn v6<const AT: usize>(start: usize, packet: &mut Packet) -> bool {
    let protocol = load!("u8", start, AT as i64 + 6);
    if load!("u8", start, AT as i64) >> 4 != 6 || !has_ports(protocol) {
        return false;
    }
    let ports = load!("u32", start, AT as i64 + ip::V6 as i64);
    packet.set_flow([
        load!("u64", start, AT as i64 + 8),
        load!("u64", start, AT as i64 + 16),
        load!("u64", start, AT as i64 + 24),
        load!("u64", start, AT as i64 + 32),
        transport(ports, protocol, 6),
    ]);
    let payload = u32::from((load!("u16", start, AT as i64 + 4) as u16).swap_bytes());
    packet.l3 = AT as u32;
    packet.l4 = (AT + ip::V6) as u32;
    packet.length = if payload == 0 {
        0
    } else {
        payload + ip::V6 as u32
    };
    packet.id = 0;
    packet.fragment = WHOLE;
    packet.df = 1;
    true
}

#[inline(always)]
fn has_ports(protocol: u64) -> bool {
    protocol == ip::UDP as u64 || protocol == ip::TCP as u64
}

/// The last word of a flow: both ports in host order, protocol, family.
#[inline(always)]
fn transport(ports: u64, protocol: u64, family: u64) -> u64 {
    let ports = u64::from((ports as u32).swap_bytes().rotate_left(16));
    ports | protocol << 32 | family << 40
}
