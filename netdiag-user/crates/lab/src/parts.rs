//! What of a lab's nodes a scenario needs for itself.
use super::scenarios::Scenario;

/// A part of a lab. A scenario that takes one changes it, or lets nobody else see it work; one
/// that stops it lets nothing through there while its fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its MTU, its carrier, its queue.
    Uplink,
    /// A second NIC, with its routes.
    SecondNic,
    /// Its MTU, addresses, port and number.
    Tunnel,
    /// Whether packets come to the other node's pods and back at all: routes, rules, forwarding.
    Way,
    /// Rules that drop packets.
    Firewall,
    /// kube-proxy's rules.
    Services,
    /// Who answers lookups.
    NameServer,
    /// The first pod's own program and ports.
    Pod,
    /// The port by which clients use a database: whoever drops what is for it first leaves nothing
    /// for others to drop.
    Database,
    /// Where TCP from and to the first pod ends.
    Connections,
    /// Pods' addresses and the container runtime.
    Cni,
    Etcd,
    /// The table of tracked connections, and what it translates.
    Conntrack,
    /// The lab's own cgroup.
    Cgroup,
    /// Limits of the whole machine.
    Machine,
}

impl Part {
    /// In the middle of a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uplink => "the uplink",
            Self::SecondNic => "the second NIC",
            Self::Tunnel => "the tunnel",
            Self::Way => "the way to the other node's pods",
            Self::Firewall => "the node's firewall",
            Self::Services => "kube-proxy's rules",
            Self::NameServer => "the name server",
            Self::Pod => "the first pod's ports",
            Self::Database => "a database's port",
            Self::Connections => "the first pod's connections",
            Self::Cni => "the CNI and the container runtime",
            Self::Etcd => "etcd",
            Self::Conntrack => "connection tracking",
            Self::Cgroup => "the lab's cgroup",
            Self::Machine => "the machine's limits",
        }
    }

    /// What both take.
    pub fn shared(first: &Scenario, second: &Scenario) -> Option<Self> {
        let mut taken = first.takes.iter().copied();
        taken.find(|part| second.takes.contains(part))
    }

    /// What the one takes and the other needs as it is.
    pub fn missing(taker: &Scenario, user: &Scenario) -> Vec<Self> {
        let taken = taker.takes.iter().copied();
        taken.filter(|part| user.relies_on.contains(part)).collect()
    }
}
