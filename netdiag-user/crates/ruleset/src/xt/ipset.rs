//! `-m set` (net/netfilter/xt_set.c): whether a packet is in a set of ipset(8), by its source or its destination for each
//! of the set's parts.
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netdiag_model::world::ruleset::{Base, Ipset, IpsetEntry, IpsetPart, Load, Meta};

use super::Info;
use crate::{Byte, Loaded, Packet, Three};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// SCTP and UDP-Lite.
const WITH_PORTS: [u8; 4] = [TCP, UDP, 132, 136];
/// NFPROTO_IPV6
const SIX: u8 = 10;

/// What the packet has for one part of a set.
enum Own {
    Address(IpAddr),
    Port { protocol: u8, port: u16 },
}

/// Why there is no answer.
enum Lacks {
    /// The packet has none, and is in no set.
    Nothing,
    Unknown,
}

/// What a rule asks of a set: `xt_set_info_match_v1`, `…_v3` and `…_v4`.
pub struct Asks {
    pub index: u16,
    dimension: u8,
    flags: u8,
}

impl Asks {
    /// None where more is asked than whether a packet is in it.
    pub fn of(info: Info<'_>, revision: u32) -> Option<Self> {
        /// IPSET_RETURN_NOMATCH
        const NOMATCH: u8 = 1 << 7;
        let (index, dimension, flags) = (info.short(0)?, info.byte(2)?, info.byte(3)?);
        // Counters of entries that are held against numbers, and what is asked beside.
        let rest = info.0.get(4..).unwrap_or_default();
        let alone = flags & NOMATCH == 0 && (revision <= 2 || rest.iter().all(|byte| *byte == 0));
        alone.then_some(Self {
            index,
            dimension,
            flags,
        })
    }

    /// IPSET_INV_MATCH
    pub fn inverts(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether that part, counted from 0, is held against the source (IPSET_DIM_ONE_SRC and those behind).
    pub fn of_source(&self, part: usize) -> bool {
        // A recording may have any number of parts.
        let bit = u32::try_from(part + 1).ok();
        let bits = bit.and_then(|bit| self.flags.checked_shr(bit));
        bits.is_some_and(|bits| bits & 1 != 0)
    }

    /// Whether packets of that family may be in it.
    pub fn fits(&self, set: &Ipset, ipv6: bool) -> bool {
        usize::from(self.dimension) >= set.parts.len() && set.ipv6.is_none_or(|of| of == ipv6)
    }
}

pub fn holds(info: Info<'_>, revision: u32, packet: &impl Packet) -> Option<Three> {
    let asks = Asks::of(info, revision)?;
    let set = packet.ipsets().iter().find(|set| set.index == asks.index)?;
    let is_in = has(set, &asks, packet)?;
    Some(is_in.unless(asks.inverts()))
}

fn has(set: &Ipset, asks: &Asks, packet: &impl Packet) -> Option<Three> {
    let ipv6 = match packet.load(&Load::Meta(Meta::Family)) {
        Loaded::Is(bytes) => bytes.first()?.get()? == SIX,
        _ => return None,
    };
    if !asks.fits(set, ipv6) {
        return Some(Three::No);
    }
    if set.partly {
        return None;
    }
    let mut own = Vec::new();
    for (at, part) in set.parts.iter().enumerate() {
        let source = asks.of_source(at);
        let found = match part {
            IpsetPart::Address => address(packet, ipv6, source),
            IpsetPart::Port => port(packet, source),
        };
        match found {
            Ok(one) => own.push(one),
            Err(Lacks::Nothing) => return Some(Three::No),
            Err(Lacks::Unknown) => return None,
        }
    }
    // The narrowest decides (`mtype_test_cidrs`).
    let entries = set.entries.iter().filter(|entry| fits(entry, &own));
    let narrowest = entries.max_by_key(|entry| {
        let lengths = entry.networks.iter().map(|(_, length)| *length);
        lengths.collect::<Vec<u8>>()
    });
    Some(Three::of(narrowest.is_some_and(|entry| !entry.nomatch)))
}

fn fits(entry: &IpsetEntry, own: &[Own]) -> bool {
    let mut networks = entry.networks.iter();
    own.iter().all(|one| match one {
        Own::Address(address) => networks
            .next()
            .is_some_and(|(network, length)| cut(*address, *length) == cut(*network, *length)),
        Own::Port { protocol, port } => match entry.protocol {
            Some(of) => of == *protocol && entry.port == Some(*port),
            // `bitmap:port` (`ip_set_get_ip_port`).
            None => [TCP, UDP].contains(protocol) && entry.port == Some(*port),
        },
    })
}

/// The address's first bits.
fn cut(address: IpAddr, length: u8) -> (bool, u128) {
    let (bits, all, ipv6) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, false),
        IpAddr::V6(v6) => (u128::from(v6), 128, true),
    };
    let rest = all - u32::from(length).min(all);
    (ipv6, bits.checked_shr(rest).unwrap_or(0))
}

fn loaded(packet: &impl Packet, what: Load) -> Result<Vec<u8>, Lacks> {
    let bytes = match packet.load(&what) {
        Loaded::Is(bytes) => bytes,
        Loaded::None => return Err(Lacks::Nothing),
        Loaded::Unknown => return Err(Lacks::Unknown),
    };
    let known: Option<Vec<u8>> = bytes.iter().map(|byte: &Byte| byte.get()).collect();
    known.ok_or(Lacks::Unknown)
}

fn address(packet: &impl Packet, ipv6: bool, source: bool) -> Result<Own, Lacks> {
    let (offset, length) = match (ipv6, source) {
        (false, true) => (12, 4),
        (false, false) => (16, 4),
        (true, true) => (8, 16),
        (true, false) => (24, 16),
    };
    let load = Load::Payload {
        base: Base::Network,
        offset,
        length,
    };
    let bytes = loaded(packet, load)?;
    let four = || <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from);
    let six = || {
        <[u8; 16]>::try_from(bytes.as_slice())
            .ok()
            .map(IpAddr::from)
    };
    let address = if ipv6 { six() } else { four() };
    address.map(Own::Address).ok_or(Lacks::Unknown)
}

/// `ip_set_get_ip4_port`, `ip_set_get_ip6_port`
fn port(packet: &impl Packet, source: bool) -> Result<Own, Lacks> {
    let protocol = loaded(packet, Load::Meta(Meta::L4Protocol))?;
    let protocol = *protocol.first().ok_or(Lacks::Unknown)?;
    let offset = match protocol {
        of if WITH_PORTS.contains(&of) => {
            if source {
                0
            } else {
                2
            }
        }
        ICMP | ICMP6 => 0,
        _ => return Ok(Own::Port { protocol, port: 0 }),
    };
    let load = Load::Payload {
        base: Base::Transport,
        offset,
        length: 2,
    };
    let bytes = loaded(packet, load)?;
    let port = <[u8; 2]>::try_from(bytes.as_slice()).map_err(|_| Lacks::Unknown)?;
    let port = u16::from_be_bytes(port);
    Ok(Own::Port { protocol, port })
}
