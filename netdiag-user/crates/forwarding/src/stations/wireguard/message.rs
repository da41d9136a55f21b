//! The packets that carry WireGuard's messages (drivers/net/wireguard/messages.h).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::world::wireguard::WireGuard;

use crate::{
    learned::Endpoint,
    packet::{Packet, UDP},
};

/// UDP's header, and those of both families.
const HEADER: u32 = 8;
const IPV4: u32 = 20;
const IPV6: u32 = 40;
/// Of messages (drivers/net/wireguard/messages.h).
pub(super) const INITIATION: u32 = 148;
pub(super) const RESPONSE: u32 = 92;
pub(super) const DATA: u32 = 16 + 16;
const PADDED_TO: u32 = 16;
/// Of an inner class the bits of ECN alone are told; a load that was congested already is not.
const ECN: u8 = 3;
const CONGESTED: u8 = 3;
const CAPABLE: u8 = 2;
/// A load is filled up to sixteen bytes, as long as it fits then (`calculate_skb_padding`). A route's own MTU, which would
/// count for the last fifteen of them, is not at hand.
pub(super) fn padded(size: u32, mtu: u32) -> u32 {
    let last = if size > mtu { size % mtu.max(1) } else { size };
    size - last + last.next_multiple_of(PADDED_TO).min(mtu.max(last))
}

/// A handshake has no load.
pub(super) fn nothing(to: Endpoint) -> Packet {
    Packet {
        protocol: UDP,
        dport: to.port,
        ..Packet::new(
            to.source.unwrap_or(match to.address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            }),
            to.address,
        )
    }
}

pub(super) fn outer(
    own: &WireGuard,
    to: Endpoint,
    (load, class): (u32, u8),
    carries: usize,
) -> Packet {
    let mut outer = nothing(to);
    outer.sport = own.port;
    outer.size = load + HEADER + if outer.is_ipv6() { IPV6 } else { IPV4 };
    outer.mark = own.mark;
    outer.tos = match class & ECN {
        CONGESTED => CAPABLE,
        ecn => ecn,
    };
    outer.carries = Some(carries);
    outer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_filled_up_as_far_as_they_fit() {
        assert_eq!(padded(100, 1420), 112);
        assert_eq!(padded(112, 1420), 112);
        assert_eq!(padded(1419, 1420), 1420);
        assert_eq!(padded(0, 1420), 0);
        // Larger than the device takes: what is beyond counts.
        assert_eq!(padded(1421, 1420), 1436);
    }

    #[test]
    fn what_carries_it_has_the_devices_mark_and_port() {
        let own = WireGuard {
            port: 51820,
            mark: 7,
            ..WireGuard::default()
        };
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        let to = Endpoint {
            address,
            port: 9,
            device: None,
            source: None,
            iif: None,
        };
        let outer = outer(&own, to, (DATA + padded(84, 1420), 0xb3), 0);
        assert_eq!((outer.sport, outer.dport, outer.mark), (51820, 9, 7));
        assert_eq!((outer.size, outer.tos, outer.df), (156, CAPABLE, false));
        assert!(outer.source.is_unspecified());
    }
}
