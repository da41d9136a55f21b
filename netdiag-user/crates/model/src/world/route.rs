//! Routes, nexthop objects and what was learned of single destinations.
use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::address::Scope;
use crate::address::Prefix;

/// What a route does with a packet (`RTN_*`, include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Unicast,
    Local,
    Broadcast,
    /// One of many that have the address, taken in by this one.
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    /// Not this table: the rules go on.
    Throw,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub kind: Kind,
    pub table: u32,
    pub to: Prefix,
    /// IPv6 alone: the length of the source's prefix is asked after the destination's.
    pub from: Option<Prefix>,
    /// DSCP and two bits of ECN, as the kernel keeps it; 0 takes every packet.
    pub tos: u8,
    pub priority: u32,
    pub scope: Scope,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    pub prefsrc: Option<IpAddr>,
    pub metrics: Metrics,
    /// Where it leads, in the kernel's order; nothing for kinds that lead nowhere.
    pub hops: Vec<Hop>,
    /// The object that its next hops are in.
    pub nexthop: Option<u32>,
    pub ipv6_preference: Preference,
}

impl Route {
    /// Takes its next hops from its object, where the kernel told no more than its id (`nexthop_compat_mode` 0).
    pub fn take_hops(&mut self, objects: &BTreeMap<u32, Nexthop>) {
        let Some(id) = self.nexthop.filter(|_| self.hops.is_empty()) else {
            return;
        };
        let one = |id: &u32, weight: u16| match objects.get(id) {
            Some(Nexthop::Hop(hop)) => Some(Hop {
                weight,
                ..hop.clone()
            }),
            _ => None,
        };
        self.hops = match objects.get(&id) {
            Some(Nexthop::Group(ids)) => {
                let all = ids.iter().map(|(id, weight)| one(id, *weight));
                all.flatten().collect()
            }
            _ => one(&id, 1).into_iter().collect(),
        };
    }
}

/// Default router preference (RFC 4191).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Preference {
    Low,
    #[default]
    Medium,
    High,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub mtu: Option<u32>,
    /// `mtu lock`: what is learned of the path does not count, and DF is not set.
    pub mtu_locked: bool,
    pub hop_limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    pub device: u32,
    pub gateway: Option<IpAddr>,
    /// Of 1 to 256 (`rtnh_hops` + 1).
    pub weight: u16,
    pub dead: bool,
    pub linkdown: bool,
    pub onlink: bool,
    /// It is wrapped by the route itself (MPLS, seg6, `encap ip`), which no station knows.
    pub encap: bool,
}

/// A nexthop object (RTM_GETNEXTHOP).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nexthop {
    Hop(Hop),
    Blackhole,
    /// Ids of others with their weights.
    Group(Vec<(u32, u16)>),
}

/// What was learned of one destination, on one next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub to: IpAddr,
    /// Of the route that it was learned of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    pub device: u32,
    pub gateway: Option<IpAddr>,
    pub mtu: Option<u32>,
    pub mtu_locked: bool,
}
