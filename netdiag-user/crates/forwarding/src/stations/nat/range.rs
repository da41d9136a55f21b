//! What a rule that translates names: addresses and ports of which a connection gets one.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_ruleset::{Byte, Translates};

use crate::{connection::Ports, way::Unknown};

/// NF_NAT_RANGE_…
const RANDOM: u32 = 1 << 2;
const FULLY_RANDOM: u32 = 1 << 4;
const OFFSET: u32 = 1 << 5;
const NETMAP: u32 = 1 << 6;

/// What a connection may become: its address, one from the first to the last, and the ports of which it gets one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub addresses: Option<(IpAddr, IpAddr)>,
    pub ports: Option<Ports>,
    /// Of ports, any is taken that is free.
    pub random: bool,
}

pub(super) fn alone(address: IpAddr) -> (IpAddr, IpAddr) {
    (address, address)
}

/// The addresses that a rule names, from the first to the last, if any; of a network of as many the one that is in the same
/// place there (`nft_nat_setup_netmap`).
pub(super) fn addresses(of: &Translates, own: IpAddr) -> Result<Option<(IpAddr, IpAddr)>, Unknown> {
    let Some((least, most)) = &of.addresses else {
        return Ok(None);
    };
    let read = |bytes: &[Byte]| -> Option<IpAddr> {
        let length = if own.is_ipv6() { 16 } else { 4 };
        let bytes: Option<Vec<u8>> = bytes.get(..length)?.iter().map(|byte| byte.get()).collect();
        of_bits(
            bytes?
                .iter()
                .fold(0, |bits, byte| bits << 8 | u128::from(*byte)),
            own,
        )
    };
    let (least, most) = read(least).zip(read(most)).ok_or(Unknown::Undecided)?;
    if of.flags & NETMAP == 0 {
        return Ok(Some((least, most)));
    }
    let fixed = !(bits(least) ^ bits(most));
    let there = of_bits(bits(own) & !fixed | bits(least) & fixed, own);
    Ok(there.map(alone))
}

pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Of the same family as another.
pub(super) fn of_bits(bits: u128, like: IpAddr) -> Option<IpAddr> {
    Some(match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(bits & u128::from(u32::MAX)).ok()?).into(),
        IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
    })
}

pub(super) fn ranged(
    of: &Translates,
    addresses: Option<(IpAddr, IpAddr)>,
) -> Result<Range, Unknown> {
    if of.flags & OFFSET != 0 {
        return Err(Unknown::NotModelled("ports moved by an offset".into()));
    }
    let port = |bytes: &[Byte]| -> Option<u16> {
        let [high, low] = bytes.first_chunk::<2>()?;
        Some(u16::from_be_bytes([high.get()?, low.get()?]))
    };
    let ports = match &of.ports {
        None => None,
        Some((least, most)) => {
            let both = port(least).zip(port(most));
            let (one, other) = both.ok_or(Unknown::Undecided)?;
            Some(Ports {
                least: one.min(other),
                most: one.max(other),
                choice: 0,
            })
        }
    };
    Ok(Range {
        addresses,
        ports,
        random: of.flags & (RANDOM | FULLY_RANDOM) != 0,
    })
}
