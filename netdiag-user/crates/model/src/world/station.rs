//! Where a packet's way can end or turn.
use serde::{Deserialize, Serialize};

/// In the kernel's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Station {
    /// A device: sending, the wire, coming in.
    Link,
    /// A program at XDP or tc, of a cgroup, or Open vSwitch.
    Program,
    Bridge,
    /// Rules of netfilter.
    Hook,
    /// The reverse path filter, and what sources cannot be.
    ReversePath,
    Route,
    Forward,
    Xfrm,
    Ttl,
    Size,
    Neighbour,
    Queue,
    Encap,
    Socket,
}
