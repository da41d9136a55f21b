//! One namespace of the replica while it is filled.
use std::{collections::BTreeSet, fmt::Display, io};

use anyhow::{Context, Result};

use super::netlink::{self, Channel};
use crate::{model::world::Stack, netns::Netns};

/// What stands where.
pub struct Place<'w> {
    pub netns: Netns,
    pub stack: &'w Stack,
}

/// What a thread in the namespace has to fill it by.
pub struct Space {
    pub route: Channel,
    /// Devices that are there, by the indices that they have in the recording.
    pub made: BTreeSet<u32>,
    /// What the kernel refused, and what is not stood up at all.
    pub left: Vec<String>,
}

impl Space {
    /// Of the namespace that this thread is in.
    pub fn open(made: BTreeSet<u32>) -> Result<Self> {
        let route = Channel::open(netlink::ROUTE).context("cannot open a netlink socket")?;
        let left = Vec::new();
        Ok(Self { route, made, left })
    }

    pub fn refused<S: Display>(&mut self, done: io::Result<()>, what: impl FnOnce() -> S) {
        if let Err(error) = done {
            self.left.push(format!("{}: {error}", what()));
        }
    }

    pub fn lacks(&mut self, what: String) {
        self.left.push(what);
    }
}
