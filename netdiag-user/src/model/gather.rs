//! Evidence that costs something, gathered only when a rule asks for it: what is asked for, and
//! what came of it.
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{control::EtcdMember, verdict::NotChecked};

/// Sockets and rules change: what is still wanted is found out again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// A control plane changes slowly, and asking it costs others something.
const SELDOM: Duration = Duration::from_secs(10);

/// What a rule wants to know beside the readings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Want {
    /// Listening TCP sockets of the namespace with this inode.
    Listeners(u32),
    /// The members of etcd that were named, or that run on this node.
    Etcd,
}

impl Want {
    /// How long an answer stays good.
    pub fn again(&self) -> Duration {
        match self {
            Self::Listeners(_) => AGAIN,
            Self::Etcd => SELDOM,
        }
    }

    /// For the list of what could not be checked.
    pub fn name(&self) -> String {
        match self {
            Self::Listeners(netns) => format!("listening sockets of network namespace {netns}"),
            Self::Etcd => "etcd".into(),
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Listeners(Vec<Listener>),
    Etcd(Vec<EtcdMember>),
}

impl Piece {
    /// Parts of it that could not be found out.
    fn failures(&self) -> BTreeMap<String, &str> {
        match self {
            Self::Listeners(_) => BTreeMap::new(),
            Self::Etcd(members) => {
                let failed = members.iter().filter_map(EtcdMember::failure);
                failed.collect()
            }
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
    pub fn listeners(&self, netns: u32) -> Option<&[Listener]> {
        match self.piece(&Want::Listeners(netns))? {
            Piece::Listeners(listeners) => Some(listeners),
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
}
