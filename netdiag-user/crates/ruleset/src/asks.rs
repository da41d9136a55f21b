//! What one rule asks of packets, as far as rules are told apart by it.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::{
    address::Prefix,
    gather::{Asks, Whom},
    netfilter::Family,
    world::ruleset::{Base, Compare, Ct, Data, Expression, Load, Meta, Reg},
};

use crate::{
    leads::field::{Field, field},
    xt::{Info, conntrack, multiport_ranges},
};

/// NF_CT_STATE_INVALID_BIT, in the word that rules see and in what iptables' `state` is given.
const INVALID: u32 = 1;
/// NFPROTO_IPV6
const SIX: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of iptables' ICMP match.
const ANY: u8 = 0xff;

/// What a register has: of a packet, as masked; or something else.
type Loaded<'r> = (Reg, Option<(&'r Load, Option<&'r [u8]>)>);

/// Of a table of that family.
pub fn asks(family: Family, rule: &[Expression]) -> Asks {
    let mut asks = Asks::default();
    let mut ipv6 = match family {
        Family::Ip => Some(false),
        Family::Ip6 => Some(true),
        _ => None,
    };
    let mut loaded: Vec<Loaded<'_>> = Vec::new();
    for expression in rule {
        let of = |reg: &Reg| loaded.iter().rev().find(|(at, _)| at == reg)?.1;
        match expression {
            Expression::Load(load, to) => loaded.push((*to, Some((load, None)))),
            Expression::Masks { from, to, mask, .. } => {
                let of = of(from).map(|(load, _)| (load, Some(mask.as_slice())));
                loaded.push((*to, of));
            }
            Expression::Compare { how, reg, with } => {
                if let Some((load, mask)) = of(reg) {
                    if matches!(load, Load::Meta(Meta::Family)) {
                        ipv6 = Some(with.first() == Some(&SIX));
                    }
                    let is = field(load, ipv6);
                    compared(&mut asks, (is, load, mask), *how, with);
                }
            }
            Expression::Range {
                outside,
                reg,
                from,
                to,
            } => {
                if let Some((load, None)) = of(reg) {
                    within(&mut asks, (field(load, ipv6), load), (from, to), *outside);
                }
            }
            Expression::Lookup { reg, to, .. } => {
                if let Some((load, _)) = of(reg) {
                    within(&mut asks, (field(load, ipv6), load), (&[], &[]), false);
                }
                loaded.extend(to.map(|to| (to, None)));
            }
            Expression::Sets(Data::Value(_), to)
            | Expression::Chooses { to, .. }
            | Expression::Calculates { to, .. } => loaded.push((*to, None)),
            Expression::Orders(order) => loaded.push((order.to, None)),
            // Whatever it may have written where.
            Expression::Opaque(_) => loaded.clear(),
            Expression::Reject(_) => asks.rejects = true,
            Expression::Xtables {
                target: true, name, ..
            } => asks.rejects |= name == "REJECT",
            Expression::Xtables {
                target: false,
                name,
                revision,
                info,
            } => {
                matched(&mut asks, (name, *revision), Info(info));
            }
            _ => {}
        }
    }
    asks
}

fn compared(
    asks: &mut Asks,
    (is, load, mask): (Field, &Load, Option<&[u8]>),
    how: Compare,
    with: &[u8],
) {
    let other = how == Compare::Unequal;
    let most = vec![0xff; with.len()];
    let least = vec![0; with.len()];
    match (is, how) {
        (Field::Source | Field::Destination, Compare::Equal | Compare::Unequal) => {
            let whom = whom(load, mask, with, other);
            put(asks, is, whom);
        }
        (Field::OfConnection, _) if matches!(load, Load::Ct { key: Ct::State, .. }) => {
            let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u32::from_ne_bytes(*word));
            asks.invalid = match (mask.and_then(word), word(with), other) {
                (Some(mask), Some(0), true) => mask == INVALID,
                (None, Some(INVALID), false) => true,
                _ => asks.invalid,
            };
        }
        _ if mask.is_some() => {}
        (_, Compare::Less | Compare::LessOrEqual) => {
            within(asks, (is, load), (&least, with), false)
        }
        (_, Compare::Greater | Compare::GreaterOrEqual) => {
            within(asks, (is, load), (with, &most), false)
        }
        (_, Compare::Equal | Compare::Unequal) => within(asks, (is, load), (with, with), other),
    }
}

fn within(asks: &mut Asks, (is, load): (Field, &Load), (from, to): (&[u8], &[u8]), other: bool) {
    let port = |bytes: &[u8]| bytes.first_chunk().map(|port| u16::from_be_bytes(*port));
    let source_port = Load::Payload {
        base: Base::Transport,
        offset: 0,
        length: 2,
    };
    match is {
        Field::Source | Field::Destination => put(asks, is, Some(Whom::Some)),
        // Every packet of one family is of an Ethernet type.
        Field::Family | Field::EtherType | Field::OfConnection => {}
        _ if other => asks.negated = true,
        Field::Protocol if from == to => asks.protocol = from.first().copied().or(asks.protocol),
        Field::Port => asks.ports = narrowed(asks.ports, port(from).zip(port(to))),
        _ if *load == source_port => {
            asks.source_ports = narrowed(asks.source_ports, port(from).zip(port(to)));
        }
        _ => {
            let first = |length| {
                *load
                    == Load::Payload {
                        base: Base::Transport,
                        offset: 0,
                        length,
                    }
            };
            if (first(1) || first(2))
                && from == to
                && asks.protocol.is_some_and(|of| ![TCP, UDP].contains(&of))
            {
                asks.icmp = from.first().copied();
            }
        }
    }
}

/// What both say: of what is compared with its least and its most, one after the other.
fn narrowed(own: Option<(u16, u16)>, new: Option<(u16, u16)>) -> Option<(u16, u16)> {
    match (own, new) {
        (Some(own), Some(new)) => Some((own.0.max(new.0), own.1.min(new.1))),
        (own, new) => new.or(own),
    }
}

fn put(asks: &mut Asks, is: Field, whom: Option<Whom>) {
    let place = match is {
        Field::Source => &mut asks.sources,
        _ => &mut asks.destinations,
    };
    *place = whom.or(*place);
}

/// Nothing for what is everybody.
fn whom(load: &Load, mask: Option<&[u8]>, with: &[u8], other: bool) -> Option<Whom> {
    let ipv6 = matches!(load, Load::Payload { offset: 8 | 24, .. });
    let length = match mask {
        None => with.len().min(16) as u8 * 8,
        Some(mask) => prefix(mask)?,
    };
    let address = address(with, ipv6);
    (length > 0).then_some(match other {
        true => Whom::AllBut(Prefix { address, length }),
        false => Whom::These(Prefix { address, length }),
    })
}

/// Bits of a mask that has no holes.
fn prefix(mask: &[u8]) -> Option<u8> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let whole = mask.iter().enumerate().all(|(at, byte)| {
        let left = ones.saturating_sub(at as u32 * 8).min(8);
        *byte == (0xff00_u16 >> left) as u8
    });
    whole.then_some(ones as u8)
}

fn address(bytes: &[u8], ipv6: bool) -> IpAddr {
    let mut all = [0; 16];
    all.iter_mut()
        .zip(bytes)
        .for_each(|(place, byte)| *place = *byte);
    match ipv6 {
        true => Ipv6Addr::from(all).into(),
        false => Ipv4Addr::new(all[0], all[1], all[2], all[3]).into(),
    }
}

fn matched(asks: &mut Asks, (name, revision): (&str, u32), info: Info<'_>) {
    let _ = match (name, revision) {
        ("tcp", 0) => ports(asks, info, (TCP, 11)),
        ("udp", 0) => ports(asks, info, (UDP, 8)),
        ("multiport", 1) => multiport(asks, info),
        ("conntrack", 1..=3) => conntrack::only_states(info).map(|states| {
            asks.invalid = u32::from(states) == INVALID;
        }),
        ("state", 0) => info.word(0).map(|states| asks.invalid = states == INVALID),
        ("icmp" | "icmp6", 0) => info.byte(0).map(|kind| {
            asks.icmp = (kind != ANY || name == "icmp6").then_some(kind);
            asks.negated |= info.byte(3) == Some(1);
        }),
        ("iprange", 1) => info.byte(64).map(|flags| {
            asks.sources = (flags & 1 != 0).then_some(Whom::Some).or(asks.sources);
            asks.destinations = (flags & 2 != 0).then_some(Whom::Some).or(asks.destinations);
        }),
        // IPSET_DIM_ONE_SRC: a set of ports is for everybody.
        ("set", 1..) => info.byte(3).map(|flags| match flags & 2 != 0 {
            true => asks.sources = Some(Whom::Some),
            false => asks.destinations = Some(Whom::Some),
        }),
        _ => None,
    };
}

/// `xt_tcp`, `xt_udp`
fn ports(asks: &mut Asks, info: Info<'_>, (protocol, inverts): (u8, usize)) -> Option<()> {
    asks.protocol = Some(protocol);
    let inverts = info.byte(inverts)?;
    asks.negated |= inverts != 0;
    let range = |at| Some((info.short(at)?, info.short(at + 2)?));
    let some = |range: &(u16, u16)| *range != (0, u16::MAX);
    if inverts & 1 == 0 {
        asks.source_ports = range(0).filter(some).or(asks.source_ports);
    }
    if inverts & 2 == 0 {
        asks.ports = range(4).filter(some).or(asks.ports);
    }
    Some(())
}

fn multiport(asks: &mut Asks, info: Info<'_>) -> Option<()> {
    let (side, invert, ranges) = multiport_ranges(info)?;
    // From the least of them to the greatest.
    let least = ranges.iter().map(|range| range.0).min()?;
    let most = ranges.iter().map(|range| range.1).max()?;
    match (side, invert) {
        (0, false) => asks.source_ports = Some((least, most)),
        (1, false) => asks.ports = Some((least, most)),
        _ => asks.negated = true,
    }
    Some(())
}
