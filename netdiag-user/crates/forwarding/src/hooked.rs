//! A packet as netfilter's expressions ask for it and change it: its headers' bytes, as far as they are known.
use std::net::IpAddr;

use netdiag_model::world::{
    device::{Device, Kind},
    ruleset::{Base, Load, Meta, Store},
};
use netdiag_ruleset::{Byte, Loaded, Packet as Asked, Stored};

use crate::packet::{Decided, Packet, UDP};

/// ETH_P_IP, ETH_P_IPV6; NFPROTO_IPV4, NFPROTO_IPV6; ARPHRD_ETHER, ARPHRD_LOOPBACK.
const PROTOCOLS: (u16, u16) = (0x0800, 0x86dd);
const FAMILIES: (u8, u8) = (2, 10);
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
/// IFNAMSIZ.
const NAME: usize = 16;
/// IP_DF.
const DF: u8 = 0x40;

pub(crate) struct Hooked<'a, 'w> {
    pub packet: &'a mut Packet,
    pub input: Option<&'w Device>,
    pub output: Option<&'w Device>,
}

impl Asked for Hooked<'_, '_> {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(meta) => self.meta(*meta),
            Load::Payload {
                base,
                offset,
                length,
            } => self.payload(*base, *offset, usize::from(*length)),
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, what: &Store, bytes: &[Byte]) -> Stored {
        let word: Option<Vec<u8>> = bytes.iter().take(4).copied().collect();
        match (what, word.as_deref()) {
            (Store::Meta(Meta::Mark), Some(&[a, b, c, d])) => {
                self.packet.mark = u32::from_ne_bytes([a, b, c, d]);
                Stored::Done
            }
            _ => Stored::Unknown,
        }
    }

    fn untrack(&mut self) -> Stored {
        Stored::Unknown
    }
}

impl Hooked<'_, '_> {
    fn meta(&self, meta: Meta) -> Loaded {
        let packet = &*self.packet;
        let of = |(four, six): (u16, u16)| if packet.is_ipv6() { six } else { four };
        match meta {
            Meta::Length => Loaded::word(packet.size),
            Meta::Protocol => Loaded::known(&of(PROTOCOLS).to_be_bytes()),
            Meta::Mark => Loaded::word(packet.mark),
            Meta::Iif => Loaded::word(self.input.map_or(0, |device| device.index)),
            Meta::Oif => Loaded::word(self.output.map_or(0, |device| device.index)),
            Meta::IifName => name(self.input),
            Meta::OifName => name(self.output),
            Meta::IifType => kind(self.input),
            Meta::OifType => kind(self.output),
            Meta::IifGroup => group(self.input),
            Meta::OifGroup => group(self.output),
            Meta::Family => {
                let (four, six) = FAMILIES;
                Loaded::known(&[if packet.is_ipv6() { six } else { four }])
            }
            Meta::L4Protocol => Loaded::known(&[packet.protocol]),
            // What is led on, and what tunnels and the kernel send, has no socket.
            Meta::Uid | Meta::Gid if packet.decided == Decided::Forwarded => Loaded::None,
            Meta::Uid | Meta::Gid if packet.decided == Decided::No => Loaded::None,
            _ => Loaded::Unknown,
        }
    }

    fn payload(&self, base: Base, offset: u32, length: usize) -> Loaded {
        let headers = self.headers();
        let Ok(offset) = usize::try_from(offset) else {
            return Loaded::None;
        };
        let transport = if self.packet.is_ipv6() { 40 } else { 20 };
        let from = match base {
            Base::Network => offset,
            Base::Transport => transport + offset,
            Base::Link | Base::Inner => return Loaded::Unknown,
        };
        // Behind its end nothing can be loaded.
        if from + length > self.packet.size as usize {
            return Loaded::None;
        }
        let known = headers.into_iter().chain(std::iter::repeat(None));
        Loaded::Is(known.skip(from).take(length).collect())
    }

    /// Those of IP and of what it carries; what no walk knows is not known.
    fn headers(&self) -> Vec<Byte> {
        let packet = &*self.packet;
        let mut bytes = match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = u16::try_from(packet.size).unwrap_or(0).to_be_bytes();
                let df = packet.df || packet.segment.is_some();
                let mut bytes = vec![
                    Some(0x45),
                    Some(packet.tos),
                    Some(length[0]),
                    Some(length[1]),
                ];
                bytes.extend([None, None, Some(if df { DF } else { 0 }), Some(0)]);
                bytes.extend([Some(packet.ttl), Some(packet.protocol), None, None]);
                bytes.extend(source.octets().map(Some));
                bytes.extend(destination.octets().map(Some));
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = u16::try_from(packet.size.saturating_sub(40)).unwrap_or(0);
                let length = length.to_be_bytes();
                // The flow label begins in the class's second byte.
                let mut bytes = vec![Some(0x60 | packet.tos >> 4), None, None, None];
                bytes.extend([Some(length[0]), Some(length[1])]);
                bytes.extend([Some(packet.protocol), Some(packet.ttl)]);
                bytes.extend(source.octets().map(Some));
                bytes.extend(destination.octets().map(Some));
                bytes
            }
            _ => return Vec::new(),
        };
        let of_ip = bytes.len() as u32;
        let [high, low] = packet.dport.to_be_bytes().map(Some);
        match packet.protocol {
            // The kind of an error and its code stand there.
            _ if packet.is_icmp() => bytes.extend([high, low]),
            _ if packet.carries.is_some() && packet.protocol != UDP => {}
            _ => {
                // A tunnel's port is the kernel's choice.
                let ports = packet.sport.to_be_bytes().map(Some);
                let hidden = packet.carries.is_some();
                bytes.extend(ports.map(|byte| byte.filter(|_| !hidden)));
                bytes.extend([high, low]);
                if packet.protocol == UDP {
                    let length = u16::try_from(packet.size.saturating_sub(of_ip)).unwrap_or(0);
                    bytes.extend(length.to_be_bytes().map(Some));
                }
            }
        }
        bytes
    }
}

/// Without a device it is empty, which is a name, too.
fn name(device: Option<&Device>) -> Loaded {
    let mut bytes = device.map_or_else(Vec::new, |device| device.name.clone().into_bytes());
    bytes.resize(NAME, 0);
    Loaded::known(&bytes)
}

fn kind(device: Option<&Device>) -> Loaded {
    let Some(device) = device else {
        return Loaded::None;
    };
    match (&device.kind, device.flags.loopback, device.ethernet) {
        (_, true, _) => Loaded::known(&LOOPBACK.to_ne_bytes()),
        (Kind::Other(_), ..) | (.., false) => Loaded::Unknown,
        _ => Loaded::known(&ETHERNET.to_ne_bytes()),
    }
}

fn group(device: Option<&Device>) -> Loaded {
    device.map_or(Loaded::None, |device| Loaded::word(device.group))
}
