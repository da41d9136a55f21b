//! Rules that choose among the tables (`ip rule`, net/core/fib_rules.c).
use serde::{Deserialize, Serialize};

use crate::address::Prefix;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Table(u32),
    /// The table of the VRF that the packet came in or goes out by.
    L3mdev,
    Goto(u32),
    Nop,
    Blackhole,
    Unreachable,
    Prohibit,
}

/// One rule; a selector that is not there takes every packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub ipv6: bool,
    pub priority: u32,
    pub action: Action,
    /// Takes what the selectors do not.
    pub invert: bool,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    pub tos: u8,
    /// By name: a rule whose device is gone takes nothing (`[detached]`).
    pub iif: Option<String>,
    pub oif: Option<String>,
    pub mark: Option<Masked>,
    pub uids: Option<Range<u32>>,
    pub protocol: Option<u8>,
    pub sports: Option<Range<u16>>,
    pub dports: Option<Range<u16>>,
    pub tunnel_id: Option<u64>,
    /// A route is not taken whose prefix is no longer than that.
    pub suppress_prefix_length: Option<u8>,
    /// Nor one by a device of that group.
    pub suppress_group: Option<u32>,
    /// A selector that this netdiag does not know, by the attribute's number.
    pub unknown: Option<u16>,
}

impl Rule {
    /// One that takes every packet.
    pub fn every(ipv6: bool, priority: u32, action: Action) -> Self {
        Self {
            ipv6,
            priority,
            action,
            invert: false,
            from: None,
            to: None,
            tos: 0,
            iif: None,
            oif: None,
            mark: None,
            uids: None,
            protocol: None,
            sports: None,
            dports: None,
            tunnel_id: None,
            suppress_prefix_length: None,
            suppress_group: None,
            unknown: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked {
    pub value: u32,
    pub mask: u32,
}

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range<T> {
    pub start: T,
    pub end: T,
}

impl<T: PartialOrd> Range<T> {
    pub fn has(&self, value: &T) -> bool {
        *value >= self.start && *value <= self.end
    }
}

impl Masked {
    pub fn takes(self, mark: u32) -> bool {
        (self.value ^ mark) & self.mask == 0
    }
}
