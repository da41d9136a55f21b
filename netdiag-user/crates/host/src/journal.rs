//! The journal of what changes in a node's network while it is watched: what the kernel tells by netlink to everybody who
//! listens (rtnetlink(7), and nf_tables' own group), with the moment and, of nf_tables, who did it.
//!
//! Other users' pods churn, agents write thousands of rules at a time: each kind of thing has its room, in which the
//! oldest makes way.
mod kept;
mod netfilter;
mod routing;
mod traffic_control;

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use netdiag_lang::{english, mark};
use rtnetlink::{
    MulticastGroup,
    sys::{Socket, protocols::NETLINK_ROUTE},
};
use tokio::{
    task::{JoinHandle, yield_now},
    time::sleep,
};

use crate::{
    gather::nfnetlink::NETLINK_NETFILTER,
    model::{journal::Change, node::Node, verdict::NotChecked},
    sys::{self, socket},
};
use kept::Kept;
use netfilter::Batch;
use routing::Routing;

/// What may wait to be heard, in bytes: an agent may replace a whole table at once.
const ROOM: i32 = 2 << 20;
/// NFNLGRP_NFTABLES (include/uapi/linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = 7;
const GROUPS: [MulticastGroup; 11] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Netconf,
    MulticastGroup::Tc,
];

/// How long after changes nobody listens: whoever makes many is heard a few times a second, whatever he makes.
const LULL: Duration = Duration::from_millis(200);
/// Datagrams that are read in a row; what comes faster than that leaves others their turn.
const ROW: usize = 1024;
/// Of one datagram: the kernel makes none of more than some pages (NLMSG_GOODSIZE, and a message that needs more).
const LONGEST: usize = 64 << 10;

/// Notes what changes from when it was opened until it is dropped.
pub struct Journal {
    shared: Arc<Mutex<Shared>>,
    tasks: Vec<JoinHandle<()>>,
    /// What is not heard.
    deaf: Vec<NotChecked>,
}

type Read = fn(&mut Shared, &[u8], u64);

#[derive(Default)]
struct Shared {
    kept: Kept,
    routing: Routing,
    batch: Batch,
}

impl Journal {
    /// Listens in the namespace of the calling thread. Must be called within a tokio runtime.
    pub fn open() -> Self {
        let mut journal = Self {
            shared: Arc::default(),
            tasks: Vec::new(),
            deaf: Vec::new(),
        };
        let groups = GROUPS.map(|group| group as u32);
        let routing = (NETLINK_ROUTE, groups.as_slice());
        journal.hear(
            mark!("changes of links, routes and neighbours"),
            routing,
            Shared::routing,
        );
        let netfilter = (NETLINK_NETFILTER, [NFTABLES].as_slice());
        journal.hear(
            mark!("changes of nf_tables' rules"),
            netfilter,
            Shared::netfilter,
        );
        journal
    }

    fn hear(&mut self, what: &'static str, (protocol, groups): (isize, &[u32]), read: Read) {
        match listen(protocol, groups) {
            Ok(socket) => self.tasks.push(hear(socket, self.shared.clone(), read)),
            Err(error) => {
                let why = english!("listening to netlink failed: {error}");
                self.deaf.push(NotChecked::new(what, why));
            }
        }
    }

    /// What is not heard, and why.
    pub fn not_checked(&self) -> &[NotChecked] {
        &self.deaf
    }

    /// What is there is no news.
    pub fn seed(&self, node: &Node) {
        lock(&self.shared).routing.seed(node);
    }

    /// What changed so far, in the order in which it did.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.shared).kept.changes()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn routing(&mut self, datagram: &[u8], now: u64) {
        let kept = &mut self.kept;
        self.routing
            .read(datagram, now, &mut |change| kept.add(change));
    }

    fn netfilter(&mut self, datagram: &[u8], now: u64) {
        let kept = &mut self.kept;
        self.batch
            .read(datagram, now, &mut |change| kept.add(change));
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    let fd = socket.as_raw_fd();
    if let Err(error) = socket::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM) {
        log::debug!("a larger netlink buffer: {error}");
    }
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Hands each datagram to `read`, with the moment at which it was heard, by a lull later than it came.
fn hear(socket: Socket, shared: Arc<Mutex<Shared>>, read: Read) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = Vec::with_capacity(LONGEST);
        let error = loop {
            let heard = row(&socket, &mut buffer, |datagram| {
                read(&mut lock(&shared), datagram, super::stack::now());
            });
            match heard {
                Ok(ROW) => yield_now().await,
                Ok(0) => match readable(&socket).await {
                    Ok(()) => {}
                    Err(error) => break error,
                },
                Ok(_) => sleep(LULL).await,
                Err(error) => break error,
            }
        };
        log::debug!("changes are not heard any more: {error}");
    })
}

/// Until something comes. Each datagram wakes whoever waits so, which is why nobody does while changes follow each other.
async fn readable(socket: &Socket) -> io::Result<()> {
    let waits = sys::readable::readable(socket.as_fd().try_clone_to_owned()?)?;
    waits.readable().await.map(drop)
}

/// What has come so far, and how much that was.
fn row(socket: &Socket, buffer: &mut Vec<u8>, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
    for heard in 0..ROW {
        buffer.clear();
        match socket.recv_from(buffer, 0) {
            // Who has the right may send to this socket, too.
            Ok((_, from)) if from.port_number() != 0 => {}
            Ok(_) => each(buffer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
            // An overrun is told once, and what comes after it is heard.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                log::debug!("more changes than could be heard");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ROW)
}
