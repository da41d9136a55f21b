//! Addresses of devices (RTM_GETADDR).
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Prefix;

/// How far an address or a route is valid (`enum rt_scope_t`, include/uapi/linux/rtnetlink.h): the
/// smaller, the farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(pub u8);

impl Scope {
    pub const UNIVERSE: Self = Self(0);
    pub const SITE: Self = Self(200);
    pub const LINK: Self = Self(253);
    pub const HOST: Self = Self(254);
    pub const NOWHERE: Self = Self(255);
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Index of its device.
    pub device: u32,
    /// The address itself, with the length of its network.
    pub own: Prefix,
    /// The other end of a point-to-point link, where one is named.
    pub peer: Option<IpAddr>,
    pub broadcast: Option<IpAddr>,
    pub scope: Scope,
    pub flags: Flags,
}

impl Address {
    /// The network that it is in: of a point-to-point link, the other end's.
    pub fn network(&self) -> Prefix {
        Prefix {
            address: self.peer.unwrap_or(self.own.address),
            length: self.own.length,
        }
    }
}

/// Flags of an address (IFA_F_*, include/uapi/linux/if_addr.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u32);

impl Flags {
    /// Not the first of its network on that device: never chosen before that one.
    pub const SECONDARY: u32 = 0x01;
    /// Usable while it is still asked for (RFC 4429).
    pub const OPTIMISTIC: u32 = 0x04;
    /// Somebody else has it.
    pub const DAD_FAILED: u32 = 0x08;
    /// Not chosen where there is another.
    pub const DEPRECATED: u32 = 0x20;
    /// Still asked for: nothing is taken for it.
    pub const TENTATIVE: u32 = 0x40;
    /// No route to its network was made with it.
    pub const NO_PREFIX_ROUTE: u32 = 0x200;

    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}
