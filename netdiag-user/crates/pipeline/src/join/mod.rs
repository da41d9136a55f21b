//! Recordings of several nodes as one incident: what left one node and never came to another,
//! and what came there and died.
//!
//! Nodes are told apart by their addresses: what is sent to an address that only the other has,
//! its pods' included, is on its way there. Counts are bounds: a packet that may have come within
//! the clocks' difference, or while only one of them was watched, is not called lost.
pub mod ledger;
mod way;
mod window;

use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::mark;

use self::ledger::Ledger;
pub use self::{
    way::{Count, Way},
    window::Window,
};
use super::scene::Scene;
use crate::model::{
    address::is_link_local,
    node::{LinkKind, Node},
    pod::{Pod, PodIndex},
};

/// One node in a comparison of two.
pub struct Side<'a> {
    pub node: &'a Node,
    pub ledger: &'a Ledger,
    pub clock: super::clock::Clock,
    pub started: u64,
    pub ended: u64,
    /// Its addresses and its pods'.
    pub own: BTreeSet<IpAddr>,
    /// Its uplinks were watched.
    pub sees: bool,
    /// Somebody asked for a part of its traffic only.
    pub partly: bool,
    /// It saw more flows than were kept.
    pub forgot: bool,
}

impl Side<'_> {
    /// Wall clock ns since 1970.
    pub fn wall(&self, monotonic: u64) -> i64 {
        let nanos = self.clock.time(monotonic).as_nanosecond();
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }

    pub fn monotonic(&self, wall: i64) -> u64 {
        let since = wall.saturating_sub(self.wall(self.clock.monotonic));
        self.clock.monotonic.saturating_add_signed(since)
    }

    pub fn began(&self) -> i64 {
        self.wall(self.started)
    }

    pub fn ended(&self) -> i64 {
        self.wall(self.ended)
    }

    /// Whether it has that address and the other has not: both have a bridge's 172.17.0.1.
    pub fn owns_beside(&self, other: &Self, address: IpAddr) -> bool {
        self.own.contains(&address) && !other.own.contains(&address)
    }

    /// Whether it ever sent to the other, or has it as a tunnel's peer.
    fn knows(&self, other: &Self) -> bool {
        let theirs = |address: &IpAddr| other.owns_beside(self, *address);
        let remotes = self
            .node
            .links
            .iter()
            .filter_map(|l| l.tunnel.as_ref()?.remote);
        let mut peers = remotes.chain(self.node.fdb.iter().map(|f| f.vtep));
        let sent = || {
            let flows = self.ledger.flows(netdiag_common::hop::EGRESS);
            flows.map(|(key, _)| crate::model::flow::ends(&key.flow).1)
        };
        peers.any(|a| theirs(&a)) || sent().any(|a| theirs(&a))
    }
}

/// The addresses of a node and of its pods that nobody else has.
pub fn own(node: &Node, pods: &PodIndex) -> BTreeSet<IpAddr> {
    let links = node.links.iter();
    let links = links.filter(|l| l.kind != LinkKind::Loopback);
    let own = links.flat_map(|l| l.addresses.iter().map(|a| a.prefix.address));
    let sides = node.sides().flat_map(|s| s.addresses.iter().copied());
    let pods = pods.iter().filter(|p| p.interface.is_some());
    let pods = pods.flat_map(|p| p.addresses.iter().copied());
    own.chain(sides)
        .chain(pods)
        .filter(|a| !anybodys(*a))
        .collect()
}

/// Addresses that are somebody else's on the next link.
fn anybodys(address: IpAddr) -> bool {
    is_link_local(address)
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
}

/// A node's pods as another node's source of names would have them.
pub fn pods_elsewhere(scene: &Scene) -> Vec<Pod> {
    let mut pods: Vec<Pod> = scene
        .pods
        .iter()
        .filter(|p| p.interface.is_some())
        .cloned()
        .collect();
    for pod in &mut pods {
        (pod.interface, pod.netns) = (None, None);
        pod.addresses.retain(|a| !anybodys(*a));
    }
    pods
}

/// Why nothing can be said of what passed between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotComparable {
    SameNode,
    Strangers,
    NotAtOnce,
    Unwatched,
    Partly,
    Forgot,
}

impl NotComparable {
    /// One sentence.
    pub fn told(self) -> &'static str {
        match self {
            Self::SameNode => mark!("both are recordings of one node"),
            Self::Strangers => {
                mark!(
                    "neither sent the other anything or knows it as a tunnel's peer: they may be of \
                 different clusters"
                )
            }
            Self::NotAtOnce => {
                mark!(
                    "they were not recorded at the same time by their clocks, and too few flows were \
                 seen by both to tell how those differ"
                )
            }
            Self::Unwatched => mark!("the links between them were not watched on both"),
            Self::Partly => mark!("some links or flows only were recorded (--iface, --filter)"),
            Self::Forgot => mark!("one of them saw more flows than it could keep"),
        }
    }
}

/// The time in which two nodes can be compared.
pub fn compare(one: &Side<'_>, other: &Side<'_>) -> Result<Window, NotComparable> {
    let same =
        one.node.name == other.node.name && one.own.intersection(&other.own).next().is_some();
    if same {
        return Err(NotComparable::SameNode);
    }
    if !one.knows(other) && !other.knows(one) {
        return Err(NotComparable::Strangers);
    }
    let window = window::window(one, other).ok_or(NotComparable::NotAtOnce)?;
    match (one, other) {
        (a, b) if a.partly || b.partly => Err(NotComparable::Partly),
        (a, b) if !a.sees || !b.sees => Err(NotComparable::Unwatched),
        (a, b) if a.forgot || b.forgot => Err(NotComparable::Forgot),
        _ => Ok(window),
    }
}
