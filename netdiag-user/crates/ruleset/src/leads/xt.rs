//! What iptables' matches ask and its targets do, as far as it is of interest where rules lead.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::world::ruleset::NatKind;

use super::{Does, Nat, packets::Packets, rule::to_own_port};
use crate::{
    Byte, Translates,
    xt::{Info, multiport_ranges, translates_to},
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Nothing where it does nothing of interest, and the rule goes on.
pub fn does((name, revision): (&str, u32), info: &[u8], ipv6: bool) -> Option<Does> {
    let info = Info(info);
    match name {
        "REJECT" => Some(Does::Rejects),
        "MARK" if revision == 2 => info.word(0).map(Does::Marks),
        // `xt_tproxy_target_info`, `…_v1`
        "TPROXY" => {
            let at = if revision == 0 { 12 } else { 24 };
            Some(to_own_port(info.short(at).map(u16::from_be)))
        }
        _ => translates_to((name, revision), info, ipv6).map(|to| Does::Translates(nat(&to))),
    }
}

fn nat(to: &Translates) -> Nat {
    let known = |bytes: &[Byte]| {
        bytes
            .iter()
            .map(|byte| byte.get())
            .collect::<Option<Vec<u8>>>()
    };
    let address = to.addresses.as_ref().and_then(|(first, _)| known(first));
    let address = address.and_then(|bytes| -> Option<IpAddr> {
        match bytes.len() {
            4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
            _ => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        }
    });
    let port = to.ports.as_ref().and_then(|(first, _)| known(first));
    let port = port.and_then(|bytes| Some(u16::from_be_bytes(*bytes.first_chunk()?)));
    Nat {
        kind: to.kind,
        address: address.filter(|_| to.kind != NatKind::Redirect),
        port,
    }
}

/// Those for which it may hold.
pub fn holds((name, revision): (&str, u32), info: &[u8], packets: Packets) -> Vec<Packets> {
    let info = Info(info);
    let known = match (name, revision) {
        ("tcp", 0) => ports(info, (TCP, 11), packets),
        ("udp", 0) => ports(info, (UDP, 8), packets),
        ("multiport", 1) => return multiport(info, packets),
        ("addrtype", 1) => addrtype(info, packets),
        ("mark", 1) => marked(info, packets),
        _ => Some(packets),
    };
    known.into_iter().collect()
}

/// `xt_tcp`, `xt_udp`: the range of destination ports behind that of sources, and which of them are to be others.
fn ports(info: Info<'_>, (protocol, inverts): (u8, usize), packets: Packets) -> Option<Packets> {
    let packets = packets.of_protocol(protocol)?;
    let inverts = info.byte(inverts)?;
    let to = (info.short(4)?, info.short(6)?);
    match to == (0, u16::MAX) || inverts & 2 != 0 {
        true => Some(packets),
        false => packets.to_ports(to),
    }
}

fn multiport(info: Info<'_>, packets: Packets) -> Vec<Packets> {
    match multiport_ranges(info) {
        // To such a port.
        Some((1, false, ranges)) => ranges
            .iter()
            .enumerate()
            .filter(|(at, range)| !ranges[..*at].contains(range))
            .map(|(_, range)| range)
            .filter_map(|range| packets.to_ports(*range))
            .collect(),
        _ => vec![packets],
    }
}

/// `xt_addrtype_info_v1`
fn addrtype(info: Info<'_>, mut packets: Packets) -> Option<Packets> {
    packets.some_sources |= info.short(0)? != 0;
    Some(packets)
}

/// `xt_mark_mtinfo1`
fn marked(info: Info<'_>, mut packets: Packets) -> Option<Packets> {
    let (mark, invert) = (info.word(0)?, info.byte(8)?);
    packets.marked |= if invert == 0 { mark } else { 0 };
    Some(packets)
}
