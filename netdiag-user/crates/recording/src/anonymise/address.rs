//! Addresses in place of others, so that two of one prefix stay in one prefix.
//!
//! Each bit is flipped or not by a keyed hash of the bits before it (Xu, Fan, Ammar and Moon:
//! Prefix-preserving IP address anonymization, 2002). What an address is by its range stays:
//! loopback, link-local, groups, private. The last eight bits of IPv4 and a short interface id of
//! IPv6 stay too: rules tell networks, gateways and broadcasts by them.
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::model::address::{Prefix, from_wire, to_wire};

/// Tries to find a key by which no address becomes another one's.
const TRIES: usize = 256;

#[derive(Clone, Default)]
pub struct Addresses {
    /// SipHash with a key of this run's own.
    key: RandomState,
}

/// First bits of ranges, and how many: addresses stay in them.
const RANGES_V4: [(u32, u32); 4] = [
    (0x0a00_0000, 8),
    (0x6440_0000, 10),
    (0xac10_0000, 12),
    (0xc0a8_0000, 16),
];
/// Ranges in which they stay what they are: this host, loopback, link-local, groups, reserved.
const FIXED_V4: [(u32, u32); 4] = [
    (0, 8),
    (0x7f00_0000, 8),
    (0xa9fe_0000, 16),
    (0xe000_0000, 3),
];
const RANGES_V6: [(u128, u32); 3] = [(0x2000 << 112, 3), (0xfd00 << 112, 8), (0xfe80 << 112, 64)];
/// Unspecified and loopback; groups; those that ask for one address (RFC 4291 2.7.1) are not.
const FIXED_V6: [(u128, u32); 2] = [(0, 96), (0xff00 << 112, 8)];
const SOLICITED: (u128, u32) = (0xff02_0000_0000_0000_0000_0001_ff00_0000, 104);

impl Addresses {
    /// By a key with which none of these becomes another of them.
    pub fn apart(known: &HashSet<IpAddr>) -> Self {
        let mut keys = (0..TRIES).map(|_| Self::default());
        let apart = |it: &Self| {
            let mut all = known.iter().map(|old| (*old, it.address(*old)));
            all.all(|(old, new)| old == new || !known.contains(&new))
        };
        keys.find(apart).unwrap_or_default()
    }

    pub fn address(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => self.v4(v4).into(),
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), v6.octets()) {
                (Some(v4), _) => self.v4(v4).to_ipv6_mapped().into(),
                // `::10.1.2.3`, as the kernel gives to sit0 (RFC 4291 2.5.5.1).
                (_, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]) if a > 0 => {
                    self.v4([a, b, c, d].into()).to_ipv6_compatible().into()
                }
                _ => self.v6(v6).into(),
            },
        }
    }

    /// What is a network's own address stays one.
    pub fn prefix(&self, prefix: Prefix) -> Prefix {
        let host = |address| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => u128::from(v6),
        };
        let inside = u128::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
        let address = self.address(prefix.address);
        if host(prefix.address) & inside != 0 {
            return Prefix { address, ..prefix };
        }
        let bits = host(address) & !inside;
        let address = match address {
            IpAddr::V4(_) => Ipv4Addr::from((bits >> 96) as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
        };
        Prefix { address, ..prefix }
    }

    pub fn wire(&self, bytes: [u8; 16]) -> [u8; 16] {
        to_wire(self.address(from_wire(bytes)))
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        let bits = u32::from(address);
        let within = |(range, length): &(u32, u32)| (bits ^ range) >> (32 - length) == 0;
        if FIXED_V4.iter().any(within) {
            return address;
        }
        let towards = |at: u32| {
            let mut all = RANGES_V4.iter().chain(&FIXED_V4);
            all.any(|(range, length)| at < *length && first(bits ^ range, at) == 0)
        };
        let mut new = bits;
        for at in 0..24 {
            // The last one always: none stays what it is.
            let flips = at == 23 || !towards(at) && self.flips(4, at, first(bits, at).into());
            new ^= u32::from(flips) << (31 - at);
        }
        new.into()
    }

    fn v6(&self, address: Ipv6Addr) -> Ipv6Addr {
        let bits = u128::from(address);
        let within = |(range, length): &(u128, u32)| (bits ^ range) >> (128 - length) == 0;
        let solicited = within(&SOLICITED);
        if FIXED_V6.iter().any(within) && !solicited {
            return address;
        }
        let towards = |at: u32| {
            let mut all = RANGES_V6.iter().chain(&FIXED_V6);
            all.any(|(range, length)| at < *length && head(bits ^ range, at) == 0)
        };
        // An interface id that begins with zeros was given by hand, or by IPAM.
        let short = |at: u32| {
            let id = (bits << 64).checked_shr(192 - at.min(112));
            at >= 64 && id.unwrap_or(0) == 0
        };
        let mut new = bits;
        for at in if solicited { SOLICITED.1 } else { 0 }..128 {
            let flips = match at {
                _ if !solicited && (towards(at) || short(at)) => false,
                // None stays what it is.
                63 => true,
                _ => self.flips(6, at, head(bits, at)),
            };
            new ^= u128::from(flips) << (127 - at);
        }
        new.into()
    }

    fn flips(&self, family: u8, at: u32, before: u128) -> bool {
        self.key.hash_one((family, at, before)) & 1 == 1
    }

    /// A link-layer address. Groups and what everybody has stay; whether it was given by hand too.
    pub fn mac(&self, mac: [u8; 6]) -> [u8; 6] {
        let everybodys = [[0; 6], [0xee; 6]].contains(&mac);
        // RFC 2464 7, the last bytes of an address.
        let asks = mac[..3] == [0x33, 0x33, 0xff];
        if everybodys || mac[0] & 1 == 1 && !asks {
            return mac;
        }
        let mut new = self.key.hash_one(("mac", mac)).to_be_bytes();
        match asks {
            true => new[..3].copy_from_slice(&mac[..3]),
            false => new[0] = new[0] & !3 | mac[0] & 3,
        }
        [new[0], new[1], new[2], new[3], new[4], new[5]]
    }
}

/// The first `count` bits, all others zero.
fn first(bits: u32, count: u32) -> u32 {
    bits & !u32::MAX.checked_shr(count).unwrap_or(0)
}

fn head(bits: u128, count: u32) -> u128 {
    bits & !u128::MAX.checked_shr(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn common(a: IpAddr, b: IpAddr) -> u32 {
        let bits = |it| u128::from_be_bytes(to_wire(it));
        (bits(a) ^ bits(b)).leading_zeros()
    }

    #[test]
    fn what_an_address_is_stays() {
        let map = Addresses::default();
        for fixed in [
            "0.0.0.0",
            "127.0.0.1",
            "127.0.0.53",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "ff02::16",
            "fe80::1",
        ] {
            assert_eq!(map.address(ip(fixed)), ip(fixed));
        }
        for (old, range) in [
            ("10.1.2.3", "10.0.0.0/8"),
            ("172.20.1.5", "172.16.0.0/12"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("100.64.1.1", "100.64.0.0/10"),
            ("fd12:3456::7", "fd00::/8"),
            ("2001:db8::7", "2000::/3"),
            ("fe80::858:aff:fef4:1401", "fe80::/64"),
            ("ff02::1:ff00:7", "ff02::1:ff00:0/104"),
        ] {
            let range: Prefix = range.parse().expect("a prefix");
            let new = map.address(ip(old));
            assert!(range.contains(new) && new != ip(old), "{old}: {new}");
        }
        for old in ["::10.1.2.3", "::ffff:10.1.2.3"] {
            let [.., a, b, c, d] = to_wire(map.address(ip(old)));
            assert!((a, d) == (10, 3) && (b, c) != (1, 2), "{old}");
        }
        let private: Prefix = "10.0.0.0/8".parse().expect("a prefix");
        assert!(!private.contains(map.address(ip("8.8.8.8"))));
        assert_eq!(
            map.address(ip("203.0.113.255"))
                .to_string()
                .rsplit('.')
                .next(),
            Some("255")
        );
    }

    #[test]
    fn networks_stay_networks() {
        let map = Addresses::default();
        for (prefix, inside) in [
            ("10.244.0.0/16", "10.244.7.9"),
            ("10.96.0.0/12", "10.100.1.1"),
            ("fd00:1:2::/48", "fd00:1:2:3::4"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("192.0.2.7/32", "192.0.2.7"),
        ] {
            let old: Prefix = prefix.parse().expect("a prefix");
            let new = map.prefix(old);
            assert!(new.contains(map.address(ip(inside))), "{prefix}: {new}");
            assert_eq!(new.length, old.length);
        }
        let network = map.prefix("10.244.0.0/16".parse().expect("a prefix"));
        assert!(network.to_string().ends_with(".0.0/16"), "{network}");
    }

    #[test]
    fn link_layer_addresses_stay_of_their_kind() {
        let map = Addresses::default();
        let new = map.mac([2, 1, 2, 3, 4, 5]);
        assert!(new[0] & 3 == 2 && new[1..] != [1, 2, 3, 4, 5]);
        assert_eq!(map.mac([0xff; 6]), [0xff; 6]);
        assert_eq!(map.mac([0x33, 0x33, 0, 0, 0, 1]), [0x33, 0x33, 0, 0, 0, 1]);
        assert_ne!(map.mac([0x33, 0x33, 0xff, 1, 2, 3])[3..], [1, 2, 3]);
    }

    #[test]
    fn none_becomes_another_one() {
        let known: HashSet<IpAddr> = (0..9).map(|n| ip(&format!("192.168.{n}.5"))).collect();
        let map = Addresses::apart(&known);
        assert!(known.iter().all(|old| !known.contains(&map.address(*old))));
    }

    proptest! {
        #[test]
        fn prefixes_are_kept(a in any::<u32>(), b in any::<u32>(), same in 0..33_u32) {
            let map = Addresses::default();
            let b = first(a, same) | b & !first(u32::MAX, same);
            let (a, b) = (IpAddr::from(Ipv4Addr::from(a)), IpAddr::from(Ipv4Addr::from(b)));
            prop_assert_eq!(common(map.address(a), map.address(b)), common(a, b));
        }

        #[test]
        fn prefixes_of_v6_are_kept(a in any::<u128>(), b in any::<u128>(), same in 0..129_u32) {
            let map = Addresses::default();
            // Mostly of the range that is routed.
            let a = if a & 3 == 0 { a } else { (a >> 3) | (1 << 125) };
            let b = head(a, same) | b & !head(u128::MAX, same);
            let (a, b) = (IpAddr::from(Ipv6Addr::from(a)), IpAddr::from(Ipv6Addr::from(b)));
            prop_assert_eq!(common(map.address(a), map.address(b)), common(a, b));
        }
    }
}
