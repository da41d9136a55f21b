//! Matches of a packet's headers, and of who sends it.
use std::net::Ipv6Addr;

use netdiag_model::world::ruleset::{Base, Load, Meta};

use super::{Info, Word, payload, word};
use crate::{Loaded, Packet, Three};

/// Bytes of IPv6's header, which its length does not count.
const SIX: u16 = 40;

/// Of the header of IP, as far as they are known.
fn bytes(packet: &impl Packet, offset: u32, length: u8) -> Option<Vec<u8>> {
    payload(packet, Base::Network, offset, length)?
}

pub fn is_ipv6(packet: &impl Packet) -> Option<bool> {
    match bytes(packet, 0, 1)?.first()? >> 4 {
        4 => Some(false),
        6 => Some(true),
        _ => None,
    }
}

/// Its source and its destination.
fn address(packet: &impl Packet, destination: bool) -> Option<Vec<u8>> {
    let (offset, length) = match (is_ipv6(packet)?, destination) {
        (false, false) => (12, 4),
        (false, true) => (16, 4),
        (true, false) => (8, 16),
        (true, true) => (24, 16),
    };
    bytes(packet, offset, length)
}

/// `xt_iprange_mtinfo`: the least and the greatest source, the same of destinations, and which of them are asked for or
/// are to be others.
pub fn iprange(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const FLAGS: usize = 4 * 16;
    let flags = info.byte(FLAGS)?;
    let mut all = Three::Yes;
    for (at, side, invert, destination) in [(0, 1, 0x10, false), (32, 2, 0x20, true)] {
        if flags & side == 0 {
            continue;
        }
        let one = match address(packet, destination) {
            Some(own) => {
                let end = |at: usize| info.0.get(at..at + own.len());
                let within = end(at)? <= own.as_slice() && own.as_slice() <= end(at + 16)?;
                Three::of(within != (flags & invert != 0))
            }
            None => Three::Maybe,
        };
        all = all.and(one);
    }
    Some(all)
}

/// `xt_length_info`: the least and the greatest length of an IP packet, and whether it is to be another.
pub fn length(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let (offset, more) = if is_ipv6(packet)? { (4, SIX) } else { (2, 0) };
    let told = bytes(packet, offset, 2)?;
    let length = u16::from_be_bytes(*told.first_chunk()?);
    // A superpacket says nothing of its own.
    let length = length.checked_add(more).filter(|_| length != 0)?;
    let within = (info.short(0)?..=info.short(2)?).contains(&length);
    Some(Three::of(within != (info.byte(4)? != 0)))
}

/// `ipt_ttl_info`, `ip6t_hl_info`: how it is compared, and with what.
pub fn hops(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let offset = if is_ipv6(packet)? { 7 } else { 8 };
    let own = *bytes(packet, offset, 1)?.first()?;
    let with = info.byte(1)?;
    Some(match info.byte(0)? {
        0 => Three::of(own == with),
        1 => Three::of(own != with),
        2 => Three::of(own < with),
        3 => Three::of(own > with),
        _ => Three::Maybe,
    })
}

fn class(packet: &impl Packet) -> Option<u8> {
    let ipv6 = is_ipv6(packet)?;
    let both = Load::Payload {
        base: Base::Network,
        offset: 0,
        length: 2,
    };
    let Loaded::Is(bytes) = packet.load(&both) else {
        return None;
    };
    let &[first, second] = bytes.as_slice() else {
        return None;
    };
    match ipv6 {
        false => second.get(),
        // Four bits in each; IPv6's flow label begins behind them.
        true => Some(first.bits(0x0f)? << 4 | second.bits(0xf0)? >> 4),
    }
}

/// `xt_dscp_info`: the six bits of the class, and whether they are to be others.
pub fn dscp(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let same = class(packet)? >> 2 == info.byte(0)?;
    Some(Three::of(same != (info.byte(1)? != 0)))
}

/// `xt_tos_match_info`: a mask, a class, and whether it is to be another.
pub fn tos(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let same = class(packet)? & info.byte(0)? == info.byte(1)?;
    Some(Three::of(same != (info.byte(2)? != 0)))
}

/// `xt_owner_match_info`: ranges of users and of groups, what of a socket is asked for, and what is to be other.
pub fn owner(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const UID: u8 = 1;
    const GID: u8 = 2;
    const SOCKET: u8 = 4;
    let (asks, inverts) = (info.byte(16)?, info.byte(17)?);
    let mut all = Three::of(asks & inverts & SOCKET == 0);
    for (bit, at, meta) in [(UID, 0, Meta::Uid), (GID, 8, Meta::Gid)] {
        let own = word(packet, &Load::Meta(meta));
        let range = info.word(at)?..=info.word(at + 4)?;
        let one = match own {
            // It has no socket.
            Word::None => return Some(Three::of(asks ^ inverts == 0)),
            _ if asks & bit == 0 => continue,
            Word::Is(own) => Three::of(range.contains(&own) != (inverts & bit != 0)),
            Word::Unknown => Three::Maybe,
        };
        all = all.and(one);
    }
    // Of groups beside the first nothing is known.
    Some(match asks & !(UID | GID | SOCKET) {
        0 => all,
        _ => all.and(Three::Maybe),
    })
}

/// `xt_addrtype_info_v1` of IPv6: what a look-up of routes says of an address, beside what it is by itself.
pub fn addrtype6(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const UNSPECIFIED: u16 = 1;
    const UNICAST: u16 = 1 << 1;
    const LOCAL: u16 = 1 << 2;
    const ANYCAST: u16 = 1 << 4;
    const MULTICAST: u16 = 1 << 5;
    const UNREACHABLE: u16 = 1 << 7;
    let flags = info.word(4)?;
    let mut all = Three::Yes;
    for (at, invert, destination) in [(0, 1, false), (2, 2, true)] {
        let kinds = info.short(at)?;
        if kinds == 0 {
            continue;
        }
        let own: [u8; 16] = *address(packet, destination)?.first_chunk()?;
        let own = Ipv6Addr::from(own);
        let other = kinds & MULTICAST != 0 && !own.is_multicast()
            || kinds & UNICAST != 0 && (own.is_multicast() || own.is_unspecified())
            || kinds & UNSPECIFIED != 0 && !own.is_unspecified();
        let holds = match kinds & (LOCAL | ANYCAST | UNREACHABLE) {
            _ if other => Some(false),
            0 => Some(true),
            _ => packet.routed(destination).map(|is| is & kinds != 0),
        };
        let inverts = flags & invert != 0;
        all = all.and(holds.map_or(Three::Maybe, |holds| Three::of(holds != inverts)));
    }
    Some(all)
}

/// `xt_rpfilter_info`: how the way back is looked for, and whether there is to be none.
pub fn rpfilter(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const INVERT: u8 = 8;
    let flags = info.byte(0)?;
    let back = packet.comes_back(flags & !INVERT)?;
    Some(Three::of(back != (flags & INVERT != 0)))
}

/// `ipt_icmp`, `ip6t_icmp`: a kind and the least and the greatest code, and whether it is to be another.
pub fn icmp(info: Info<'_>, any: bool, packet: &impl Packet) -> Option<Three> {
    const ANY: u8 = 0xff;
    let Some(own) = payload(packet, Base::Transport, 0, 2)? else {
        return Some(Three::No);
    };
    let (kind, code) = (*own.first()?, *own.get(1)?);
    let asked = info.byte(0)?;
    let same = asked == kind && (info.byte(1)?..=info.byte(2)?).contains(&code);
    let every = any && asked == ANY;
    Some(Three::of((same || every) != (info.byte(3)? & 1 != 0)))
}
