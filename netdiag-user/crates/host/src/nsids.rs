//! Which namespace is behind a link's peer: the kernel gives an id of its own (nsid), and tells
//! the id of any namespace that one can open (RTM_GETNSID, net/core/net_namespace.c).
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use rtnetlink::sys::Socket;

use super::{
    budget::Budget,
    gather::netlink::{self, HEADER, attribute, u16_at},
    listing::NETLINK_ROUTE,
    namespaces::{self, Namespace},
};

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NLM_F_REQUEST: u16 = 1;
/// `struct rtgenmsg`, padded.
const GENERIC: usize = 4;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Time for the questions of one reading: an answer takes some ten microseconds.
const BUDGET: Duration = Duration::from_millis(500);

/// Which namespace is which, from one reading to the next.
#[derive(Default)]
pub struct Nsids {
    /// What each namespace answered last, and in which reading.
    known: HashMap<u32, Answer>,
    reading: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    id: Option<i32>,
    reading: u64,
}

/// Namespaces by their inodes, and by which ids links name them.
#[derive(Clone, Debug, Default)]
pub struct PeerNamespaces {
    by_id: HashMap<i32, u32>,
    /// No link leads into some.
    paths: HashMap<u32, PathBuf>,
    /// Namespaces that there was no time to ask.
    pub unasked: usize,
    /// There are more processes than were looked at.
    pub more: bool,
}

impl PeerNamespaces {
    pub fn inode(&self, id: i32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Those that links lead into.
    pub fn linked(&self) -> impl Iterator<Item = u32> {
        self.by_id.values().copied()
    }

    pub fn path(&self, inode: u32) -> Option<&Path> {
        self.paths.get(&inode).map(PathBuf::as_path)
    }
}

impl Nsids {
    /// Finds those with the ids that this thread's namespace gives them. Anybody may make thousands
    /// of namespaces that have none: those that had one are asked first, new ones next, and the
    /// rest only while an id is still wanted, what its owner has many of last of all.
    pub fn find(&mut self, root: &Path, wanted: &HashSet<i32>) -> Result<PeerNamespaces> {
        let socket = netlink::open(NETLINK_ROUTE)?;
        let ask = |namespace: &Namespace| {
            let file = namespaces::open(&namespace.path, namespace.inode).ok()?;
            id(&socket, &file).ok()?
        };
        let found = namespaces::found(root);
        let mut peers = self.resolve(&found.all, wanted, BUDGET, ask);
        peers.more = found.more;
        let paths = found.all.into_iter().map(|n| (n.inode, n.path));
        peers.paths = paths.collect();
        Ok(peers)
    }

    fn resolve(
        &mut self,
        all: &[Namespace],
        wanted: &HashSet<i32>,
        budget: Duration,
        ask: impl Fn(&Namespace) -> Option<i32>,
    ) -> PeerNamespaces {
        let budget = Budget::new(budget);
        self.reading += 1;
        let there: HashSet<u32> = all.iter().map(|n| n.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        let rank = |namespace: &&Namespace| match self.known.get(&namespace.inode) {
            Some(Answer { id: Some(_), .. }) => (0, 0),
            None if namespace.crowd => (3, 0),
            None => (1, 0),
            Some(Answer { reading, .. }) if namespace.crowd => (3, *reading),
            Some(Answer { reading, .. }) => (2, *reading),
        };
        let mut order: Vec<_> = all.iter().collect();
        order.sort_by_key(rank);
        let mut peers = PeerNamespaces::default();
        for (place, namespace) in order.iter().enumerate() {
            if wanted.iter().all(|id| peers.by_id.contains_key(id)) {
                break;
            }
            if budget.is_spent() {
                peers.unasked = order.len() - place;
                break;
            }
            let id = ask(namespace);
            let answer = Answer {
                id,
                reading: self.reading,
            };
            self.known.insert(namespace.inode, answer);
            peers.by_id.extend(id.map(|id| (id, namespace.inode)));
        }
        peers
    }
}

/// The id that this thread's namespace gives that one.
pub fn of(file: &File) -> Option<i32> {
    let socket = netlink::open(NETLINK_ROUTE).ok()?;
    id(&socket, file).ok()?
}

/// The id that this thread's namespace gives the one that netdiag itself is in.
pub fn of_own() -> Option<i32> {
    let own = netdiag_sys::file::namespace(Path::new("/proc/self/ns/net")).ok()?;
    of(&own)
}

/// Nothing where this namespace has no id for that one, so that no link of ours leads there.
fn id(socket: &Socket, file: &File) -> Result<Option<i32>> {
    let fd = u32::try_from(file.as_raw_fd()).context("a descriptor")?;
    socket.send(&request(fd), 0).context("asking by netlink")?;
    let mut answer = Vec::new();
    netlink::receive(socket, &mut answer)?;
    Ok(read(&answer))
}

fn request(fd: u32) -> Vec<u8> {
    let length = HEADER + GENERIC + 8;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(RTM_GETNSID.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8 + GENERIC]);
    bytes.extend(8_u16.to_ne_bytes());
    bytes.extend(NETNSA_FD.to_ne_bytes());
    bytes.extend(fd.to_ne_bytes());
    bytes
}

/// -1 stands for none.
fn read(answer: &[u8]) -> Option<i32> {
    if u16_at(answer, 4)? != RTM_NEWNSID {
        return None;
    }
    let value = attribute(answer.get(HEADER + GENERIC..)?, NETNSA_NSID)?;
    let id = i32::from_ne_bytes(value.try_into().ok()?);
    (id >= 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn namespaces(inodes: std::ops::Range<u32>) -> Vec<Namespace> {
        let one = |inode| Namespace {
            inode,
            path: PathBuf::new(),
            crowd: false,
        };
        inodes.map(one).collect()
    }

    #[test]
    fn those_with_an_id_are_asked_first_and_strangers_last() {
        let asked = RefCell::new(Vec::new());
        let ask = |namespace: &Namespace| {
            asked.borrow_mut().push(namespace.inode);
            (namespace.inode == 3).then_some(7)
        };
        let mut nsids = Nsids::default();
        let soon = Duration::from_secs(60);
        let wanted = HashSet::from([7]);
        let peers = nsids.resolve(&namespaces(1..6), &wanted, soon, ask);
        assert_eq!((peers.inode(7), peers.unasked), (Some(3), 0));
        assert_eq!(asked.take(), [1, 2, 3]);
        nsids.resolve(&namespaces(1..6), &wanted, soon, ask);
        assert_eq!(asked.take(), [3], "it answered before");
        let more = HashSet::from([7, 8]);
        let peers = nsids.resolve(&namespaces(1..7), &more, soon, ask);
        assert_eq!(
            (asked.take(), peers.inode(8)),
            (vec![3, 4, 5, 6, 1, 2], None)
        );
    }

    #[test]
    fn what_its_owner_has_many_of_is_asked_last_and_asked_still() {
        let asked = RefCell::new(Vec::new());
        let ask = |namespace: &Namespace| {
            asked.borrow_mut().push(namespace.inode);
            (namespace.inode == 3).then_some(7)
        };
        let mut all = namespaces(1..6);
        all[..3].iter_mut().for_each(|n| n.crowd = true);
        let (mut nsids, soon) = (Nsids::default(), Duration::from_secs(60));
        let wanted = HashSet::from([7]);
        let peers = nsids.resolve(&all, &wanted, soon, ask);
        assert_eq!(
            (asked.take(), peers.inode(7)),
            (vec![4, 5, 1, 2, 3], Some(3))
        );
        nsids.resolve(&all, &wanted, soon, ask);
        assert_eq!(asked.take(), [3], "a link leads there");
        nsids.resolve(&all, &HashSet::from([8]), soon, ask);
        assert_eq!(asked.take(), [3, 4, 5, 1, 2]);
    }

    #[test]
    fn time_is_bounded_and_those_left_out_are_counted() {
        let mut nsids = Nsids::default();
        let wanted = HashSet::from([7]);
        let peers = nsids.resolve(&namespaces(0..5), &wanted, Duration::ZERO, |_| Some(7));
        assert_eq!((peers.inode(7), peers.unasked), (None, 5));
    }

    #[test]
    fn answers_are_read() {
        let mut answer = request(9);
        assert_eq!(read(&answer), None, "a question");
        answer[4] = RTM_NEWNSID as u8;
        answer[HEADER + GENERIC + 2] = NETNSA_NSID as u8;
        assert_eq!(read(&answer), Some(9));
        answer[HEADER + GENERIC + 4..].fill(0xff);
        assert_eq!(read(&answer), None, "no id");
        assert_eq!(read(&answer[..7]), None);
    }
}
