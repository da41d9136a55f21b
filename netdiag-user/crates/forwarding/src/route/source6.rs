//! Which of a namespace's IPv6 addresses speaks where nobody chose (RFC 6724; net/ipv6/addrconf.c,
//! `ipv6_get_saddr_eval`).
use std::net::{IpAddr, Ipv6Addr};

use netdiag_model::world::{
    address::{Address, Flags},
    device::Device,
};

use super::v6::is_assigned;
use crate::{prepared::Space, way::Unknown};

/// Scopes as RFC 4291 numbers them.
const LINK_LOCAL: i32 = 2;
const SITE_LOCAL: i32 = 5;
const GLOBAL: i32 = 14;

/// How well an address serves, the rules one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    same: bool,
    scope: i32,
    preferred: bool,
    outgoing: bool,
    label: bool,
    prefix: u8,
}

impl<'w> Space<'w> {
    /// For a destination, by the device that the packets will leave by where that is known.
    pub fn select_source6(
        &self,
        device: Option<&'w Device>,
        to: IpAddr,
    ) -> Result<Option<IpAddr>, Unknown> {
        let IpAddr::V6(to) = to else {
            return Ok(None);
        };
        let narrow = to.is_multicast() || scope(to) <= LINK_LOCAL;
        let own_alone = match device {
            Some(device) => {
                let conf = self.conf6(device)?;
                narrow || conf.is_some_and(|conf| conf.device.use_oif_addrs_only)
            }
            None => false,
        };
        let mut best: Option<(Score, IpAddr)> = None;
        for address in self.candidates()? {
            let other = device.is_some_and(|device| device.index != address.device);
            let IpAddr::V6(own) = address.own.address else {
                continue;
            };
            if own_alone && other {
                continue;
            }
            let score = score(address, own, to, !other);
            // Of equals the first stays.
            if best.is_none_or(|(so_far, _)| score > so_far) {
                best = Some((score, own.into()));
            }
        }
        Ok(best.map(|(_, address)| address))
    }

    fn candidates(&self) -> Result<impl Iterator<Item = &'w Address>, Unknown> {
        self.addresses()?;
        let all = self.listed.addresses(true);
        Ok(all.filter(|a| is_assigned(a.flags)))
    }
}

fn score(address: &Address, own: Ipv6Addr, to: Ipv6Addr, outgoing: bool) -> Score {
    /// Any smaller scope than is needed is worse than any that is wide enough.
    const TOO_SMALL: i32 = 128;
    let (has, needs) = (scope(own), scope(to));
    let avoided = address.flags.has(Flags::DEPRECATED);
    Score {
        same: own == to,
        scope: match has >= needs {
            true => -has,
            false => has - TOO_SMALL,
        },
        preferred: own.is_loopback() || !avoided,
        outgoing,
        label: label(own) == label(to),
        prefix: common(own, to).min(address.own.length),
    }
}

fn scope(address: Ipv6Addr) -> i32 {
    match address.segments()[0] {
        first if first >> 8 == 0xff => i32::from(first & 0xf),
        first if first & 0xffc0 == 0xfe80 => LINK_LOCAL,
        first if first & 0xffc0 == 0xfec0 => SITE_LOCAL,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// The kernel's own table (net/ipv6/addrlabel.c); `ip addrlabel` may change it, which nobody does.
fn label(address: Ipv6Addr) -> u8 {
    let bits = u128::from(address);
    let within = |network: u128, length: u32| bits >> (128 - length) == network >> (128 - length);
    match () {
        () if address.is_loopback() => 0,
        () if within(0x2001_0010 << 96, 28) => 7,
        () if within(0xffff_0000_0000, 96) => 4,
        () if within(0, 96) => 3,
        () if within(0x2001 << 112, 32) => 6,
        () if within(0x2002 << 112, 16) => 2,
        () if within(0xfc << 120, 7) => 5,
        () => 1,
    }
}

fn common(one: Ipv6Addr, other: Ipv6Addr) -> u8 {
    (u128::from(one) ^ u128::from(other)).leading_zeros() as u8
}

#[cfg(test)]
mod tests {
    use netdiag_model::{
        address::Prefix,
        world::address::{Address, Scope},
    };

    use super::*;

    fn of(own: &str, length: u8, flags: u32) -> Address {
        Address {
            device: 2,
            own: Prefix {
                address: own.parse().expect("an address"),
                length,
            },
            peer: None,
            broadcast: None,
            scope: Scope::UNIVERSE,
            flags: Flags(flags),
        }
    }

    fn better(one: (&str, u8, u32), other: (&str, u8, u32), to: &str) -> bool {
        let to: Ipv6Addr = to.parse().expect("an address");
        let [one, other] = [one, other].map(|(own, length, flags)| {
            let own6 = own.parse().expect("an address");
            score(&of(own, length, flags), own6, to, true)
        });
        one > other
    }

    /// Examples of RFC 6724, 10.1.
    #[test]
    fn as_the_rfc_says() {
        let to = "2001:db8:1::1";
        assert!(better(("2001:db8:3::1", 64, 0), ("fe80::1", 64, 0), to));
        let deprecated = ("2001:db8:1::2", 64, Flags::DEPRECATED);
        assert!(better(("2001:db8:3::1", 64, 0), deprecated, to));
        assert!(better(
            ("2001:db8:1::2", 64, 0),
            ("2001:db8:3::2", 64, 0),
            to
        ));
        assert!(better(("2001:db8:3::2", 64, 0), ("fd00::2", 64, 0), to));
        assert!(better(
            ("fd00::2", 64, 0),
            ("2001:db8:3::2", 64, 0),
            "fd77::1"
        ));
    }
}
