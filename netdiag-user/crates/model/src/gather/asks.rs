//! What a rule of netfilter asks of packets, as far as rules are told apart by it.
pub mod earlier;

use serde::{Deserialize, Serialize};

use crate::{address::Prefix, world::ruleset::Hook};

/// What is asked together; what is not said here may be asked beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Whom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Whom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The first and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<(u16, u16)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// Kinds of ICMP messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<u8>,
    /// They are such as connection tracking calls invalid.
    #[serde(skip_serializing_if = "no")]
    pub invalid: bool,
    /// Something is to be otherwise that is not told here.
    #[serde(skip_serializing_if = "no")]
    pub negated: bool,
    /// It tells the sender.
    #[serde(skip_serializing_if = "no")]
    pub rejects: bool,
    /// It is no rule, but the policy of a chain that drops there what none of its rules takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Hook>,
}

/// Whom packets are from or for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    These(Prefix),
    AllBut(Prefix),
    /// A set of them, or a range.
    Some,
}

fn no(is: &bool) -> bool {
    !is
}

impl Whom {
    /// False where it is known to be for others.
    pub fn may_be(&self, address: std::net::IpAddr) -> bool {
        match self {
            Self::These(prefix) => prefix.contains(address),
            Self::AllBut(prefix) => !prefix.contains(address),
            Self::Some => true,
        }
    }

    /// One address, and nobody else's.
    pub fn is_one(&self) -> bool {
        matches!(self, Self::These(prefix) if *prefix == Prefix::host(prefix.address))
    }
}
