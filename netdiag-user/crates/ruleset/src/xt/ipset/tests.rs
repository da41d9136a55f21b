use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::world::ruleset::Store;

use super::*;
use crate::Stored;

/// A datagram from 10.1.2.3 to 192.0.2.9.
struct Datagram<'s> {
    sets: &'s [Ipset],
    ports: Option<[u16; 2]>,
}

impl Packet for Datagram<'_> {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(Meta::Family) => Loaded::known(&[2]),
            Load::Meta(Meta::L4Protocol) => Loaded::known(&[UDP]),
            Load::Payload {
                base: Base::Network,
                offset: 12,
                ..
            } => Loaded::known(&[10, 1, 2, 3]),
            Load::Payload {
                base: Base::Network,
                ..
            } => Loaded::known(&[192, 0, 2, 9]),
            Load::Payload { offset, .. } => match self.ports {
                Some([from, to]) => {
                    Loaded::known(&(if *offset == 0 { from } else { to }).to_be_bytes())
                }
                None => Loaded::None,
            },
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, _: &Store, _: &[Byte]) -> Stored {
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Done
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        None
    }

    fn ipsets(&self) -> &[Ipset] {
        self.sets
    }
}

fn network(text: &str, length: u8) -> (IpAddr, u8) {
    let address: Ipv4Addr = text.parse().expect("an address");
    (address.into(), length)
}

fn set(parts: &[IpsetPart], entries: Vec<IpsetEntry>) -> Ipset {
    Ipset {
        index: 3,
        name: "s".into(),
        ipv6: Some(false),
        parts: parts.to_vec(),
        netmask: None,
        entries,
        partly: false,
    }
}

fn of(networks: Vec<(IpAddr, u8)>) -> IpsetEntry {
    IpsetEntry {
        networks,
        ..IpsetEntry::default()
    }
}

/// Asked with that dimension and those flags.
fn asked(set: Ipset, (dimension, flags): (u8, u8), ports: Option<[u16; 2]>) -> Option<Three> {
    let mut info = 3_u16.to_ne_bytes().to_vec();
    info.extend([dimension, flags]);
    info.extend([0; 28]);
    let sets = [set];
    holds(Info(&info), 4, &Datagram { sets: &sets, ports })
}

const SOURCE: u8 = 1 << 1;
const SECOND_SOURCE: u8 = 1 << 2;
const PORTS: Option<[u16; 2]> = Some([40_000, 53]);

#[test]
fn the_narrowest_network_decides() {
    let nets = || {
        let mut not = of(vec![network("10.1.2.0", 24)]);
        not.nomatch = true;
        set(
            &[IpsetPart::Address],
            vec![of(vec![network("10.0.0.0", 8)]), not],
        )
    };
    assert_eq!(asked(nets(), (1, SOURCE), PORTS), Some(Three::No));
    assert_eq!(
        asked(nets(), (1, SOURCE | 1), PORTS),
        Some(Three::Yes),
        "! --match-set"
    );
    let mut wide = nets();
    wide.entries.pop();
    assert_eq!(asked(wide.clone(), (1, SOURCE), PORTS), Some(Three::Yes));
    assert_eq!(
        asked(wide, (1, 0), PORTS),
        Some(Three::No),
        "its destination"
    );
}

#[test]
fn each_part_has_a_side_of_its_own() {
    let mut entry = of(vec![network("10.1.2.3", 32)]);
    (entry.protocol, entry.port) = (Some(UDP), Some(53));
    let pairs = set(&[IpsetPart::Address, IpsetPart::Port], vec![entry]);
    assert_eq!(asked(pairs.clone(), (2, SOURCE), PORTS), Some(Three::Yes));
    let both = SOURCE | SECOND_SOURCE;
    assert_eq!(asked(pairs.clone(), (2, both), PORTS), Some(Three::No));
    assert_eq!(
        asked(pairs.clone(), (1, SOURCE), PORTS),
        Some(Three::No),
        "too few"
    );
    assert_eq!(
        asked(pairs, (2, SOURCE), None),
        Some(Three::No),
        "a fragment"
    );
}

#[test]
fn of_what_was_not_read_nobody_can_tell() {
    let mut part = set(&[IpsetPart::Address], Vec::new());
    part.partly = true;
    assert_eq!(asked(part.clone(), (1, SOURCE), PORTS), None);
    // It is of the other family all the same.
    part.ipv6 = Some(true);
    assert_eq!(asked(part, (1, SOURCE), PORTS), Some(Three::No));
    let mut gone = set(&[IpsetPart::Address], Vec::new());
    gone.index = 4;
    assert_eq!(asked(gone, (1, SOURCE), PORTS), None);
}
