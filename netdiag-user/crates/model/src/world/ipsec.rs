//! IPsec's policies of one namespace (net/xfrm/xfrm_policy.c): which packets they are about. What becomes of those is not read.
use serde::{Deserialize, Serialize};

use crate::address::Prefix;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipsec {
    pub policies: Vec<IpsecPolicy>,
    /// What no policy is about is refused somewhere (`ip xfrm policy setdefault`).
    #[serde(default)]
    pub refuses_rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecPolicy {
    pub direction: Direction,
    pub from: Prefix,
    pub to: Prefix,
    /// Any where it is 0.
    pub protocol: u8,
    pub sport: Ports,
    pub dport: Ports,
}

/// `XFRM_POLICY_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    In,
    Out,
    Forward,
}

/// Those that are alike in the bits of the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub value: u16,
    pub mask: u16,
}

impl Ports {
    pub fn has(self, port: u16) -> bool {
        port & self.mask == self.value & self.mask
    }
}
