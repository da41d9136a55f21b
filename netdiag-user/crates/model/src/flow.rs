//! A flow as people write it.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;

use super::address::{endpoint, from_wire};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Name of an IP protocol number (IANA), the number itself for the rarer ones.
pub fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        4 => "ipip".into(),
        TCP => "tcp".into(),
        UDP => "udp".into(),
        41 => "ipv6".into(),
        47 => "gre".into(),
        58 => "icmp6".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    }
}

/// The number of a protocol's name, or of a number as text.
pub fn number(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "sctp" => Some(132),
        other => other.parse().ok(),
    }
}

/// A flow's addresses.
pub fn ends(flow: &FlowKey) -> (IpAddr, IpAddr) {
    (from_wire(flow.source), from_wire(flow.destination))
}

/// Both ends with their ports; an ICMP echo's identifier is no port.
pub fn endpoints(flow: &FlowKey) -> (String, String) {
    let (source, destination) = ends(flow);
    match flow.protocol {
        1 | 58 => (endpoint(source, 0), endpoint(destination, 0)),
        _ => (
            endpoint(source, flow.source_port),
            endpoint(destination, flow.destination_port),
        ),
    }
}

/// `tcp 10.0.0.1:40000 → 10.0.0.2:80`, nothing for what was not IP.
pub fn display(flow: &FlowKey) -> Option<String> {
    if flow.family == 0 {
        return None;
    }
    let (source, destination) = endpoints(flow);
    Some(format!(
        "{} {source} → {destination}",
        protocol(flow.protocol)
    ))
}
