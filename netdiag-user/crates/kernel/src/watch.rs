//! Listens to who else changes qdiscs and filters (RTNLGRP_TC). A clsact qdisc goes with all of its
//! filters, and no request deletes only an empty one: where somebody else was at it, it stays.
use std::collections::BTreeSet;

use super::{
    rtnl::{self, Kernel, Wire},
    tc,
};

const RTNLGRP_TC: u32 = 4;
/// Some thousand notes: an agent may renew the filters of a whole node at once.
const ROOM: i32 = 4 << 20;

/// What was heard of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// On whose qdiscs.
    pub links: BTreeSet<u32>,
    /// Something was said that is not known.
    pub lost: bool,
}

impl Heard {
    pub fn touches(&self, ifindex: u32) -> bool {
        self.lost || self.links.contains(&ifindex)
    }
}

pub struct Watch {
    /// Nothing where nobody can be listened to: everything may have been said.
    wire: Option<Box<dyn Wire>>,
}

impl Watch {
    /// Listens from now on.
    pub fn new() -> Self {
        match Kernel::listen(RTNLGRP_TC, ROOM) {
            Ok(kernel) => Self::over(Box::new(kernel)),
            Err(error) => {
                log::warn!("qdiscs stay where they are: listening to netlink failed: {error}");
                Self { wire: None }
            }
        }
    }

    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self { wire: Some(wire) }
    }

    /// What was said since the last time; these are our own sockets.
    pub fn hear(&mut self, ours: &[u32]) -> Heard {
        let mut heard = Heard::default();
        let Some(wire) = &mut self.wire else {
            heard.lost = true;
            return heard;
        };
        loop {
            let datagram = match wire.receive() {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return heard,
                Err(error) => {
                    log::debug!("listening to netlink: {error}");
                    heard.lost = true;
                    // An overrun is told once, and what comes after it is heard.
                    match error.raw_os_error() {
                        Some(libc::ENOBUFS) => continue,
                        _ => return heard,
                    }
                }
            };
            match rtnl::told(&datagram) {
                Ok(messages) => {
                    let others = messages.iter();
                    heard
                        .links
                        .extend(others.filter_map(|m| tc::doing_of_others(m, ours)));
                }
                Err(_) => heard.lost = true,
            }
        }
    }
}
