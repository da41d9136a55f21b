//! A packet as its way depends on it, and where it begins.
use std::net::IpAddr;

use netdiag_model::world::{End, Netns, device::Mac};

/// ICMP's number, and ICMPv6's.
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// The part of a traffic class that chooses routes (`IPTOS_RT_MASK`): later kernels take the two high
/// bits too, which are left alone here.
const ROUTED_TOS: u8 = 0x1c;
/// All of IPv6's class but the two bits of ECN.
const DSCP: u8 = 0xfc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    pub tos: u8,
    pub ttl: u8,
    /// Bytes from the IP header on.
    pub size: u32,
    /// Not to be fragmented on the way; IPv6 never is.
    pub df: bool,
    /// Bytes of IP packets that a superpacket will be cut into.
    pub segment: Option<u32>,
    pub mark: u32,
}

impl Packet {
    pub fn is_ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }

    pub fn routed_tos(&self) -> u8 {
        match self.is_ipv6() {
            true => self.tos & DSCP,
            false => self.tos & ROUTED_TOS,
        }
    }
}

/// What a frame's address makes of it where it comes in (`skb->pkt_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Host,
    OtherHost,
    Broadcast,
    Multicast,
}

impl To {
    pub fn of(frame: Mac, own: Option<Mac>) -> Self {
        match frame {
            Mac::BROADCAST => Self::Broadcast,
            group if group.is_group() => Self::Multicast,
            host if Some(host) == own => Self::Host,
            _ => Self::OtherHost,
        }
    }
}

/// Link-layer addresses of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Nothing where nobody knows who sent it.
    pub from: Option<Mac>,
    pub to: Mac,
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A socket sends it. Its source may be unspecified: the route chooses.
    Socket(Sender),
    /// It comes in at a device.
    Device(End, Frame),
    /// It is sent by a device, past the stack.
    Frame(End, Frame),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub netns: Netns,
    /// The device that it is bound to.
    pub device: Option<u32>,
    pub uid: u32,
}
