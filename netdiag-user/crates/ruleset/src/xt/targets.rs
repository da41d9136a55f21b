//! What iptables' targets do with a packet.
use netdiag_model::world::ruleset::{Ct, Load, Meta, NatKind, Reject, Store};

use super::{Info, Word, word};
use crate::{Packet, Stored, Translates};

/// What a target comes to.
pub(crate) enum Aims {
    /// The rule goes on.
    Continues,
    Rejects(Reject),
    Nat(Translates),
    /// What it does is not known here.
    Unknown,
}

/// It tells somebody of a packet, which goes on as it is; or writes on it what no station here looks at.
pub(crate) fn only_tells(name: &str) -> bool {
    const TELLS: [&str; 7] = [
        "AUDIT",
        "IDLETIMER",
        "LED",
        "LOG",
        "NFLOG",
        "RATEEST",
        "TRACE",
    ];
    const WRITES: [&str; 2] = ["CHECKSUM", "CLASSIFY"];
    TELLS.contains(&name) || WRITES.contains(&name)
}

pub(crate) fn aims(
    (name, revision): (&str, u32),
    info: Info<'_>,
    ipv6: bool,
    packet: &mut impl Packet,
) -> Aims {
    let known = match (name, revision) {
        ("MARK", 2) => mark(info, packet),
        ("CONNMARK", 1 | 2) => connmark(info, revision, packet),
        ("NOTRACK", 0) => untracks(packet),
        // XT_CT_NOTRACK, and no zone.
        ("CT", 1 | 2) if info.short(0) == Some(1) && info.short(2) == Some(0) => untracks(packet),
        ("REJECT", 0) => rejects(info, ipv6).map(Aims::Rejects),
        named => translates_to(named, info, ipv6).map(Aims::Nat),
    };
    known.unwrap_or(Aims::Unknown)
}

/// What a connection's first packet is to become by a target of NAT; nothing of another.
pub(crate) fn translates_to(
    (name, revision): (&str, u32),
    info: Info<'_>,
    ipv6: bool,
) -> Option<Translates> {
    let (kind, of_range) = match (name, revision) {
        ("DNAT", 1 | 2) => (NatKind::Destination, true),
        ("DNAT", 0) if !ipv6 => (NatKind::Destination, false),
        ("SNAT", 1 | 2) => (NatKind::Source, true),
        ("SNAT", 0) if !ipv6 => (NatKind::Source, false),
        ("MASQUERADE", 0) => (NatKind::Masquerade, ipv6),
        ("REDIRECT", 0) => (NatKind::Redirect, ipv6),
        _ => return None,
    };
    match of_range {
        true => range(info, kind, ipv6),
        false => compat(info, kind),
    }
}

fn stored(stored: Stored) -> Option<Aims> {
    match stored {
        Stored::Done => Some(Aims::Continues),
        Stored::Unknown => None,
    }
}

fn untracks(packet: &mut impl Packet) -> Option<Aims> {
    stored(packet.untrack())
}

fn store(packet: &mut impl Packet, what: &Store, value: u32) -> Option<Aims> {
    let bytes = value.to_ne_bytes().map(crate::Byte::known);
    stored(packet.store(what, &bytes))
}

/// `xt_mark_tginfo2`
fn mark(info: Info<'_>, packet: &mut impl Packet) -> Option<Aims> {
    let (mark, mask) = (info.word(0)?, info.word(4)?);
    let Word::Is(own) = word(packet, &Load::Meta(Meta::Mark)) else {
        return None;
    };
    store(packet, &Store::Meta(Meta::Mark), own & !mask ^ mark)
}

/// `xt_connmark_tginfo1` and, with a shift, `xt_connmark_tginfo2`.
fn connmark(info: Info<'_>, revision: u32, packet: &mut impl Packet) -> Option<Aims> {
    const SET: u8 = 0;
    const SAVE: u8 = 1;
    let (mark, mask, nfmask) = (info.word(0)?, info.word(4)?, info.word(8)?);
    let (left, bits, mode) = match revision {
        1 => (true, 0, info.byte(12)?),
        _ => (info.byte(12)? == 0, info.byte(13)?, info.byte(14)?),
    };
    let key = Ct::Mark;
    let of_it = match word(packet, &Load::Ct { key, reply: None }) {
        // It belongs to no connection.
        Word::None => return Some(Aims::Continues),
        Word::Unknown => return None,
        Word::Is(of_it) => of_it,
    };
    let Word::Is(own) = word(packet, &Load::Meta(Meta::Mark)) else {
        return None;
    };
    let shift = |value: u32| {
        let bits = u32::from(bits);
        let shifted = if left {
            value.checked_shl(bits)
        } else {
            value.checked_shr(bits)
        };
        shifted.unwrap_or(0)
    };
    match mode {
        SET => store(packet, &Store::Ct(key), shift(of_it & !mask ^ mark)),
        SAVE => {
            let saved = of_it & !mask ^ shift(own & nfmask);
            store(packet, &Store::Ct(key), saved)
        }
        _ => {
            let restored = own & !nfmask ^ shift(of_it & mask);
            store(packet, &Store::Meta(Meta::Mark), restored)
        }
    }
}

/// `ipt_reject_info`, `ip6t_reject_info`
fn rejects(info: Info<'_>, ipv6: bool) -> Option<Reject> {
    Some(match (info.word(0)?, ipv6) {
        (7, false) | (6, true) => Reject::Reset,
        (code @ 0..=3, false) => Reject::Unreachable(code as u8),
        (5, false) => Reject::Unreachable(9),
        (6, false) => Reject::Unreachable(10),
        (8, false) => Reject::Unreachable(13),
        (code @ 0..=4, true) => Reject::Unreachable(code as u8),
        (7, true) => Reject::Unreachable(5),
        (8, true) => Reject::Unreachable(6),
        _ => return None,
    })
}

/// NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED.
const ADDRESSES: u32 = 1;
const PORTS: u32 = 2;

/// `nf_nat_range`, `nf_nat_range2`
fn range(info: Info<'_>, kind: NatKind, ipv6: bool) -> Option<Translates> {
    let length = if ipv6 { 16 } else { 4 };
    translates(info, kind, (info.word(0)?, length), [4, 20, 36, 38])
}

/// `nf_nat_ipv4_multi_range_compat`, of one range.
fn compat(info: Info<'_>, kind: NatKind) -> Option<Translates> {
    translates(info, kind, (info.word(4)?, 4), [8, 12, 16, 18])
}

fn translates(
    info: Info<'_>,
    kind: NatKind,
    (flags, length): (u32, usize),
    [least, most, first, last]: [usize; 4],
) -> Option<Translates> {
    let pair = |least, most, length| info.bytes(least, length).zip(info.bytes(most, length));
    let has = |flag: u32| flags & flag != 0;
    let named = matches!(kind, NatKind::Source | NatKind::Destination);
    let addresses = match has(ADDRESSES) && named {
        true => Some(pair(least, most, length)?),
        false => None,
    };
    let ports = match has(PORTS) {
        true => Some(pair(first, last, 2)?),
        false => None,
    };
    Some(Translates {
        kind,
        addresses,
        ports,
        flags,
    })
}
