//! Evidence that costs something, gathered only when a rule asks for it: what is asked for, and
//! what came of it.
use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::verdict::NotChecked;

/// What a rule wants to know beside the readings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Want {
    /// Listening TCP sockets of the namespace with this inode.
    Listeners(u32),
}

impl Want {
    /// For the list of what could not be checked.
    pub fn name(&self) -> String {
        match self {
            Self::Listeners(netns) => format!("listening sockets of network namespace {netns}"),
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Listeners(Vec<Listener>),
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
        let failures = self.pieces.iter().filter_map(|(want, piece)| {
            let why = piece.as_ref().err()?;
            Some((want.name(), why.clone()))
        });
        let failures: BTreeMap<_, _> = failures.collect();
        let row = |(what, why)| NotChecked { what, why };
        failures.into_iter().map(row).collect()
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn listeners(&self, netns: u32) -> Option<&[Listener]> {
        match self.piece(&Want::Listeners(netns))? {
            Piece::Listeners(listeners) => Some(listeners),
        }
    }
}
