//! UDP sockets that receive, with their buffers, and who holds them.
use std::{collections::HashSet, path::Path};

use anyhow::Result;

use super::{
    inet_diag::{self, RECEIVE},
    owners::owners,
};
use crate::model::gather::Receiver;

/// Most UDP sockets that are looked through.
const MOST: usize = 1 << 20;

/// Sockets of this thread's namespace at that port; processes are looked up under `root`.
pub fn receivers(root: &Path, port: u16) -> Result<Vec<Receiver>> {
    let mut sockets = Vec::new();
    inet_diag::each(RECEIVE, MOST, |socket| {
        if socket.local.1 == port {
            sockets.push(socket);
        }
    })?;
    let inodes: HashSet<u32> = sockets.iter().map(|s| s.inode).collect();
    let owners = owners(root, &inodes);
    let receiver = |s: &inet_diag::Socket| Receiver {
        address: s.local.0,
        device: s.device,
        queued: s.memory.waiting,
        limit: s.memory.limit,
        drops: s.memory.drops,
        owner: owners.get(&s.inode).cloned(),
        peer: (s.remote.1 != 0).then_some(s.remote),
    };
    Ok(sockets.iter().map(receiver).collect())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn this_process_has_a_socket() {
        let own = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let local = own.local_addr().expect("its address");
        let found = receivers(Path::new("/"), local.port()).expect("sockets");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, local.ip());
        assert!(found[0].limit > 0 && found[0].owner.is_some());
        assert_eq!(found[0].peer, None);
        let other = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = other.local_addr().expect("its address");
        own.connect(to).expect("connected");
        let found = receivers(Path::new("/"), local.port()).expect("sockets");
        assert_eq!(found[0].peer, Some((to.ip(), to.port())));
    }
}
