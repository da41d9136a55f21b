//! Sets of ipset(8) (include/uapi/linux/netfilter/ipset/ip_set.h), which iptables' rules ask (`-m set`).
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipset {
    /// By which rules know it.
    pub index: u16,
    pub name: String,
    /// None where packets of both families are in it.
    pub ipv6: Option<bool>,
    /// What it asks of a packet, in the order of its type's name: `hash:net,port`.
    pub parts: Vec<IpsetPart>,
    /// What its addresses are cut to, where that is not said of each.
    pub netmask: Option<u8>,
    pub entries: Vec<IpsetEntry>,
    /// Not all of it was read, or it is of a kind that is not known.
    pub partly: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpsetPart {
    Address,
    /// With its protocol, but in a `bitmap:port`.
    Port,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsetEntry {
    /// Networks, one for each part that is an address.
    pub networks: Vec<(IpAddr, u8)>,
    pub protocol: Option<u8>,
    /// Of ICMP its type and code.
    pub port: Option<u16>,
    /// Who is in it is not in the set.
    pub nomatch: bool,
}
