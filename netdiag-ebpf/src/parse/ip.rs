//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200), down to the ports.
use netdiag_common::flow::FlowKey;

use super::{Bytes, FIRST, LATER, Packet, WHOLE, be16};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Bytes of a header without options or extensions, and of what begins with the ports.
pub const V4: usize = 20;
pub const V6: usize = 40;
pub const PORTS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// More extension headers than this are not followed.
const EXTENSIONS: u32 = 4;

/// Parses the IP packet at `l3` into `packet`; nothing where it is cut short or not IP.
#[inline(always)]
pub fn parse(bytes: &impl Bytes, l3: u32, packet: &mut Packet) -> Option<()> {
    let first: [u8; 1] = bytes.load(l3)?;
    packet.l3 = l3;
    packet.flow.source_port = 0;
    packet.flow.destination_port = 0;
    packet.flow.padding = [0; 2];
    match first[0] >> 4 {
        4 => ipv4(bytes, l3, packet)?,
        6 => ipv6(bytes, l3, packet)?,
        _ => return None,
    }
    if packet.fragment != LATER {
        ports(bytes, packet);
    }
    Some(())
}

#[inline(always)]
fn ipv4(bytes: &impl Bytes, l3: u32, packet: &mut Packet) -> Option<()> {
    let h: [u8; 20] = bytes.load(l3)?;
    let header = u32::from(h[0] & 0xf) * 4;
    if header < 20 {
        return None;
    }
    let offset = be16(h[6], h[7]);
    map(&mut packet.flow.source, [h[12], h[13], h[14], h[15]]);
    map(&mut packet.flow.destination, [h[16], h[17], h[18], h[19]]);
    packet.flow.protocol = h[9];
    packet.flow.family = 4;
    packet.l4 = l3 + header;
    packet.length = u32::from(be16(h[2], h[3]));
    packet.id = u32::from(be16(h[4], h[5]));
    packet.fragment = fragment_state(u32::from(offset & 0x1fff), offset & 0x2000 != 0);
    packet.df = u8::from(offset & 0x4000 != 0);
    Some(())
}

/// Writes an address of a flow by whole words: what is written in pieces and read as one makes
/// the CPU wait.
#[inline(always)]
fn map(address: &mut [u8; 16], v4: [u8; 4]) {
    let words: [u64; 2] = [0, 0xffff_0000 | u64::from(u32::from_le_bytes(v4)) << 32];
    // SAFETY: as many bytes; a flow's addresses lie at multiples of eight, as asserted below.
    unsafe { address.as_mut_ptr().cast::<[u64; 2]>().write(words) };
}

const _: () =
    assert!(align_of::<FlowKey>() == 8 && core::mem::offset_of!(FlowKey, destination) == 16);

#[inline(always)]
const fn fragment_state(offset: u32, more: bool) -> u8 {
    match (offset, more) {
        (0, false) => WHOLE,
        (0, true) => FIRST,
        _ => LATER,
    }
}

#[inline(always)]
fn ipv6(bytes: &impl Bytes, l3: u32, packet: &mut Packet) -> Option<()> {
    let h: [u8; 8] = bytes.load(l3)?;
    let payload = u32::from(be16(h[4], h[5]));
    packet.flow.source = bytes.load(l3 + 8)?;
    packet.flow.destination = bytes.load(l3 + 24)?;
    packet.flow.protocol = h[6];
    packet.flow.family = 6;
    packet.l4 = l3 + 40;
    packet.length = if payload == 0 { 0 } else { payload + 40 };
    packet.id = 0;
    packet.fragment = WHOLE;
    // Routers never fragment IPv6.
    packet.df = 1;
    for _ in 0..EXTENSIONS {
        if !extension(bytes, packet)? {
            break;
        }
    }
    Some(())
}

/// Steps over one extension header; false at the transport header.
#[inline(always)]
fn extension(bytes: &impl Bytes, packet: &mut Packet) -> Option<bool> {
    match packet.flow.protocol {
        HOP_BY_HOP | ROUTING | DESTINATION => {
            let h: [u8; 2] = bytes.load(packet.l4)?;
            packet.flow.protocol = h[0];
            packet.l4 += (u32::from(h[1]) + 1) * 8;
        }
        FRAGMENT => {
            let h: [u8; 8] = bytes.load(packet.l4)?;
            let offset = be16(h[2], h[3]);
            packet.flow.protocol = h[0];
            packet.l4 += 8;
            packet.id = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
            packet.fragment = fragment_state(u32::from(offset >> 3), offset & 1 != 0);
            // A later fragment has no further header.
            return Some(packet.fragment != LATER);
        }
        _ => return Some(false),
    }
    Some(true)
}

/// Fills in the ports; left at 0 where the transport header is cut off.
#[inline(always)]
fn ports(bytes: &impl Bytes, packet: &mut Packet) {
    let flow = &mut packet.flow;
    match flow.protocol {
        TCP | UDP | SCTP => {
            if let Some(h) = bytes.load::<4>(packet.l4) {
                flow.source_port = be16(h[0], h[1]);
                flow.destination_port = be16(h[2], h[3]);
            }
        }
        ICMP | ICMPV6 => {
            if let Some(h) = bytes.load::<8>(packet.l4) {
                let echo = match flow.protocol {
                    ICMP => h[0] == 8 || h[0] == 0,
                    _ => h[0] == 128 || h[0] == 129,
                };
                if echo {
                    flow.source_port = be16(h[4], h[5]);
                    flow.destination_port = flow.source_port;
                } else {
                    flow.destination_port = be16(h[0], h[1]);
                }
            }
        }
        _ => {}
    }
}
