//! Evidence that costs something, gathered only when a rule asks for it: what is asked for, and
//! what came of it.
mod answer;
mod asks;
mod gathered;
mod rule;
mod rule_commands;
mod rule_pass;
mod sockets;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use netdiag_lang::{english, mark};
use serde::{Deserialize, Serialize};

use super::{
    address::Prefix,
    command::Command,
    control::{EtcdMember, MemoryCgroup, RangeSet},
    impostors::Impostors,
    interception::Interception,
    link_filters::LinkFilter,
    runtime::Runtime,
    security::Security,
    services::Services,
    source_nat::{Leaving, SourceNat},
    verdict::NotChecked,
    world::Stack,
};

pub use self::{
    answer::Answer,
    asks::{Asks, Whom, earlier as in_words},
    gathered::Gathered,
    rule::{Rule, listing},
    rule_pass::Pass,
    sockets::{
        Destination, Listener, Qdisc, Reach, Receiver, Resolver, TokenBucket, Tracked, Tuple,
        hears, reach, reach_by,
    },
};

/// Sockets and rules change: what is still wanted is found out again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// A control plane changes slowly, and asking it costs others something.
const SELDOM: Duration = Duration::from_secs(10);
/// What costs this node much is asked less often: it takes a twentieth of a processor at most.
const SHARE: u32 = 20;
/// What takes longer than this waits for something that is not well, and may hold others up.
const SLOW: Duration = Duration::from_secs(10);
const SLOW_SHARE: u32 = 4;

/// What it took to find something out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of the processors.
    pub work: Duration,
    /// From question to answer.
    pub time: Duration,
}

impl Cost {
    /// How long to leave it alone, whatever was asked.
    pub fn rest(&self) -> Duration {
        let slow = (self.time > SLOW).then(|| self.time.saturating_mul(SLOW_SHARE));
        let work = self.work.saturating_mul(SHARE);
        work.max(slow.unwrap_or_default())
    }
}

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
    /// What may deny packets of the processes in the namespace with this inode.
    Security(u32),
    /// What may drop packets at links of the namespace with that inode.
    LinkFilters(u32),
    /// The members of etcd that were named, or that run on this node.
    Etcd,
    /// The networks that the CNI's files on the node give to pods.
    PodNetworks,
    /// This address's connections that this node translates.
    Tracked(IpAddr),
    /// Rules of the namespace with that inode that lead connections to a proxy there.
    Interception(u32),
    /// What the container runtime and its logs say of setting up pods' networks.
    Runtime,
    /// Processes that call themselves a daemon of the node's and may not be believed.
    Impostors,
    /// Whether the node's rules translate the source of such a packet.
    SourceNat(Leaving),
    /// What the kernel decides a packet's way by in the namespace with that inode.
    Stack(u32),
}

impl Want {
    /// How long this answer stays good. Who repairs a node wants to see soon that it helped; what
    /// cost much stands for longer.
    pub fn again(&self, answer: &Piece, cost: Cost) -> Duration {
        let usual = match self {
            Self::Runtime if answer.tells_trouble() => AGAIN,
            Self::Commands(_)
            | Self::Etcd
            | Self::Impostors
            | Self::Ipam
            | Self::PodNetworks
            | Self::Runtime
            | Self::Security(_) => SELDOM,
            _ => AGAIN,
        };
        usual.max(cost.rest())
    }

    /// For the list of what could not be checked.
    pub fn name(&self) -> String {
        match self {
            Self::Listeners(netns) => english!("listening sockets of network namespace {netns}"),
            Self::Connections(netns) => english!("connections of network namespace {netns}"),
            Self::Services => mark!("rules for Services").into(),
            Self::Qdiscs => mark!("queues of the links").into(),
            Self::Rules(netns) => english!("which rule drops in network namespace {netns}"),
            Self::Receivers { netns, port } => {
                english!("UDP sockets at port {port} of network namespace {netns}")
            }
            Self::Security(netns) => english!("programs on cgroups of network namespace {netns}"),
            Self::LinkFilters(netns) => english!("filters of links of network namespace {netns}"),
            Self::Resolvers => mark!("resolv.conf of the pods").into(),
            Self::Etcd => "etcd".into(),
            Self::Commands(name) => english!("the command line of {name}"),
            Self::MemoryCgroup(id) => english!("the memory cgroup {id}"),
            Self::Ipam => mark!("addresses of host-local IPAM").into(),
            Self::PodNetworks => mark!("the CNI's files that name the pods' networks").into(),
            Self::Tracked(address) => english!("translated connections of {address}"),
            Self::Interception(netns) => {
                english!("rules for a sidecar in network namespace {netns}")
            }
            Self::Runtime => mark!("how pods' networks are set up").into(),
            Self::Impostors => mark!("which daemons run on this node").into(),
            Self::SourceNat(_) => mark!("rules that masquerade").into(),
            Self::Stack(netns) => {
                english!("links, routes and neighbours of network namespace {netns}")
            }
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
    Security(Security),
    LinkFilters(Vec<LinkFilter>),
    Etcd(Vec<EtcdMember>),
    Ipam(Vec<RangeSet>),
    /// Each with the file that says so.
    PodNetworks(Vec<(Prefix, String)>),
    MemoryCgroup(MemoryCgroup),
    Commands(Vec<Command>),
    Tracked(Vec<Tracked>),
    Runtime(Runtime),
    Interception(Interception),
    Impostors(Impostors),
    SourceNat(SourceNat),
    Stack(Box<Stack>),
    /// An answer that ends at a bound, and what it leaves out.
    Partly {
        piece: Box<Piece>,
        left: Vec<NotChecked>,
    },
}

impl Piece {
    /// The same where some of it was left out.
    pub fn without(self, left: Vec<NotChecked>) -> Self {
        match left.is_empty() {
            true => self,
            false => Self::Partly {
                piece: Box::new(self),
                left,
            },
        }
    }

    /// What was found out, whether or not that is all.
    pub fn found(&self) -> &Self {
        let mut piece = self;
        while let Self::Partly { piece: found, .. } = piece {
            piece = found;
        }
        piece
    }

    fn tells_trouble(&self) -> bool {
        match self.found() {
            Self::Runtime(runtime) => runtime.setups.iter().any(|pod| pod.failures > 0),
            _ => false,
        }
    }

    /// Parts of it that could not be found out.
    fn failures(&self) -> BTreeMap<String, String> {
        let owned = |(what, why): (String, &str)| (what, why.to_owned());
        match self {
            Self::Etcd(members) => {
                let failed = members.iter().filter_map(EtcdMember::failure);
                failed.map(owned).collect()
            }
            Self::Runtime(runtime) => runtime.failures().map(owned).collect(),
            Self::Impostors(impostors) => impostors.failures().collect(),
            Self::Partly { piece, left } => {
                let left = left.iter().map(|row| (row.what.clone(), row.why.clone()));
                left.chain(piece.failures()).collect()
            }
            Self::Services(services) => services.unread.iter().cloned().collect(),
            _ => BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_leaves_out_is_told() {
        let left = || {
            vec![NotChecked::new(
                "rules beyond the first 2",
                "no more are read",
            )]
        };
        let of = |left| Piece::Rules(Vec::new()).without(left);
        assert_eq!(of(Vec::new()), Piece::Rules(Vec::new()));
        let json = serde_json::to_string(&of(left())).expect("written");
        let read: Piece = serde_json::from_str(&json).expect("read");
        assert_eq!(read, of(left()));
        let mut gathered = Gathered::default();
        gathered.insert(Want::Rules(1), Ok(read));
        assert_eq!(gathered.not_checked(), left());
        gathered.insert(Want::Qdiscs, Ok(Piece::Qdiscs(Vec::new()).without(left())));
        assert_eq!(gathered.qdiscs(), Some(&[][..]));
    }

    #[test]
    fn what_costs_much_is_asked_seldom() {
        let again = |want: Want, work: u64, time: u64| {
            let [work, time] = [work, time].map(Duration::from_millis);
            let answer = Piece::Rules(Vec::new());
            want.again(&answer, Cost { work, time }).as_millis()
        };
        assert_eq!(
            again(Want::Rules(1), 80, 1_300),
            2_000,
            "waiting costs nothing"
        );
        assert_eq!(again(Want::Rules(1), 6_000, 7_000), 120_000);
        assert_eq!(again(Want::Etcd, 10, 9_000), 10_000);
        assert_eq!(again(Want::Etcd, 10, 20_000), 80_000);
    }
}
