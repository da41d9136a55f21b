//! Sets of ipset(8), as the kernel lists them (net/netfilter/ipset/ip_set_core.c, `ip_set_dump_do`): the first message of
//! a set says what it is, those that follow have more of its entries.
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::attributes::name;
use crate::{
    gather::{
        netlink::{DUMP, attribute, attributes, nla},
        nfnetlink,
    },
    model::world::ruleset::{Ipset, IpsetEntry, IpsetPart},
};

/// NFNL_SUBSYS_IPSET << 8, with IPSET_CMD_LIST.
const LIST: u16 = 6 << 8 | 7;
/// IPSET_ATTR_…
const PROTOCOL_VERSION: u16 = 1;
const SET_NAME: u16 = 2;
const TYPE_NAME: u16 = 3;
const FAMILY: u16 = 5;
const DATA: u16 = 7;
const ENTRIES: u16 = 8;
const INDEX: u16 = 11;
/// Of a set: what its addresses are cut to.
const NETMASK: u16 = 20;
const BITMASK: u16 = 12;
/// Of an entry.
const ADDRESS: u16 = 1;
const CIDR: u16 = 3;
const PORT: u16 = 4;
const PROTOCOL: u16 = 7;
const FLAGS: u16 = 8;
const ADDRESS2: u16 = 20;
const CIDR2: u16 = 21;
/// IPSET_FLAG_NOMATCH
const NOMATCH: u32 = 1 << 2;
/// The version that tells the number of each set, since Linux 4.20.
const VERSION: u8 = 7;

pub fn request() -> Vec<u8> {
    nfnetlink::message(LIST, DUMP, None, &nla(PROTOCOL_VERSION, &[VERSION]))
}

/// One message; nothing where there are more entries than wanted, or no set that it could be of.
pub fn told(sets: &mut Vec<Ipset>, message: &[u8], left: &mut usize) -> Option<()> {
    let called = name(attribute(message, SET_NAME)?)?;
    if let Some(kind) = attribute(message, TYPE_NAME).and_then(name) {
        *left = left.checked_sub(1)?;
        sets.push(set(called.clone(), &kind, message)?);
    }
    let set = sets.last_mut().filter(|set| set.name == called)?;
    let Some(entries) = attribute(message, ENTRIES) else {
        return Some(());
    };
    for (_, one) in attributes(entries) {
        *left = left.checked_sub(1)?;
        if set.partly {
            continue;
        }
        match entry(set, one) {
            Some(entry) => set.entries.push(entry),
            None => set.partly = true,
        }
    }
    Some(())
}

fn set(name: String, kind: &str, message: &[u8]) -> Option<Ipset> {
    let index = attribute(message, INDEX)?.first_chunk().copied()?;
    let parts: &[IpsetPart] = match kind {
        "hash:ip" | "hash:net" | "bitmap:ip" => &[IpsetPart::Address],
        "hash:ip,port" | "hash:net,port" => &[IpsetPart::Address, IpsetPart::Port],
        "hash:ip,port,ip" | "hash:ip,port,net" | "hash:net,port,net" => {
            &[IpsetPart::Address, IpsetPart::Port, IpsetPart::Address]
        }
        "hash:net,net" => &[IpsetPart::Address, IpsetPart::Address],
        "bitmap:port" => &[IpsetPart::Port],
        _ => &[],
    };
    // A mask other than a prefix is not held against packets.
    let masked = attribute(message, DATA).is_some_and(|data| attribute(data, BITMASK).is_some());
    Some(Ipset {
        index: u16::from_be_bytes(index),
        name,
        // NFPROTO_IPV4, NFPROTO_IPV6.
        ipv6: match byte(message, FAMILY) {
            Some(2) => Some(false),
            Some(10) => Some(true),
            _ => None,
        },
        parts: parts.to_vec(),
        netmask: attribute(message, DATA).and_then(|data| byte(data, NETMASK)),
        entries: Vec::new(),
        partly: masked || parts.is_empty(),
    })
}

fn entry(set: &Ipset, of: &[u8]) -> Option<IpsetEntry> {
    let mut networks = Vec::new();
    let addresses = set.parts.iter().filter(|part| **part == IpsetPart::Address);
    for (_, (at, cidr)) in addresses.zip([(ADDRESS, CIDR), (ADDRESS2, CIDR2)]) {
        let address = address(attribute(of, at)?)?;
        let all = if address.is_ipv6() { 128 } else { 32 };
        let length = byte(of, cidr).or(set.netmask).unwrap_or(all);
        networks.push((address, length.min(all)));
    }
    let port = attribute(of, PORT).and_then(|port| port.first_chunk());
    let flags = attribute(of, FLAGS).and_then(|flags| flags.first_chunk());
    let flags = flags.map_or(0, |flags| u32::from_be_bytes(*flags));
    Some(IpsetEntry {
        networks,
        protocol: byte(of, PROTOCOL),
        port: port.map(|port| u16::from_be_bytes(*port)),
        nomatch: flags & NOMATCH != 0,
    })
}

fn address(of: &[u8]) -> Option<IpAddr> {
    /// IPSET_ATTR_IPADDR_IPV4, …_IPV6.
    const FOUR: u16 = 1;
    const SIX: u16 = 2;
    let four = || attribute(of, FOUR)?.first_chunk::<4>().copied();
    let six = || attribute(of, SIX)?.first_chunk::<16>().copied();
    four().map(IpAddr::from).or_else(|| six().map(IpAddr::from))
}

fn byte(of: &[u8], wanted: u16) -> Option<u8> {
    attribute(of, wanted)?.first().copied()
}
