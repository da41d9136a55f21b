//! Ethernet with up to two VLAN tags in the frame (802.1Q, 802.1ad).
use super::{Bytes, be16};

const HEADER: u32 = 14;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Offset of the IP header of the frame at `offset`, or nothing where it carries no IP.
#[inline(always)]
pub fn ip_offset(bytes: &impl Bytes, offset: u32) -> Option<u32> {
    let kind: [u8; 2] = bytes.load(offset + 12)?;
    let mut ethertype = be16(kind[0], kind[1]);
    let mut at = offset + HEADER;
    for _ in 0..2 {
        if ethertype != VLAN && ethertype != QINQ {
            break;
        }
        let tag: [u8; 4] = bytes.load(at)?;
        ethertype = be16(tag[2], tag[3]);
        at += 4;
    }
    (ethertype == IPV4 || ethertype == IPV6).then_some(at)
}
