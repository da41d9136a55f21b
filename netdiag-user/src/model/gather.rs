//! Evidence that costs something, gathered only when a rule asks for it: what is asked for, and
//! what came of it.
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    address::Prefix,
    command::Command,
    control::{EtcdMember, MemoryCgroup, RangeSet},
    services::Services,
    verdict::NotChecked,
};

/// Sockets and rules change: what is still wanted is found out again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// A control plane changes slowly, and asking it costs others something.
const SELDOM: Duration = Duration::from_secs(10);

/// What a rule wants to know beside the readings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Want {
    /// Listening TCP sockets of the namespace with this inode.
    Listeners(u32),
    /// TCP connections of the namespace with this inode, by destination.
    Connections(u32),
    /// Running programs of that name in the node's own namespace.
    Commands(String),
    /// The memory cgroup of that id.
    MemoryCgroup(u64),
    /// What host-local IPAM has given out on this node.
    Ipam,
    /// What this node does for Services, and what its processes were told of them.
    Services,
    /// The queues of this namespace's links.
    Qdiscs,
    /// Rules of netfilter in the namespace with that inode that drop something just now.
    Rules(u32),
    /// UDP sockets at that port of the namespace with that inode.
    Receivers { netns: u32, port: u16 },
    /// What each pod's resolv.conf says.
    Resolvers,
    /// The members of etcd that were named, or that run on this node.
    Etcd,
    /// The networks that the CNI's files on the node give to pods.
    PodNetworks,
}

impl Want {
    /// How long an answer stays good.
    pub fn again(&self) -> Duration {
        match self {
            Self::Commands(_) | Self::Etcd | Self::Ipam | Self::PodNetworks => SELDOM,
            _ => AGAIN,
        }
    }

    /// For the list of what could not be checked.
    pub fn name(&self) -> String {
        match self {
            Self::Listeners(netns) => format!("listening sockets of network namespace {netns}"),
            Self::Connections(netns) => format!("connections of network namespace {netns}"),
            Self::Services => "rules for Services".into(),
            Self::Qdiscs => "queues of the links".into(),
            Self::Rules(netns) => format!("which rule drops in network namespace {netns}"),
            Self::Receivers { netns, port } => {
                format!("UDP sockets at port {port} of network namespace {netns}")
            }
            Self::Resolvers => "resolv.conf of the pods".into(),
            Self::Etcd => "etcd".into(),
            Self::Commands(name) => format!("the command line of {name}"),
            Self::MemoryCgroup(id) => format!("the memory cgroup {id}"),
            Self::Ipam => "addresses of host-local IPAM".into(),
            Self::PodNetworks => "the CNI's files that name the pods' networks".into(),
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Listeners(Vec<Listener>),
    Connections(Vec<Destination>),
    Services(Services),
    Qdiscs(Vec<Qdisc>),
    Rules(Vec<Rule>),
    Receivers(Vec<Receiver>),
    Resolvers(Vec<Resolver>),
    Etcd(Vec<EtcdMember>),
    Ipam(Vec<RangeSet>),
    /// Each with the file that says so.
    PodNetworks(Vec<(Prefix, String)>),
    MemoryCgroup(MemoryCgroup),
    Commands(Vec<Command>),
}

impl Piece {
    /// Parts of it that could not be found out.
    fn failures(&self) -> BTreeMap<String, &str> {
        match self {
            Self::Etcd(members) => {
                let failed = members.iter().filter_map(EtcdMember::failure);
                failed.collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Unspecified where it listens on every address.
    pub address: IpAddr,
    pub port: u16,
    /// Connections that wait to be accepted, and how many may.
    pub queued: u32,
    pub backlog: u32,
    /// An IPv6 socket that takes no IPv4 connections.
    pub ipv6_only: bool,
    /// The process that holds it, `nginx[42]`, where it could be read.
    pub owner: Option<String>,
}

/// Connections from one local address to one address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub source: IpAddr,
    pub address: IpAddr,
    pub port: u16,
    /// All of them, and those that are over and wait in TIME_WAIT.
    pub sockets: u32,
    pub waiting: u32,
    /// A process that holds one, `nginx[42]`.
    pub owner: Option<String>,
}

/// How a connection to an address and port fares among the listeners there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    Served(&'a Listener),
    /// Somebody listens on that port, but on loopback only.
    Loopback(&'a Listener),
    /// Somebody listens on that port, but on other addresses only.
    Elsewhere(&'a Listener),
    Nobody,
}

/// Which of the listeners would take it.
pub fn reach(listeners: &[Listener], address: IpAddr, port: u16) -> Reach<'_> {
    let of_port = || listeners.iter().filter(|l| l.port == port);
    if let Some(listener) = of_port().find(|l| l.takes(address)) {
        return Reach::Served(listener);
    }
    let loopback = of_port().find(|l| l.address.is_loopback());
    match (loopback, of_port().next()) {
        (Some(listener), _) => Reach::Loopback(listener),
        (None, Some(listener)) => Reach::Elsewhere(listener),
        (None, None) => Reach::Nobody,
    }
}

impl Listener {
    fn takes(&self, address: IpAddr) -> bool {
        let family = address.is_ipv4() == self.address.is_ipv4();
        let both = self.address.is_ipv6() && !self.ipv6_only;
        self.address == address || self.address.is_unspecified() && (family || both)
    }
}

/// A rule that drops or rejects, and what it met while it was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Family, table and chain.
    pub place: String,
    pub text: String,
    pub packets: u64,
    /// Commands that show its chain, and that take it away.
    pub list: String,
    pub delete: String,
}

/// A link's queue; its counts are since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qdisc {
    pub ifindex: u32,
    pub kind: String,
    pub sent: u64,
    pub drops: u64,
    /// Packets that wait now.
    pub waiting: u64,
}

/// A UDP socket that receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Unspecified where it takes what comes for every address.
    pub address: IpAddr,
    /// Memory of what waits to be read, and how much may: bytes as the kernel counts them, which
    /// are more than the datagrams'.
    pub queued: u32,
    pub limit: u32,
    /// Datagrams dropped since it was made.
    pub drops: u32,
    /// The process that holds it, `nginx[42]`, where it could be read.
    pub owner: Option<String>,
}

/// What resolv.conf says in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    pub netns: u32,
    pub servers: Vec<IpAddr>,
    /// In lower case, without the last dot.
    pub search: Vec<String>,
}

/// Everything that was gathered so far, or why it could not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    pieces: Vec<(Want, Result<Piece, String>)>,
}

impl Gathered {
    /// Puts in what came of a want, in place of what came of it before.
    pub fn insert(&mut self, want: Want, piece: Result<Piece, String>) {
        self.pieces.retain(|(w, _)| *w != want);
        self.pieces.push((want, piece));
    }

    pub fn has(&self, want: &Want) -> bool {
        self.pieces.iter().any(|(w, _)| w == want)
    }

    fn piece(&self, want: &Want) -> Option<&Piece> {
        let (_, piece) = self.pieces.iter().find(|(w, _)| w == want)?;
        piece.as_ref().ok()
    }

    /// What could not be found out, and why.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut failures = BTreeMap::new();
        for (want, piece) in &self.pieces {
            match piece {
                Err(why) => drop(failures.insert(want.name(), why.as_str())),
                Ok(piece) => failures.extend(piece.failures()),
            }
        }
        let row = |(what, why): (String, &str)| NotChecked {
            what,
            why: why.to_owned(),
        };
        failures.into_iter().map(row).collect()
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn connections(&self, netns: u32) -> Option<&[Destination]> {
        match self.piece(&Want::Connections(netns))? {
            Piece::Connections(connections) => Some(connections),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn services(&self) -> Option<&Services> {
        match self.piece(&Want::Services)? {
            Piece::Services(services) => Some(services),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn listeners(&self, netns: u32) -> Option<&[Listener]> {
        match self.piece(&Want::Listeners(netns))? {
            Piece::Listeners(listeners) => Some(listeners),
            _ => None,
        }
    }

    pub fn commands(&self, name: &str) -> &[Command] {
        match self.piece(&Want::Commands(name.to_owned())) {
            Some(Piece::Commands(commands)) => commands,
            _ => &[],
        }
    }

    pub fn memory_cgroup(&self, id: u64) -> Option<&MemoryCgroup> {
        match self.piece(&Want::MemoryCgroup(id))? {
            Piece::MemoryCgroup(cgroup) => Some(cgroup),
            _ => None,
        }
    }

    pub fn ipam(&self) -> &[RangeSet] {
        match self.piece(&Want::Ipam) {
            Some(Piece::Ipam(sets)) => sets,
            _ => &[],
        }
    }

    /// Those that moved when they were last watched; none where that is not known.
    pub fn rules(&self, netns: u32) -> &[Rule] {
        match self.piece(&Want::Rules(netns)) {
            Some(Piece::Rules(rules)) => rules,
            _ => &[],
        }
    }

    /// Nothing as long as they are not known.
    pub fn qdiscs(&self) -> Option<&[Qdisc]> {
        match self.piece(&Want::Qdiscs)? {
            Piece::Qdiscs(qdiscs) => Some(qdiscs),
            _ => None,
        }
    }

    /// Nothing where it is not known.
    pub fn receivers(&self, netns: u32, port: u16) -> Option<&[Receiver]> {
        match self.piece(&Want::Receivers { netns, port })? {
            Piece::Receivers(receivers) => Some(receivers),
            _ => None,
        }
    }

    /// Of the node itself and of every pod that could be asked.
    pub fn resolvers(&self) -> Option<&[Resolver]> {
        match self.piece(&Want::Resolvers)? {
            Piece::Resolvers(resolvers) => Some(resolvers),
            _ => None,
        }
    }

    /// Members of etcd, those that did not answer as well.
    pub fn etcd(&self) -> &[EtcdMember] {
        match self.piece(&Want::Etcd) {
            Some(Piece::Etcd(members)) => members,
            _ => &[],
        }
    }

    pub fn pod_networks(&self) -> Option<&[(Prefix, String)]> {
        match self.piece(&Want::PodNetworks)? {
            Piece::PodNetworks(networks) => Some(networks),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str, ipv6_only: bool) -> Vec<Listener> {
        let address = address.parse().expect("an address");
        vec![Listener {
            address,
            port: 80,
            queued: 0,
            backlog: 128,
            ipv6_only,
            owner: None,
        }]
    }

    #[test]
    fn listeners_take_what_the_kernel_gives_them() {
        let pod: IpAddr = "10.0.0.5".parse().expect("an address");
        let reach = |address, only| match reach(&on(address, only), pod, 80) {
            Reach::Served(_) => "served",
            Reach::Loopback(_) => "loopback",
            Reach::Elsewhere(_) => "elsewhere",
            Reach::Nobody => "nobody",
        };
        for served in ["0.0.0.0", "10.0.0.5", "::"] {
            assert_eq!(reach(served, false), "served", "{served}");
        }
        assert_eq!(reach("::", true), "elsewhere");
        assert_eq!(reach("127.0.0.1", false), "loopback");
        assert_eq!(reach("::1", true), "loopback");
        assert_eq!(super::reach(&[], pod, 80), Reach::Nobody);
    }
}
