//! `xt_conntrack_mtinfo3` (net/netfilter/xt_conntrack.c).
use netdiag_model::world::ruleset::{Ct, Load};

use super::{Info, Word, word};
use crate::{Byte, Loaded, Packet, Three};

/// XT_CONNTRACK_…
const STATE: u16 = 1;
const PROTOCOL: u16 = 1 << 1;
const STATUS: u16 = 1 << 6;
const EXPIRES: u16 = 1 << 7;
const DIRECTION: u16 = 1 << 12;
/// Of each address, and of each port: which flag, whose it is, and where it stands with its mask or its end.
const ADDRESSES: [(u16, Ct, bool, usize); 4] = [
    (1 << 2, Ct::Source, false, 0),
    (1 << 3, Ct::Destination, false, 32),
    (1 << 4, Ct::Source, true, 64),
    (1 << 5, Ct::Destination, true, 96),
];
const PORTS: [(u16, Ct, bool, (usize, usize)); 4] = [
    (1 << 8, Ct::SourcePort, false, (138, 154)),
    (1 << 9, Ct::DestinationPort, false, (140, 156)),
    (1 << 10, Ct::SourcePort, true, (142, 158)),
    (1 << 11, Ct::DestinationPort, true, (144, 160)),
];
const NUMBER: usize = 136;
const FLAGS: usize = 146;
const INVERTS: usize = 148;
const STATES: usize = 150;
const STATUSES: usize = 152;

fn of(key: Ct, reply: Option<bool>) -> Load {
    Load::Ct { key, reply }
}

/// The states that it asks for, where it asks for nothing else.
pub fn only_states(info: Info<'_>) -> Option<u16> {
    let (flags, inverts) = (info.short(FLAGS)?, info.short(INVERTS)?);
    (flags == STATE && inverts & STATE == 0).then(|| info.short(STATES))?
}

/// Nothing where the structure is another.
pub fn holds(info: Info<'_>, packet: &impl Packet) -> Option<Three> {
    let (flags, inverts) = (info.short(FLAGS)?, info.short(INVERTS)?);
    let mut all = Three::Yes;
    if flags & STATE != 0 {
        let one = state(info.short(STATES)?, packet);
        all = all.and(one.unless(inverts & STATE != 0));
    }
    let tracked = matches!(packet.load(&of(Ct::Direction, None)), Loaded::Is(_));
    if !tracked {
        // Without a connection nothing else is asked.
        return Some(if flags & STATE != 0 { all } else { Three::No });
    }
    if flags & EXPIRES != 0 {
        all = all.and(Three::Maybe);
    }
    if flags & DIRECTION != 0 {
        let original = match packet.load(&of(Ct::Direction, None)) {
            Loaded::Is(bytes) => bytes.first().and_then(|byte| byte.get()).map(|of| of == 0),
            _ => None,
        };
        let one = original.map_or(Three::Maybe, Three::of);
        all = all.and(one.unless(inverts & DIRECTION != 0));
    }
    for (flag, key, reply, at) in ADDRESSES {
        if flags & flag != 0 {
            let one = address(info, packet.load(&of(key, Some(reply))), at)?;
            all = all.and(one.unless(inverts & flag != 0));
        }
    }
    if flags & PROTOCOL != 0 {
        let wanted = info.short(NUMBER)?;
        let one = match packet.load(&of(Ct::Protocol, None)) {
            Loaded::Is(bytes) => match bytes.first().and_then(|byte| byte.get()) {
                Some(own) => Three::of(u16::from(own) == wanted),
                None => Three::Maybe,
            },
            _ => Three::Maybe,
        };
        all = all.and(one.unless(inverts & PROTOCOL != 0));
    }
    for (flag, key, reply, (least, most)) in PORTS {
        if flags & flag != 0 {
            let range = info.short(least)?..=info.short(most)?;
            let one = match packet.load(&of(key, Some(reply))) {
                Loaded::Is(bytes) => match number(&bytes) {
                    Some(port) => Three::of(range.contains(&port)),
                    None => Three::Maybe,
                },
                _ => Three::Maybe,
            };
            all = all.and(one.unless(inverts & flag != 0));
        }
    }
    if flags & STATUS != 0 {
        let one = status(info.short(STATUSES)?, packet);
        all = all.and(one.unless(inverts & STATUS != 0));
    }
    Some(all)
}

/// States as nf_tables numbers them, but for what is not tracked, and two of what is translated.
fn state(wanted: u16, packet: &impl Packet) -> Three {
    const UNTRACKED: (u32, u16) = (1 << 6, 1 << 8);
    const NATTED: [(u32, u16); 2] = [(1 << 4, 1 << 6), (1 << 5, 1 << 7)];
    let Word::Is(own) = word(packet, &of(Ct::State, None)) else {
        return Three::Maybe;
    };
    let (theirs, ours) = UNTRACKED;
    let bit = match own & theirs {
        0 => u16::try_from(own).unwrap_or(0),
        _ => ours,
    };
    let mut any = Three::of(wanted & bit != 0);
    for (theirs, ours) in NATTED {
        if wanted & ours != 0 {
            any = any.or(status_bit(theirs, packet));
        }
    }
    any
}

/// Bits of its status, each as far as it is known.
fn status(wanted: u16, packet: &impl Packet) -> Three {
    let bits = (0..16).map(|bit| 1_u32 << bit);
    let wanted = bits.filter(|bit| u32::from(wanted) & bit != 0);
    wanted
        .map(|bit| status_bit(bit, packet))
        .fold(Three::No, Three::or)
}

fn status_bit(bit: u32, packet: &impl Packet) -> Three {
    let Loaded::Is(bytes) = packet.load(&of(Ct::Status, None)) else {
        return Three::No;
    };
    let zeros = bit.to_ne_bytes().into_iter().zip(&bytes);
    let mut all = zeros.filter(|(mask, _)| *mask != 0);
    let Some((mask, byte)) = all.next() else {
        return Three::Maybe;
    };
    match (byte.has(mask), byte.lacks(mask)) {
        (true, _) => Three::Yes,
        (_, true) => Three::No,
        _ => Three::Maybe,
    }
}

fn number(bytes: &[Byte]) -> Option<u16> {
    let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| byte.get()).collect();
    Some(u16::from_be_bytes(*bytes?.first_chunk()?))
}

/// Whether it is the wanted one, as far as the mask goes.
fn address(info: Info<'_>, own: Loaded, at: usize) -> Option<Three> {
    const LENGTH: usize = 16;
    let Loaded::Is(own) = own else {
        return Some(Three::Maybe);
    };
    for (place, byte) in own.iter().enumerate().take(LENGTH) {
        let (wanted, mask) = (info.byte(at + place)?, info.byte(at + LENGTH + place)?);
        match byte.get() {
            Some(byte) if (byte ^ wanted) & mask != 0 => return Some(Three::No),
            None if mask != 0 => return Some(Three::Maybe),
            _ => {}
        }
    }
    Some(Three::Yes)
}
