//! Packets that are in a set of ipset(8), by what its entries say of destinations.
#[cfg(test)]
mod tests;

use netdiag_model::world::ruleset::{Ipset, IpsetEntry, IpsetPart};

use super::{packets::Packets, rule::MOST};
use crate::xt::{Asks, Info};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Those for which such a match may hold; entries that are looked at are steps, which are counted down.
pub fn holds(
    (info, revision): (&[u8], u32),
    sets: &[Ipset],
    packets: Packets,
    left: &mut usize,
) -> Vec<Packets> {
    let Some(asks) = Asks::of(Info(info), revision) else {
        return vec![packets];
    };
    let Some(set) = sets.iter().find(|set| set.index == asks.index) else {
        return vec![packets];
    };
    let fits = packets.ipv6.is_none_or(|ipv6| asks.fits(set, ipv6));
    if asks.inverts() || !fits {
        let none = !asks.inverts() && !set.partly;
        return if none { Vec::new() } else { vec![packets] };
    }
    let parts = set.parts.len();
    let sources = (0..parts).filter(|part| asks.of_source(*part)).count();
    let packets = Packets {
        some_sources: packets.some_sources | (sources > 0),
        ..packets
    };
    if set.partly || sources == parts || set.entries.len() > MOST {
        return vec![packets];
    }
    *left = left.saturating_sub(set.entries.len());
    let entries = set.entries.iter().filter(|entry| !entry.nomatch);
    let all = entries.flat_map(|entry| of_entry(&asks, set, entry, packets));
    let mut all: Vec<Packets> = all.collect();
    // Of entries that differ in their sources alone.
    all.dedup();
    all
}

fn of_entry(asks: &Asks, set: &Ipset, entry: &IpsetEntry, packets: Packets) -> Vec<Packets> {
    let mut all = vec![packets];
    let mut networks = entry.networks.iter();
    for (at, part) in set.parts.iter().enumerate() {
        let network = match part {
            IpsetPart::Address => networks.next(),
            IpsetPart::Port => None,
        };
        let narrowed = |one: Packets| match (part, network) {
            (IpsetPart::Address, None) => Vec::new(),
            (IpsetPart::Address, Some(_)) if asks.of_source(at) => vec![one],
            (IpsetPart::Address, Some(network)) => one.to_network(*network).into_iter().collect(),
            (IpsetPart::Port, _) => to_port(entry, one, asks.of_source(at)),
        };
        all = all.into_iter().flat_map(narrowed).collect();
    }
    all
}

/// A `bitmap:port` has ports of both protocols (`ip_set_get_ip_port`).
fn to_port(entry: &IpsetEntry, packets: Packets, source: bool) -> Vec<Packets> {
    let Some(port) = entry.port else {
        return Vec::new();
    };
    let both = [TCP, UDP];
    let own = entry.protocol.map(|of| [of]);
    let protocols = own.as_ref().map_or(both.as_slice(), |own| own.as_slice());
    let all = protocols.iter().filter_map(|of| packets.of_protocol(*of));
    // Of others it is a type and code, or nothing.
    let to = |one: Packets| match one.protocol {
        Some(TCP | UDP) if !source => one.to_ports((port, port)),
        _ => Some(one),
    };
    all.filter_map(to).collect()
}
