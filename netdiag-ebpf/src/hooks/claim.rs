//! ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), as they come in at an Ethernet hop: which link-layer
//! addresses claim an address, and which ask for it.
//!
//! Costs a frame that is not IP one load of its type, an ARP packet one load and one map update,
//! an ICMPv6 packet a comparison. A table of addresses on a link is small, and changes seldom.
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    hop::INGRESS,
};

use super::hop::{Seen, Skb};
use crate::{
    clock,
    emit::add,
    maps,
    parse::{Bytes, Packet, be16},
};

const ETHERTYPE: u32 = 12;
const ETHERNET: u32 = 14;
const ARP: u16 = 0x0806;
const REPLY: u16 = 2;
/// Ethernet and IPv4, with the lengths of their addresses.
const ETHERNET_IPV4: [u16; 3] = [1, 0x0800, 0x0604];

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Not set by proxies and for anycast, which several may answer for.
const OVERRIDE: u8 = 0x20;
/// Link-layer addresses of eight bytes: the source's, the target's.
const SOURCE: u16 = 0x0101;
const TARGET: u16 = 0x0201;

/// A frame that carries no IP.
#[inline(always)]
pub fn arp(bytes: &Skb, seen: &Seen) -> Option<()> {
    let kind: [u8; 2] = bytes.load(ETHERTYPE)?;
    if seen.direction != INGRESS || be16(kind[0], kind[1]) != ARP {
        return Some(());
    }
    let h: [u8; 28] = bytes.load(ETHERNET)?;
    let kinds = [be16(h[0], h[1]), be16(h[2], h[3]), be16(h[4], h[5])];
    let [hardware, protocol, lengths] = ETHERNET_IPV4;
    let ours = kinds[0] == hardware && kinds[1] == protocol && kinds[2] == lengths;
    let sender = u32::from_be_bytes([h[14], h[15], h[16], h[17]]);
    let target = u32::from_be_bytes([h[24], h[25], h[26], h[27]]);
    let claims = be16(h[6], h[7]) == REPLY || sender == target;
    // Whoever wants to know whether an address is free asks as nobody.
    if !ours || sender == 0 {
        return Some(());
    }
    let address = if claims { sender } else { target }.to_be_bytes();
    let mut key = NeighbourAnnouncementKey {
        address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        ifindex: seen.ifindex,
        family: 4,
        asked: u8::from(!claims),
        padding: [0; 2],
    };
    key.address[12] = address[0];
    key.address[13] = address[1];
    key.address[14] = address[2];
    key.address[15] = address[3];
    note(
        &key,
        number([h[8], h[9], h[10], h[11], h[12], h[13]]),
        clock::now(),
    );
    Some(())
}

/// An ICMPv6 packet of that type.
#[inline(always)]
pub fn discovery(bytes: &Skb, seen: &Seen, packet: &Packet, kind: u8) -> Option<()> {
    let asks = kind == NEIGHBOUR_SOLICITATION;
    if !asks && kind != NEIGHBOUR_ADVERTISEMENT || seen.direction != INGRESS {
        return Some(());
    }
    let flags: [u8; 1] = bytes.load(packet.l4 + 4)?;
    let Some(option) = bytes.load::<8>(packet.l4 + 24) else {
        // Without the option it tells nothing new.
        return Some(());
    };
    let wanted = if asks { SOURCE } else { TARGET };
    let told = asks || flags[0] & OVERRIDE != 0;
    if !told || be16(option[0], option[1]) != wanted {
        return Some(());
    }
    let key = NeighbourAnnouncementKey {
        address: bytes.load(packet.l4 + 8)?,
        ifindex: seen.ifindex,
        family: 6,
        asked: u8::from(asks),
        padding: [0; 2],
    };
    let o = option;
    note(
        &key,
        number([o[2], o[3], o[4], o[5], o[6], o[7]]),
        clock::now(),
    );
    Some(())
}

#[inline(always)]
fn number(mac: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])
}

/// One copy of the code for both families.
#[inline(never)]
fn note(key: &NeighbourAnnouncementKey, mac: u64, now: u64) -> i32 {
    let Some(value) = maps::CLAIMS.get_ptr_mut(key) else {
        let new = NeighbourAnnouncement {
            one: mac,
            other: 0,
            of_one: 1,
            of_other: 0,
            first: now,
            last: now,
            changes: 0,
            latest: 0,
        };
        // No room is no loss: one that keeps claiming or asking comes again.
        let _ = maps::CLAIMS.insert(key, &new, 0);
        return 0;
    };
    // SAFETY: a live map value; races between CPUs lose at most a change.
    let claim = unsafe { &mut *value };
    claim.last = now;
    let known = if mac == claim.one {
        0
    } else if mac == claim.other {
        1
    } else {
        replace(claim, mac)
    };
    if known != claim.latest {
        claim.latest = known;
        claim.changes += 1;
    }
    let count = if known == 0 {
        &raw mut claim.of_one
    } else {
        &raw mut claim.of_other
    };
    add(count, 1);
    0
}

/// Puts it in the place of the one that did not come last.
#[inline(always)]
fn replace(claim: &mut NeighbourAnnouncement, mac: u64) -> u32 {
    if claim.latest == 1 {
        claim.one = mac;
        claim.of_one = 0;
        0
    } else {
        claim.other = mac;
        claim.of_other = 0;
        1
    }
}
