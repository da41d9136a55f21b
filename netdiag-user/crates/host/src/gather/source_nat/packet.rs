//! A packet of which only its ends and its way out are known.
use std::net::IpAddr;

use netdiag_ruleset::{Byte, Loaded, Packet, Stored};

use crate::model::{
    source_nat::Leaving,
    world::ruleset::{Base, Ct, Fib, Ipset, Load, Meta, Ruleset, Store},
};

/// NFPROTO_IPV4 and NFPROTO_IPV6, and their numbers in frames.
const FAMILIES: [(u8, u16); 2] = [(2, 0x0800), (10, 0x86dd)];
/// RTN_UNICAST: what is passed on is of nobody here, and goes to nobody here.
const UNICAST: u32 = 1;
/// NFT_FIB_RESULT_ADDRTYPE
const KIND: u32 = 3;
/// `XT_ADDRTYPE_UNICAST`
const UNICAST_KIND: u16 = 1 << 1;
/// A connection's first packet (`NF_CT_STATE_BIT`).
const NEW: u32 = 1 << 3;
const DEVICE: usize = 16;
const HEADER: usize = 40;

pub struct Unsure<'a> {
    packet: &'a Leaving,
    rules: &'a Ruleset,
    chosen: std::slice::Iter<'a, usize>,
    header: Vec<Byte>,
}

impl<'a> Unsure<'a> {
    pub fn new(packet: &'a Leaving, rules: &'a Ruleset, chosen: &'a [usize]) -> Self {
        Self {
            packet,
            rules,
            chosen: chosen.iter(),
            header: header(packet),
        }
    }

    fn meta(&self, meta: Meta) -> Loaded {
        let (family, ether) = FAMILIES[usize::from(self.packet.source.is_ipv6())];
        match meta {
            Meta::Mark => Loaded::word(0),
            Meta::Family => Loaded::known(&[family]),
            Meta::Protocol => Loaded::known(&ether.to_be_bytes()),
            Meta::OifName => {
                let mut name = [0; DEVICE];
                let own = self.packet.link.bytes().take(DEVICE - 1);
                name.iter_mut()
                    .zip(own)
                    .for_each(|(place, byte)| *place = byte);
                Loaded::known(&name)
            }
            // Nobody here sent it.
            Meta::Uid | Meta::Gid => Loaded::None,
            _ => Loaded::Unknown,
        }
    }
}

fn header(packet: &Leaving) -> Vec<Byte> {
    let mut header = vec![Byte::UNKNOWN; HEADER];
    let mut put = |at: usize, bytes: &[u8]| {
        header[at..]
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = Byte::known(*byte));
    };
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            put(0, &[0x45]);
            put(12, &source.octets());
            put(16, &destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(8, &source.octets());
            put(24, &destination.octets());
        }
        _ => {}
    }
    if packet.source.is_ipv6() {
        header[0] = Byte::partly(0x60, 0xf0);
    }
    header
}

impl Packet for Unsure<'_> {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(meta) => self.meta(*meta),
            Load::Payload {
                base: Base::Network,
                offset,
                length,
            } => {
                let from = *offset as usize;
                let bytes = self.header.get(from..from + usize::from(*length));
                bytes.map_or(Loaded::Unknown, |bytes| Loaded::Is(bytes.to_vec()))
            }
            Load::Ct { key: Ct::State, .. } => Loaded::word(NEW),
            // The way in which its connection began.
            Load::Ct {
                key: Ct::Direction, ..
            } => Loaded::known(&[0]),
            Load::Fib(Fib { result: KIND, .. }) => Loaded::word(UNICAST),
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, _: &Store, _: &[Byte]) -> Stored {
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Unknown
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        self.chosen.next().copied()
    }

    fn routed(&self, _: bool) -> Option<u16> {
        Some(UNICAST_KIND)
    }

    fn ipsets(&self) -> &[Ipset] {
        &self.rules.ipsets
    }
}
