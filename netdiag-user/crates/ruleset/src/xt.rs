//! Matches and targets of iptables inside rules of nf_tables (net/netfilter/nft_compat.c): what they were given are the
//! structures of include/uapi/linux/netfilter, as the kernel lays them out on this machine.
pub(crate) mod conntrack;
mod headers;
mod ipset;
mod targets;
#[cfg(test)]
mod tests;

use netdiag_model::world::ruleset::{Base, Ct, Fib, Load, Meta};

pub(crate) use ipset::Asks;
pub(crate) use targets::{Aims, aims, only_tells, translates_to};

use crate::{Byte, Loaded, Packet, Three};

/// Bytes of a structure, each part where it begins.
#[derive(Clone, Copy)]
pub(crate) struct Info<'i>(pub &'i [u8]);

impl Info<'_> {
    pub fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// In this machine's order.
    pub fn short(self, at: usize) -> Option<u16> {
        let bytes = self.0.get(at..at + 2)?;
        Some(u16::from_ne_bytes(*bytes.first_chunk()?))
    }

    pub fn word(self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at + 4)?;
        Some(u32::from_ne_bytes(*bytes.first_chunk()?))
    }

    fn bytes(self, at: usize, length: usize) -> Option<Vec<Byte>> {
        let bytes = self.0.get(at..at + length)?;
        Some(bytes.iter().copied().map(Byte::known).collect())
    }
}

/// Whether a match holds; one that is not known here may.
pub(crate) fn holds(name: &str, revision: u32, info: Info<'_>, packet: &impl Packet) -> Three {
    let known = match (name, revision) {
        ("comment", _) => Some(Three::Yes),
        ("mark", 1) => marked(info, word(packet, &Load::Meta(Meta::Mark))),
        ("connmark", 1) => {
            let key = Ct::Mark;
            let reply = None;
            marked(info, word(packet, &Load::Ct { key, reply }))
        }
        ("multiport", 1) => multiport(info, packet),
        ("udp", 0) => ports(info, packet, 8),
        ("tcp", 0) if info.byte(8) == Some(0) => tcp(info, packet),
        ("addrtype", 1) => addrtype(info, packet),
        ("iprange", 1) => headers::iprange(info, packet),
        ("length", 0) => headers::length(info, packet),
        ("ttl" | "hl", 0) => headers::hops(info, packet),
        ("dscp", 0) => headers::dscp(info, packet),
        ("tos", 1) => headers::tos(info, packet),
        ("owner", 1) => headers::owner(info, packet),
        ("rpfilter", 0) => headers::rpfilter(info, packet),
        ("icmp", 0) => headers::icmp(info, true, packet),
        ("icmp6", 0) => headers::icmp(info, false, packet),
        ("conntrack", 3) => conntrack::holds(info, packet),
        ("set", 1..=4) => ipset::holds(info, revision, packet),
        _ => None,
    };
    known.unwrap_or(Three::Maybe)
}

/// A word as far as it is known, or that it has none.
enum Word {
    Is(u32),
    None,
    Unknown,
}

fn word(packet: &impl Packet, what: &Load) -> Word {
    match packet.load(what) {
        Loaded::None => Word::None,
        Loaded::Unknown => Word::Unknown,
        Loaded::Is(bytes) => {
            let bytes = bytes.iter().take(4).map(|byte| byte.get());
            let bytes: Option<Vec<u8>> = bytes.collect();
            let bytes = bytes.as_deref().and_then(|bytes| bytes.first_chunk());
            bytes.map_or(Word::Unknown, |bytes| Word::Is(u32::from_ne_bytes(*bytes)))
        }
    }
}

/// `xt_mark_mtinfo1`, `xt_connmark_mtinfo1`: a mark, a mask, and whether it is to be another. Without a connection there
/// is none.
fn marked(info: Info<'_>, own: Word) -> Option<Three> {
    let (mark, mask) = (info.word(0)?, info.word(4)?);
    let invert = info.byte(8)? != 0;
    Some(match own {
        Word::Is(own) => Three::of((own & mask == mark) != invert),
        Word::None => Three::No,
        Word::Unknown => Three::Maybe,
    })
}

/// Bytes of the packet, nothing where it has none there.
fn payload(packet: &impl Packet, base: Base, offset: u32, length: u8) -> Option<Option<Vec<u8>>> {
    match packet.load(&Load::Payload {
        base,
        offset,
        length,
    }) {
        Loaded::None => Some(None),
        Loaded::Unknown => None,
        Loaded::Is(bytes) => {
            let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| byte.get()).collect();
            Some(Some(bytes?))
        }
    }
}

/// A port of the packet, nothing where it has none.
fn port(packet: &impl Packet, offset: u32) -> Option<Option<u16>> {
    let bytes = payload(packet, Base::Transport, offset, 2)?;
    match bytes {
        None => Some(None),
        Some(bytes) => Some(Some(u16::from_be_bytes(*bytes.first_chunk()?))),
    }
}

const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;

/// The first and the last of some ports.
type Ports = (u16, u16);

/// `xt_multiport_v1`: which side, how many, the ports, which of them begin a range, and whether none is to be it.
pub(crate) fn multiport_ranges(info: Info<'_>) -> Option<(u8, bool, Vec<Ports>)> {
    const MOST: u8 = 15;
    const PORTS: usize = 2;
    const RANGES: usize = PORTS + 2 * MOST as usize;
    const INVERT: usize = RANGES + MOST as usize;
    let (side, count) = (info.byte(0)?, info.byte(1)?.min(MOST));
    let invert = info.byte(INVERT)? != 0;
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < usize::from(count) {
        let least = info.short(PORTS + 2 * at)?;
        let begins = info.byte(RANGES + at)? != 0;
        at += usize::from(begins);
        ranges.push((least, info.short(PORTS + 2 * at)?));
        at += 1;
    }
    Some((side, invert, ranges))
}

fn multiport(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let (side, invert, ranges) = multiport_ranges(info)?;
    let sides: &[u32] = match side {
        0 => &[SOURCE],
        1 => &[DESTINATION],
        _ => &[SOURCE, DESTINATION],
    };
    let mut unknown = false;
    for side in sides {
        match port(packet, *side) {
            None => unknown = true,
            // A fragment, or too short.
            Some(None) => return Some(Three::No),
            Some(Some(port)) => {
                let within = |(least, most): &(u16, u16)| (*least..=*most).contains(&port);
                if ranges.iter().any(within) {
                    return Some(Three::of(!invert));
                }
            }
        }
    }
    Some(match unknown {
        true => Three::Maybe,
        false => Three::of(invert),
    })
}

/// `xt_tcp` without options: ports as of UDP, and flags of which some are to be set, or are to be set otherwise.
fn tcp(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const AT: u32 = 13;
    const INVERT: u8 = 4;
    let inverts = info.byte(11)?;
    let (mask, set) = (info.byte(9)?, info.byte(10)?);
    let flags = match payload(packet, Base::Transport, AT, 1) {
        _ if mask == 0 && set == 0 => Three::of(inverts & INVERT == 0),
        None => Three::Maybe,
        Some(None) => return Some(Three::No),
        Some(Some(own)) => {
            let same = own.first()? & mask == set;
            Three::of(same != (inverts & INVERT != 0))
        }
    };
    Some(ports_and(info, packet, inverts & !INVERT)?.and(flags))
}

/// `xt_udp`: ranges of both ports, and which of them are to be others.
fn ports(info: Info<'_>, packet: &impl Packet, inverts: usize) -> Option<Three> {
    ports_and(info, packet, info.byte(inverts)?)
}

fn ports_and(info: Info<'_>, packet: &impl Packet, inverts: u8) -> Option<Three> {
    // What else may be asked of TCP is not known here.
    if inverts & !3 != 0 {
        return Some(Three::Maybe);
    }
    let mut all = Three::Yes;
    for (bit, at, offset) in [(1, 0, SOURCE), (2, 4, DESTINATION)] {
        let range = info.short(at)?..=info.short(at + 2)?;
        let every = range == (0..=u16::MAX) && inverts & bit == 0;
        let one = match port(packet, offset) {
            Some(None) => return Some(Three::No),
            _ if every => Three::Yes,
            None => Three::Maybe,
            Some(Some(port)) => Three::of(range.contains(&port) != (inverts & bit != 0)),
        };
        all = all.and(one);
    }
    Some(all)
}

/// `xt_addrtype_info_v1`: kinds of the source and of the destination, as the table of local addresses has them.
fn addrtype(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    const INVERTS: [u32; 2] = [1, 2];
    const LIMITS: u32 = 4 | 8;
    /// NFTA_FIB_F_SADDR and NFTA_FIB_F_DADDR; NFT_FIB_RESULT_ADDRTYPE.
    const SIDES: [u32; 2] = [1, 2];
    const KIND: u32 = 3;
    let flags = info.word(4)?;
    if flags & LIMITS != 0 {
        return Some(Three::Maybe);
    }
    if headers::is_ipv6(packet) == Some(true) {
        return headers::addrtype6(info, packet);
    }
    let mut all = Three::Yes;
    for (at, side) in SIDES.into_iter().enumerate() {
        let kinds = info.short(2 * at)?;
        if kinds == 0 {
            continue;
        }
        let asks = Fib {
            flags: side,
            result: KIND,
        };
        let inverts = flags & INVERTS[at] != 0;
        all = all.and(match word(packet, &Load::Fib(asks)) {
            Word::Is(kind) => {
                let bit = 1_u16.checked_shl(kind).unwrap_or(0);
                Three::of((kinds & bit != 0) != inverts)
            }
            _ => Three::Maybe,
        });
    }
    Some(all)
}
