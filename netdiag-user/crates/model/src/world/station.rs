//! Where a packet's way can end or turn.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In the kernel's own order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Station {
    /// A device: sending, the wire, coming in.
    Link,
    /// A program at XDP or tc, of a cgroup, or Open vSwitch.
    Program,
    /// A bridge: its ports' states and flags, its table.
    Bridge,
    /// Rules of netfilter.
    Hook,
    /// The reverse path filter, and what sources cannot be.
    ReversePath,
    /// Rules and tables.
    Route,
    /// Whether packets for others are led on.
    Forward,
    /// IPsec's policies.
    Xfrm,
    /// How many hops are left.
    Ttl,
    /// What fits the way out.
    Size,
    /// The next hop's link-layer address.
    Neighbour,
    /// A link's or a processor's queue.
    Queue,
    /// A tunnel's end.
    Encap,
    /// Who listens here.
    Socket,
}

impl Station {
    /// As recordings and metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Program => "program",
            Self::Bridge => "bridge",
            Self::Hook => "hook",
            Self::ReversePath => "reverse-path",
            Self::Route => "route",
            Self::Forward => "forward",
            Self::Xfrm => "xfrm",
            Self::Ttl => "ttl",
            Self::Size => "size",
            Self::Neighbour => "neighbour",
            Self::Queue => "queue",
            Self::Encap => "encap",
            Self::Socket => "socket",
        }
    }
}
