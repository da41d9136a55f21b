//! The packets that are sent through a world.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_forwarding::packet::Packet;
use netdiag_model::world::device::Mac;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Where it is sent.
    pub space: usize,
    /// The sender's own choice, or nothing.
    pub source: Option<IpAddr>,
    pub destination: IpAddr,
    pub sport: u16,
    pub dport: u16,
    pub mark: u32,
    pub tos: u8,
    pub ttl: u8,
    /// Bytes from the IP header on.
    pub size: u32,
    /// So many of that size, sent at once as a superpacket.
    pub count: u32,
    /// It may be cut on its way, and is where it is larger than that takes.
    pub cut: bool,
    /// The device that the socket is bound to, by the namespace that it leads to.
    pub bound: Option<usize>,
    /// Made by hand and put on the wire.
    pub wire: Option<Wire>,
    /// It is answered, and the answer, as long as they arrive.
    pub talks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The namespace that the device leads to.
    pub by: usize,
    /// Other link-layer addresses than those of the two ends.
    pub from: Option<Mac>,
    pub to: Option<Mac>,
}

/// IP's and UDP's.
const HEADERS: u32 = 28;
const HEADERS6: u32 = 48;

impl Shot {
    pub fn headers(&self) -> u32 {
        match self.destination {
            IpAddr::V4(_) => HEADERS,
            IpAddr::V6(_) => HEADERS6,
        }
    }

    /// Of one packet.
    pub fn payload(&self) -> u32 {
        self.size.saturating_sub(self.headers())
    }

    /// What is sent back by who got it as that packet, from that port.
    pub fn answered(&self, space: usize, packet: &Packet, port: u16) -> Self {
        Self {
            space,
            source: Some(packet.destination),
            destination: packet.source,
            sport: packet.dport,
            dport: port,
            ttl: 16,
            count: 1,
            bound: None,
            wire: None,
            ..self.clone()
        }
    }

    /// No source chosen.
    pub fn any(&self) -> IpAddr {
        match self.destination {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl std::fmt::Display for Shot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = self.source.map_or("any".to_owned(), |s| s.to_string());
        write!(
            f,
            "from s{} {source}:{} to {}:{} mark {:#x} tos {:#x} ttl {} size {}",
            self.space,
            self.sport,
            self.destination,
            self.dport,
            self.mark,
            self.tos,
            self.ttl,
            self.size
        )?;
        if self.count > 1 {
            write!(f, " × {}", self.count)?;
        }
        if self.cut {
            write!(f, " cut")?;
        }
        if let Some(to) = self.bound {
            write!(f, " bound to e{to}")?;
        }
        if self.talks {
            write!(f, " answered")?;
        }
        if let Some(wire) = self.wire {
            write!(f, " as a frame out of e{}", wire.by)?;
            let named = [("from", wire.from), ("to", wire.to)];
            for (word, mac) in named {
                if let Some(mac) = mac {
                    write!(f, " {word} {mac}")?;
                }
            }
        }
        Ok(())
    }
}
