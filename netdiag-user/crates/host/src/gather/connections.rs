//! Connections of a namespace by destination: what takes up its local ports.
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use anyhow::Result;

use super::{
    inet_diag::{self, CONNECTED, Socket, TIME_WAIT},
    owners::owners,
};
use crate::{
    model::gather::Destination,
    sys::file::{self, SMALL},
};

/// Destinations with most connections; the rest has plenty of ports left.
const MOST: usize = 10;
/// Most connections of each state that are counted.
const SOCKETS: usize = 1 << 20;

/// Those of this thread's namespace, out of the local port range; the most first.
pub fn destinations(root: &Path) -> Result<Vec<Destination>> {
    let range = Path::new("/proc/sys/net/ipv4/ip_local_port_range");
    let range = file::kernel(range, SMALL);
    let range = range.unwrap_or_default();
    let mut ends = range
        .split_whitespace()
        .filter_map(|end| end.parse::<u16>().ok());
    let (low, high) = (ends.next().unwrap_or(0), ends.next().unwrap_or(u16::MAX));
    let mut counts: HashMap<(IpAddr, IpAddr, u16), Destination> = HashMap::new();
    let mut inodes = HashMap::new();
    let mut count = |socket: Socket, waits| {
        if !(low..=high).contains(&socket.local.1) {
            return;
        }
        let key = (socket.local.0, socket.remote.0, socket.remote.1);
        let (source, address, port) = key;
        let destination = counts.entry(key).or_insert(Destination {
            source,
            address,
            port,
            sockets: 0,
            waiting: 0,
            owner: None,
        });
        destination.sockets += 1;
        destination.waiting += waits;
        if socket.inode != 0 {
            inodes.insert(key, socket.inode);
        }
    };
    inet_diag::each(CONNECTED, SOCKETS, |socket| count(socket, 0))?;
    inet_diag::each(TIME_WAIT, SOCKETS, |socket| count(socket, 1))?;
    let mut most: Vec<_> = counts.into_values().collect();
    most.sort_by_key(|d| std::cmp::Reverse(d.sockets));
    most.truncate(MOST);
    let inode = |d: &Destination| inodes.get(&(d.source, d.address, d.port)).copied();
    let wanted: HashSet<u32> = most.iter().filter_map(inode).collect();
    let owners = owners(root, &wanted);
    for destination in &mut most {
        destination.owner = inode(destination).and_then(|i| owners.get(&i).cloned());
    }
    Ok(most)
}
