//! Addresses as the kernel side writes them, and prefixes.
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netdiag_common::flow::mapped;
use serde::{Deserialize, Serialize};

/// Sixteen bytes in network order, IPv4 mapped.
pub fn to_wire(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that sixteen wire bytes stand for.
pub fn from_wire(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    match v6.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(v6),
    }
}

/// `ADDRESS:PORT`, brackets around IPv6; the address alone where the port is 0.
pub fn endpoint(address: IpAddr, port: u16) -> String {
    match (address, port) {
        (address, 0) => address.to_string(),
        (IpAddr::V4(v4), port) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), port) => format!("[{v6}]:{port}"),
    }
}

/// The address of `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
pub fn host(endpoint: &str) -> Option<IpAddr> {
    let socket = endpoint.parse().map(|s: SocketAddr| s.ip());
    socket.or_else(|_| endpoint.parse()).ok()
}

/// An address prefix in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    pub fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    pub fn contains(&self, other: IpAddr) -> bool {
        if self.address.is_ipv4() != other.is_ipv4() {
            return false;
        }
        let bits = self.wire_length();
        let (a, b) = (to_wire(self.address), to_wire(other));
        let whole = usize::from(bits / 8);
        let rest = bits % 8;
        a[..whole] == b[..whole] && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0)
    }

    /// Whether a route to it is for the rest of the world: a default route, its two halves that a VPN
    /// lays over it (0.0.0.0/1, 128.0.0.0/1), or all global IPv6 (2000::/3).
    pub fn is_anywhere(&self) -> bool {
        let most = if self.address.is_ipv4() { 1 } else { 3 };
        self.length <= most
    }

    /// Prefix length within the sixteen wire bytes.
    pub fn wire_length(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 96 + self.length.min(32),
            IpAddr::V6(_) => self.length.min(128),
        }
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    /// `ADDRESS` or `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is neither an address nor a prefix like 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            None => return Ok(Self::host(text.parse().map_err(|_| bad())?)),
            Some(parts) => parts,
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length: u8 = length.parse().map_err(|_| bad())?;
        if length > Self::host(address).length {
            return Err(bad());
        }
        Ok(Self { address, length })
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A link-layer address as people write it.
pub fn mac(lladdr: &[u8]) -> String {
    let bytes: Vec<_> = lladdr.iter().map(|b| format!("{b:02x}")).collect();
    bytes.join(":")
}

/// On one link alone: RFC 3927, RFC 4291.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Nobody's in the world: RFC 1918, RFC 6598, RFC 4193.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a, b & 0xc0) == (100, 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_its_own_family_only() {
        let prefix: Prefix = "10.1.128.0/17".parse().expect("valid");
        assert!(prefix.contains("10.1.200.1".parse().expect("valid")));
        assert!(!prefix.contains("10.1.1.1".parse().expect("valid")));
        assert!(!prefix.contains("fd00::1".parse().expect("valid")));
        let all: Prefix = "::/0".parse().expect("valid");
        assert!(all.contains("fd00::1".parse().expect("valid")));
        assert!(!all.contains("10.1.1.1".parse().expect("valid")));
    }

    #[test]
    fn prefixes_longer_than_the_address_are_refused() {
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert!("fd00::/129".parse::<Prefix>().is_err());
        assert!("10.0.0/8".parse::<Prefix>().is_err());
    }
}
