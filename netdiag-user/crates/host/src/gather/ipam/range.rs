//! A range of addresses as host-local completes it (backend/allocator/range.go): from the first
//! address of the subnet to the last but the broadcast, the gateway left out.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use crate::model::address::Prefix;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: IpAddr,
    pub last: IpAddr,
    gateway: IpAddr,
}

/// The same as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    pub subnet: Option<String>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl Written {
    pub fn of_subnet(subnet: &str) -> Self {
        Self {
            subnet: Some(subnet.to_owned()),
            ..Self::default()
        }
    }

    pub fn range(&self) -> Option<Range> {
        let subnet: Prefix = self.subnet.as_deref()?.parse().ok()?;
        let (network, last) = ends(&subnet);
        let next = plus(network, 1);
        Some(Range {
            first: self.range_start.unwrap_or(next),
            last: self.range_end.unwrap_or(last),
            gateway: self.gateway.unwrap_or(next),
        })
    }
}

impl Range {
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    pub fn capacity(&self) -> u128 {
        let all = bits(self.last).saturating_sub(bits(self.first));
        let all = all.saturating_add(1);
        all - u128::from(self.contains(self.gateway) && all > 0)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn plus(address: IpAddr, n: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(n)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(n.into())).into(),
    }
}

/// The subnet's own address, and its last one that a host may have.
fn ends(subnet: &Prefix) -> (IpAddr, IpAddr) {
    let length = u32::from(subnet.length);
    match subnet.address {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let (network, last) = (v4.to_bits() & !hosts, v4.to_bits() | hosts);
            let last = last.saturating_sub(1);
            (
                Ipv4Addr::from_bits(network).into(),
                Ipv4Addr::from_bits(last).into(),
            )
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            let (network, last) = (v6.to_bits() & !hosts, v6.to_bits() | hosts);
            (
                Ipv6Addr::from_bits(network).into(),
                Ipv6Addr::from_bits(last).into(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        let written: Written = serde_json::from_str(text).expect("valid");
        written.range().expect("a range")
    }

    #[test]
    fn a_bare_subnet_is_completed() {
        let all = range(r#"{"subnet":"10.1.2.0/29"}"#);
        assert_eq!(all.last, IpAddr::from([10, 1, 2, 6]));
        assert_eq!(all.capacity(), 5, "without the gateway");
        assert!(!all.contains(IpAddr::from([10, 1, 2, 7])));
        let flannels = range(r#"{"subnet":"10.1.2.1/29"}"#);
        assert_eq!(flannels, all);
    }

    #[test]
    fn a_gateway_outside_takes_no_address() {
        let text = r#"{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.10","rangeEnd":"10.1.2.11"}"#;
        assert_eq!(range(text).capacity(), 2);
        assert_eq!(
            range(r#"{"subnet":"fd00::/64"}"#).capacity(),
            u128::from(u64::MAX) - 1
        );
        assert_eq!(range(r#"{"subnet":"::/0"}"#).capacity(), u128::MAX - 1);
    }
}
