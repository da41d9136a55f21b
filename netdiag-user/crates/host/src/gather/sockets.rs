//! Listening sockets of a namespace, and who owns them.
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use anyhow::Result;

use super::{
    inet_diag::{self, LISTEN, Socket},
    owners::owners,
};
use crate::model::gather::Listener;

/// Listening sockets of this thread's namespace; processes are looked up under `root`.
pub fn listeners(root: &Path) -> Result<Vec<Listener>> {
    let sockets = inet_diag::sockets(LISTEN)?;
    let inodes: HashSet<u32> = sockets.iter().map(|s| s.inode).collect();
    let owners = owners(root, &inodes);
    Ok(sockets.iter().map(|s| listener(s, &owners)).collect())
}

fn listener(socket: &Socket, owners: &HashMap<u32, String>) -> Listener {
    let (address, port) = socket.local;
    Listener {
        address,
        port,
        device: socket.device,
        queued: socket.queued,
        backlog: socket.limit,
        ipv6_only: socket.ipv6_only,
        owner: owners.get(&socket.inode).cloned(),
    }
}
