//! What of a node's network changed while it was watched, as the kernel told of it: the last change of each thing.
//!
//! The node's own namespace alone. What the kernel tells nobody of is not here: most sysctls, rules of the legacy
//! iptables, ipset, routes of IPv4 that go with their link.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    address::Prefix,
    netfilter::{Chain, Family},
};

/// The last change of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `CLOCK_MONOTONIC` ns.
    pub at: u64,
    pub of: Thing,
    pub how: How,
    /// Who did it, where the kernel says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Doer>,
    /// Of a rule: what it makes of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translates: Option<Translates>,
}

/// Whose address a rule changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translates {
    Source,
    Destination,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Thing {
    Link {
        name: String,
    },
    /// What a bridge keeps of one of its ports.
    Port {
        name: String,
    },
    Address {
        prefix: Prefix,
        link: String,
    },
    Route {
        to: Prefix,
        table: u32,
    },
    /// A policy rule.
    Policy {
        ipv6: bool,
        priority: u32,
    },
    /// An entry that somebody set, or that is gone.
    Neighbour {
        address: IpAddr,
        link: String,
    },
    /// An entry of the forwarding table of a bridge or a tunnel.
    Forwarding {
        lladdr: Vec<u8>,
        link: String,
    },
    /// The queue that packets wait in to leave by a link (a qdisc or a class of one).
    Queue {
        link: String,
    },
    /// Filters of tc at a link.
    Filter {
        link: String,
    },
    /// A sysctl, named as sysctl(8) does.
    Setting {
        sysctl: String,
    },
    Table {
        family: Family,
        table: String,
    },
    /// A chain of nf_tables, its policy, or its hook.
    Chain {
        chain: Chain,
    },
    /// A rule of nf_tables, or of iptables on nf_tables.
    Rule {
        chain: Chain,
        handle: u64,
    },
    /// A set of nf_tables, or what is in it.
    Set {
        family: Family,
        table: String,
        set: String,
    },
}

impl Thing {
    /// The table of nf_tables that it is of.
    pub fn table(&self) -> Option<(Family, &str)> {
        match self {
            Self::Table { family, table } | Self::Set { family, table, .. } => {
                Some((*family, table))
            }
            Self::Chain { chain } | Self::Rule { chain, .. } => Some((chain.family, &chain.table)),
            _ => None,
        }
    }
}

/// How it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    Appeared,
    Vanished,
    /// It was there before, and is another.
    Replaced,
    /// Of a link: switched off, or on.
    Down,
    Up,
    /// Of a link that is on.
    NoCarrier,
    Carrier,
    Mtu {
        before: u32,
        now: u32,
    },
    /// Put into a bridge or a bond, or taken out of it.
    Master,
    /// Of a sysctl: what it is now.
    Set {
        now: i32,
    },
}

/// A process, as the kernel named it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doer {
    pub name: String,
    pub pid: u32,
}
