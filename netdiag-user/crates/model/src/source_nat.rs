//! Whether a node translates the source address of what leaves it: masquerade and SNAT.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::netfilter::Iptables;

/// A packet of which somebody wants to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leaving {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The link by which it leaves.
    pub link: String,
}

/// What the rules at postrouting do with such a packet, and who is to set them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNat {
    /// The rule that translates it, or may: a selector that is not understood may match.
    pub rule: Option<String>,
    /// Rules that translate other packets.
    pub others: u64,
    /// Which iptables have NAT rules at postrouting there.
    pub programs: Vec<Iptables>,
    pub keeper: Option<Keeper>,
}

/// Whose task the rule is, as the CNI's files on the node say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    pub who: Who,
    /// The file that says so.
    pub file: String,
    /// Whether it is told to set the rule; nothing where that is not in the file.
    pub told: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// flanneld, with `--ip-masq`.
    Flannel,
    /// calico-node, by its IPPool's natOutgoing.
    Calico,
    /// A plugin with `ipMasq` in its configuration: bridge, ptp.
    Plugin,
    #[default]
    Unknown,
}
