//! Answers to what the rules asked for.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Destination, Listener, Piece, Qdisc, Receiver, Resolver, Rule, Tracked, Want};
use crate::model::{
    address::Prefix,
    command::Command,
    control::{EtcdMember, MemoryCgroup, RangeSet},
    interception::Interception,
    runtime::Runtime,
    security::Security,
    services::Services,
    verdict::NotChecked,
};

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
        let row = |(what, why): (String, &str)| NotChecked::new(what, why);
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

    /// Nothing where it is not known.
    pub fn security(&self, netns: u32) -> Option<&Security> {
        match self.piece(&Want::Security(netns))? {
            Piece::Security(security) => Some(security),
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

    /// Nothing where it is not known.
    pub fn interception(&self, netns: u32) -> Option<&Interception> {
        match self.piece(&Want::Interception(netns))? {
            Piece::Interception(interception) => Some(interception),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, or not answered yet.
    pub fn runtime(&self) -> Option<&Runtime> {
        match self.piece(&Want::Runtime)? {
            Piece::Runtime(runtime) => Some(runtime),
            _ => None,
        }
    }

    pub fn pod_networks(&self) -> Option<&[(Prefix, String)]> {
        match self.piece(&Want::PodNetworks)? {
            Piece::PodNetworks(networks) => Some(networks),
            _ => None,
        }
    }

    /// Translated connections, of every address that was asked for.
    pub fn translations(&self) -> impl Iterator<Item = &Tracked> {
        let pieces = self.pieces.iter();
        let lists = pieces.filter_map(|(_, piece)| match piece {
            Ok(Piece::Tracked(tracked)) => Some(tracked),
            _ => None,
        });
        lists.flatten()
    }
}
