//! A packet as its way depends on it, and where it begins.
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netdiag_model::world::{
    End, Netns,
    device::{Mac, Vlan},
};

use crate::{
    connection::{Ports, Tracked, Tuple},
    way::Unknown,
};

/// ICMP's number, ICMPv6's, TCP's and UDP's.
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Neighbour discovery's question and its answer (RFC 4861, 4.3 and 4.4).
pub(crate) const SOLICITATION: u16 = 135;
pub(crate) const ADVERTISEMENT: u16 = 136;
/// Of IPv4 in IPv4, and of GRE.
pub const IN_IP: u8 = 4;
pub const GRE: u8 = 47;

/// Bytes of a VLAN's tag, for which devices have room beside their MTU.
pub(crate) const TAG: u32 = 4;

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
    /// Of a tunnel's packets 0: the kernel chooses by a hash that nobody can compute. Of an ICMP echo its identifier.
    pub sport: u16,
    /// Of ICMP the type and the code, which stand in its place where ways are asked for.
    pub dport: u16,
    pub tos: u8,
    pub ttl: u8,
    /// Bytes from the IP header on.
    pub size: u32,
    /// Not to be fragmented on the way; IPv6 never is.
    pub df: bool,
    /// Bytes of IP packets that a superpacket will be cut into.
    pub segment: Option<u32>,
    /// It goes in fragments of so many bytes at most.
    pub pieces: Option<u32>,
    pub mark: u32,
    /// Which of the walk's frames it carries.
    pub carries: Option<usize>,
    /// The device that it came in by, where IP has it.
    pub iif: Option<u32>,
    /// The next hop that was chosen for it, where the device out has no addresses of the link's own.
    pub next_hop: Option<IpAddr>,
    /// A way was chosen for it, which it keeps as long as it stays in this namespace.
    pub decided: Decided,
    /// What connection tracking makes of it there.
    pub tracked: Tracked,
    /// Of an error: what it is about.
    pub quotes: Option<Tuple>,
    /// Its source's port is one of these, which the kernel chose; `sport` is none then.
    pub chosen: Option<Ports>,
    /// By what it was spread when a tunnel first took it, which it keeps (`skb_get_hash`).
    pub flow: Option<usize>,
    pub sum: Sum,
    /// It is one of several parts of what was cut before, or carries one: the last of them may be smaller.
    pub parts: bool,
    /// The device that its socket is bound to.
    pub bound: Option<u32>,
    /// Its fragments were put together here (`nf_defrag_ipv4`): it is whole as long as it stays.
    pub gathered: bool,
    /// A bridge has asked the chains before routing already (`nf_bridge`), which are not asked again
    /// (`ip_sabotage_in`).
    pub met: bool,
    /// It has its way before IP sees it, from a bridge or from where it was sent to loopback, which leads by that device:
    /// it is taken to have come in by it (`IP6CB(skb)->iif`).
    pub turned: Option<u32>,
    /// Of TCP, where they are known.
    pub tcp_flags: Option<u8>,
    /// What IPVS has done with it, which it does once (`skb->ipvs_property`).
    pub served: Served,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Served {
    #[default]
    No,
    /// It was taken from whoever sent it, and led on.
    Led,
    /// It has other addresses, and goes on where it was.
    Here,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decided {
    #[default]
    No,
    /// As it was sent here.
    Sent,
    /// As a device that shares a link with this namespace had it sent here.
    Shared,
    /// As it was led on.
    Forwarded,
    /// As netfilter had it routed anew that was sent here (`ip_route_me_harder`).
    Turned,
}

/// The checksum of a tunnel's UDP packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sum {
    /// It has none, or nothing is left to do for the one inside.
    #[default]
    Made,
    /// The one inside may be left to a device.
    Left,
    /// A translation spoilt it then (`inet_proto_csum_replace4` takes what is left for its own): nobody sees that as
    /// long as it stays left.
    Spoilt,
    /// And a device, or whoever cut it, made the one inside alone.
    Wrong,
}

impl Sum {
    /// Its addresses or ports are others.
    pub(crate) fn translated(self) -> Self {
        match self {
            Self::Left => Self::Spoilt,
            other => other,
        }
    }

    /// Nothing is left any more.
    pub(crate) fn made(self) -> Self {
        match self {
            Self::Left => Self::Made,
            Self::Spoilt => Self::Wrong,
            other => other,
        }
    }
}

/// A frame inside a tunnel's packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Carried {
    pub frame: Frame,
    pub packet: Packet,
    /// The network that it belongs to there.
    pub vni: u32,
    /// Nobody on the way can read it.
    pub sealed: Option<Sealed>,
}

/// What only the other end opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sealed {
    /// The device that did it, and for which of its peers.
    pub by: End,
    pub peer: usize,
    pub what: Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Asks for keys, and is answered; neither has a load.
    Initiation,
    Response,
    Data,
}

impl Packet {
    /// One that nothing has happened to yet.
    pub fn new(source: IpAddr, destination: IpAddr) -> Self {
        Self {
            source,
            destination,
            protocol: 0,
            sport: 0,
            dport: 0,
            tos: 0,
            ttl: 0,
            size: 0,
            df: false,
            segment: None,
            pieces: None,
            mark: 0,
            carries: None,
            iif: None,
            next_hop: None,
            decided: Decided::No,
            tracked: Tracked::No,
            quotes: None,
            chosen: None,
            flow: None,
            sum: Sum::Made,
            parts: false,
            bound: None,
            gathered: false,
            met: false,
            turned: None,
            tcp_flags: None,
            served: Served::No,
        }
    }

    pub fn is_ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// No address, of its family.
    pub fn any(&self) -> IpAddr {
        match self.is_ipv6() {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Bytes of the largest part that goes over a wire at once.
    pub fn largest(&self) -> u32 {
        self.pieces.or(self.segment).unwrap_or(self.size)
    }

    /// It goes in IP's fragments; the parts of a superpacket are packets of their own.
    pub fn is_cut(&self) -> bool {
        let whole = |pieces| self.segment.is_some_and(|segment| pieces >= segment);
        self.pieces.is_some_and(|pieces| !whole(pieces))
    }

    /// A superpacket that was cut, or what carries one of several parts: the last of them may be smaller than the others.
    pub(crate) fn is_in_parts(&self) -> bool {
        self.parts || self.segment.is_some() && self.pieces.is_some()
    }

    /// The parts that it comes out of a tunnel's packet in: what carried a superpacket in fragments had cut it first.
    pub(crate) fn cut_by(&self, outer: &Self) -> Option<u32> {
        self.pieces.or(outer.pieces.and(self.segment))
    }

    /// Nobody answers an error with another.
    pub fn is_icmp(&self) -> bool {
        [ICMP, ICMP6].contains(&self.protocol)
    }

    /// As routes are asked for: ports of no fragment count, the first one's neither (`skb_flow_dissect`).
    pub(crate) fn routed_ports(&self) -> (u16, u16) {
        match self.is_cut() && !self.gathered {
            true => (0, 0),
            false if self.is_icmp() => (0, self.dport),
            false => (self.sport, self.dport),
        }
    }

    /// A question of ping's, or its answer.
    pub fn is_echo(&self) -> bool {
        echo(self.protocol, self.dport).is_some()
    }

    /// Of those of which nobody takes note (`nf_conntrack_icmpv6`): what hosts on a link say of groups and of themselves.
    pub(crate) fn is_of_the_link(&self) -> bool {
        let kind = self.dport >> 8;
        self.protocol == ICMP6 && matches!(kind, 130..=136 | 143)
    }

    pub fn tuple(&self) -> Tuple {
        Tuple {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            sport: self.chosen.unwrap_or(Ports::one(self.sport)),
            dport: Ports::one(self.dport),
        }
    }

    /// What is alike in all packets that are spread alike: no ports where it is in pieces, or has none.
    pub(crate) fn spread(&self) -> usize {
        let mut tuple = self.tuple();
        if !self.has_ports() {
            (tuple.sport, tuple.dport) = (Ports::one(0), Ports::one(0));
        }
        let mut hasher = DefaultHasher::new();
        tuple.hash(&mut hasher);
        // No number that a choice of NAT's has.
        hasher.finish() as usize | 1 << (usize::BITS - 1)
    }

    /// That any of its parts has.
    pub(crate) fn has_ports(&self) -> bool {
        let whole = !self.is_cut() || self.gathered;
        whole && [TCP, UDP].contains(&self.protocol)
    }

    pub fn routed_tos(&self) -> u8 {
        match self.is_ipv6() {
            true => self.tos & DSCP,
            false => self.tos & ROUTED_TOS,
        }
    }
}

/// What answers that kind of ICMP, or is answered by it, as far as connections are made of such (RFC 792, RFC 4443).
pub(crate) fn echo(protocol: u8, kind: u16) -> Option<u16> {
    match (protocol, kind >> 8) {
        (ICMP, 8) => Some(0),
        (ICMP, 0) => Some(8 << 8),
        (ICMP6, 128) => Some(129 << 8),
        (ICMP6, 129) => Some(128 << 8),
        _ => None,
    }
}

/// What a frame's address makes of it where it comes in (`skb->pkt_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Its tag, the outer one of two.
    pub vlan: Option<Vlan>,
    /// The one behind it.
    pub inner: Option<Vlan>,
    /// The outer one is among the frame's bytes, where the one before it was taken away since it came in.
    pub written: bool,
}

impl Frame {
    /// Without a tag.
    pub fn new(from: Option<Mac>, to: Mac) -> Self {
        let (vlan, inner) = (None, None);
        Self {
            from,
            to,
            vlan,
            inner,
            written: false,
        }
    }

    /// With one more tag before those that it has.
    pub(crate) fn tagged(self, tag: Vlan) -> Result<Self, Unknown> {
        if self.inner.is_some() {
            return Err(Unknown::NotModelled("three tags of a frame".into()));
        }
        let (vlan, inner) = (Some(tag), self.vlan);
        Ok(Self {
            vlan,
            inner,
            written: false,
            ..self
        })
    }

    /// Without its outer tag.
    pub(crate) fn untagged(self) -> Self {
        let (vlan, inner) = (self.inner, None);
        Self {
            vlan,
            inner,
            written: vlan.is_some(),
            ..self
        }
    }

    /// As a device takes it: its outer tag beside it (`skb_vlan_untag`).
    pub(crate) fn taken(self) -> Self {
        Self {
            written: false,
            ..self
        }
    }

    /// Bytes of its tags on a wire.
    pub(crate) fn tags(&self) -> u32 {
        TAG * [self.vlan, self.inner].iter().flatten().count() as u32
    }

    /// Of those that the kernel has in the frame itself, not beside it (`skb->vlan_tci`).
    pub(crate) fn tags_inside(&self) -> u32 {
        let outer = self.vlan.filter(|_| self.written);
        TAG * [outer, self.inner].iter().flatten().count() as u32
    }
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
    /// Nobody asks whether its source is this namespace's (FLOWI_FLAG_ANYSRC): tunnels over IPv6, errors, what
    /// others have sent here.
    pub any_source: bool,
    /// A neighbour behind a device that was just given up.
    pub failing: Option<(u32, IpAddr)>,
}
