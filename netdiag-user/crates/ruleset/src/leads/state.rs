//! A packet's way through one rule: what of it is said, and what registers have.
use netdiag_model::world::ruleset::{Load, Reg, Set};

use super::{
    field::{Field, field, length},
    packets::Packets,
};

const WORD: u8 = 4;

/// What a register has.
#[derive(Clone, Copy)]
pub enum Has<'r> {
    /// Of the packet, as masked.
    Loaded(&'r Load, Option<(&'r [u8], &'r [u8])>),
    Is(&'r [u8]),
    /// One of several, by chance.
    Chosen,
    Unknown,
}

#[derive(Clone)]
pub struct State<'r> {
    pub packets: Packets,
    pub registers: Vec<(u8, Has<'r>)>,
    pub comment: Option<&'r str>,
}

impl<'r> State<'r> {
    pub fn get(&self, reg: Reg) -> Has<'r> {
        let own = self.registers.iter().rev().find(|(at, _)| *at == reg.0);
        own.map_or(Has::Unknown, |(_, has)| *has)
    }

    pub fn bytes(&self, reg: Reg) -> Option<&'r [u8]> {
        match self.get(reg) {
            Has::Is(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn put(&mut self, reg: Reg, has: Has<'r>) {
        self.registers.push((reg.0, has));
        if let Has::Is(bytes) = has {
            let words = bytes.chunks(usize::from(WORD)).enumerate().skip(1);
            for (at, _) in words {
                let from = at * usize::from(WORD);
                let reg = reg.0.saturating_add(from as u8);
                self.registers.push((reg, Has::Is(&bytes[from..])));
            }
        }
    }

    /// Of a key in registers where each part begins, how long it is, and what it is: the kernel tells the parts of some
    /// sets alone.
    pub fn parts(&self, reg: Reg, set: &Set) -> Vec<(usize, usize, Has<'r>)> {
        let whole = set
            .parts
            .iter()
            .map(|part| usize::from(part.next_multiple_of(WORD)));
        let whole: usize = whole.sum();
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < whole {
            let has = self.get(Reg(reg.0.saturating_add(at as u8)));
            let length = match (has, set.parts.as_slice()) {
                (Has::Loaded(load, _), _) if length(load).is_some() => length(load),
                (_, [one]) if at == 0 => Some(usize::from(*one)),
                _ => None,
            };
            let length = length.unwrap_or(usize::from(WORD));
            let length = length.clamp(1, whole - at);
            parts.push((at, length, has));
            at += length.next_multiple_of(usize::from(WORD));
        }
        parts
    }
}

/// Those that have it in a register; without a range those that have something else there.
pub fn asks<'r>(
    mut state: State<'r>,
    reg: Reg,
    range: Option<(&[u8], &[u8])>,
) -> Option<State<'r>> {
    let (load, masks) = match state.get(reg) {
        Has::Loaded(load, masks) => (load, masks),
        Has::Is(bytes) => {
            let holds = range.is_none_or(|(from, till)| from <= bytes && bytes <= till);
            return holds.then_some(state);
        }
        Has::Chosen | Has::Unknown => return Some(state),
    };
    let packets = state.packets;
    let narrowed = match (field(load, packets.ipv6), range) {
        (Field::Source, _) => Some(Packets {
            some_sources: true,
            ..packets
        }),
        (Field::OfConnection, _) => Some(packets),
        (Field::Destination, Some(range)) => destination(packets, load, masks, range),
        (Field::Protocol, Some(([one], [other]))) if one == other && masks.is_none() => {
            packets.of_protocol(*one)
        }
        (Field::Port, Some((from, till))) if masks.is_none() => match (from, till) {
            ([a, b], [c, d]) => {
                packets.to_ports((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
            }
            _ => return None,
        },
        (Field::Family, Some(([one, ..], _))) => match one {
            2 => packets.of(false),
            10 => packets.of(true),
            _ => None,
        },
        (Field::EtherType, Some(([one, other, ..], _))) => match u16::from_be_bytes([*one, *other])
        {
            0x0800 => packets.of(false),
            0x86dd => packets.of(true),
            _ => None,
        },
        (Field::Mark, Some((from, till))) if from == till => {
            let bits = word(from).unwrap_or(0);
            Some(Packets {
                marked: packets.marked | bits,
                ..packets
            })
        }
        _ => Some(packets),
    };
    state.packets = narrowed?;
    Some(state)
}

fn destination(
    packets: Packets,
    load: &Load,
    masks: Option<(&[u8], &[u8])>,
    (from, till): (&[u8], &[u8]),
) -> Option<Packets> {
    let whole = match load {
        Load::Payload { offset: 24, .. } => 16,
        _ => 4,
    };
    let (mut first, mut last) = (from.to_vec(), till.to_vec());
    if let Some((mask, _)) = masks {
        last.iter_mut()
            .zip(mask)
            .for_each(|(byte, mask)| *byte |= !mask);
    }
    // A prefix of whole bytes is compared as such.
    first.resize(whole, 0);
    last.resize(whole, 0xff);
    packets.to(&first, &last)
}

pub fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}
