//! Packets, by what rules ask of them.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::netfilter::Family;

/// All packets that have what is said here, and maybe something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packets {
    pub ipv6: Option<bool>,
    /// The first and the last destination.
    pub(super) destinations: Option<(u128, u128)>,
    pub protocol: Option<u8>,
    /// The first and the last destination port.
    pub ports: Option<(u16, u16)>,
    /// Some sources alone.
    pub some_sources: bool,
    /// These bits of their mark are set.
    pub marked: u32,
}

impl Packets {
    pub fn of_family(family: Family) -> Self {
        let ipv6 = match family {
            Family::Ip => Some(false),
            Family::Ip6 => Some(true),
            _ => None,
        };
        Self {
            ipv6,
            ..Self::default()
        }
    }

    /// Where there is but one.
    pub fn destination(&self) -> Option<IpAddr> {
        let (first, last) = self.destinations?;
        (first == last).then(|| address(first, self.ipv6 == Some(true)))
    }

    /// Any destination may be theirs, as far as rules ask for it by itself.
    pub fn to_anywhere(&self) -> bool {
        self.destinations.is_none()
    }

    pub fn port(&self) -> Option<u16> {
        self.ports
            .filter(|(first, last)| first == last)
            .map(|it| it.0)
    }

    /// The same of that family; nothing where there are none.
    pub fn of(self, ipv6: bool) -> Option<Self> {
        let own = self.ipv6.is_none_or(|own| own == ipv6);
        own.then_some(Self {
            ipv6: Some(ipv6),
            ..self
        })
    }

    /// Those of them to addresses of that range, which are bytes of one family.
    pub fn to(self, first: &[u8], last: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u128, |all, byte| all << 8 | u128::from(*byte))
        };
        let ipv6 = first.len() == 16;
        let narrowed = narrowed(self.destinations, (number(first), number(last)))?;
        let all = Self {
            destinations: Some(narrowed),
            ..self
        };
        all.of(ipv6)
    }

    /// Those of them to a network's addresses.
    pub fn to_network(self, (address, length): (IpAddr, u8)) -> Option<Self> {
        let (bits, all, ipv6) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, false),
            IpAddr::V6(v6) => (u128::from(v6), 128, true),
        };
        let rest = all - u32::from(length).min(all);
        let hosts = 1_u128.checked_shl(rest).map_or(u128::MAX, |one| one - 1);
        let range = (bits & !hosts, bits | hosts);
        let destinations = Some(narrowed(self.destinations, range)?);
        Self {
            destinations,
            ..self
        }
        .of(ipv6)
    }

    pub fn of_protocol(self, protocol: u8) -> Option<Self> {
        let own = self.protocol.is_none_or(|own| own == protocol);
        own.then_some(Self {
            protocol: Some(protocol),
            ..self
        })
    }

    pub fn to_ports(self, ports: (u16, u16)) -> Option<Self> {
        Some(Self {
            ports: Some(narrowed(self.ports, ports)?),
            ..self
        })
    }
}

/// What both ranges have.
fn narrowed<T: Ord + Copy>(own: Option<(T, T)>, (first, last): (T, T)) -> Option<(T, T)> {
    let (first, last) = match own {
        None => (first, last),
        Some(own) => (own.0.max(first), own.1.min(last)),
    };
    (first <= last).then_some((first, last))
}

fn address(number: u128, ipv6: bool) -> IpAddr {
    match (ipv6, u32::try_from(number)) {
        (false, Ok(number)) => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}
