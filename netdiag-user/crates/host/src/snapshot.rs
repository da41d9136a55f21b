//! One reading of everything: the audit's snapshot.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result};
use rtnetlink::Handle;

use super::{
    counters,
    journal::Journal,
    links::{self, Links},
    listing::{Left, Listed, NODE},
    namespaces,
    neighbours::Watch,
    nsids::{Nsids, PeerNamespaces},
    pod_side::{self, Side},
    routes, rules,
    short::Short,
    sysctl,
};
use crate::model::{
    journal::Change,
    node::{Counters, Link, LinkKind, NeighbourMoves, Node, PodSide},
    roles::{Role, Roles},
    verdict::NotChecked,
};

/// Pods that are looked into: as many as the programs' table of namespaces takes beside the node's
/// own.
pub const MOST_SIDES: usize = 4095;
/// Time for entering those that are new, in one reading: some 0.2 ms each.
const ENTERING: Duration = Duration::from_secs(1);

/// Reads the node of the namespace that it was opened in.
pub struct Reader {
    handle: Handle,
    root: PathBuf,
    name: String,
    kernel: String,
    neighbours: Watch,
    journal: Journal,
    /// Where the namespaces of the last reading are.
    paths: Mutex<Vec<(u32, PathBuf)>>,
    /// Pod sides do not change while the pod lives. The next namespace gets the inode of one that
    /// is gone, its link another index, its pod another beginning: the two are the key.
    sides: Mutex<HashMap<(u32, Hold), Side>>,
    /// Pods' namespaces that no link leads into.
    linkless: Mutex<Vec<Linkless>>,
    nsids: Mutex<Nsids>,
    turns: Mutex<counters::Turns>,
    short: Mutex<Short>,
}

/// A pod's namespace by its inode, and since when it is this pod's (`CLOCK_MONOTONIC` ns).
pub type Linkless = (u32, Option<u64>);

/// What a namespace is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hold {
    /// The index of the link that leads there.
    Link(u32),
    Pod(Option<u64>),
}

impl Reader {
    /// Opens netlink. Must be called within a tokio runtime.
    pub fn open(root: &Path, name: Option<&str>) -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        crate::sys::program::look_below(root);
        let uname = nix::sys::utsname::uname().context("asking for the kernel's name")?;
        let host = uname.nodename().to_string_lossy().into_owned();
        Ok(Self {
            handle,
            root: root.to_owned(),
            neighbours: Watch::open()?,
            journal: Journal::open(),
            name: name.map_or(host, str::to_owned),
            kernel: uname.release().to_string_lossy().into_owned(),
            paths: Mutex::default(),
            sides: Mutex::default(),
            linkless: Mutex::default(),
            nsids: Mutex::default(),
            turns: Mutex::default(),
            short: Mutex::default(),
        })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Pods whose namespaces no link leads into (macvlan, ipvlan, a device moved in), as the next
    /// reading is to show them. Tells whether that is news.
    pub fn look_into(&self, pods: Vec<Linkless>) -> bool {
        let mut known = lock(&self.linkless);
        let news = *known != pods;
        *known = pods;
        news
    }

    pub async fn node(&self) -> Result<Node> {
        let mut short = Short::default();
        let mut links = links::links(&NODE, true)?;
        short.node("links", links.left);
        short.node("addresses", links.left_addresses);
        let peers = self.peers(&mut links);
        (short.unasked, short.processes) = (peers.unasked, peers.more);
        let links = links.all;
        let names: Vec<_> = links.iter().map(|l| l.name.clone()).collect();
        let mut whole = |what, left| short.node(what, left);
        let routes = kept(routes::routes(NODE.routes)?, |left| whole("routes", left));
        let rules = rules::rules().map_or_else(
            |_| Vec::new(),
            |rules| kept(rules, |left| whole("policy rules", left)),
        );
        let neighbours = kept(routes::neighbours()?, |left| whole("neighbours", left));
        let fdb = kept(routes::fdb(overlays(&links))?, |left| {
            whole("forwarding entries", left)
        });
        let mut node = Node {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            netns: namespaces::own().unwrap_or(0),
            routes,
            policy_tables: rules::policy_tables(&rules),
            rules,
            neighbours,
            fdb,
            sysctls: sysctl::read(&self.root, &names),
            links,
            pod_sides: Vec::new(),
            linkless: Vec::new(),
            counters: Vec::new(),
            known_as: Vec::new(),
            neighbour_moves: self.neighbour_moves(),
            changes: Vec::new(),
        };
        self.journal.seed(&node);
        node.changes = self.journal.changes();
        (node.pod_sides, node.linkless) = self.sides(&node, &peers, &mut short);
        let others = behind_uplinks(&node);
        node.pod_sides.retain(|side| !others.contains(&side.netns));
        *lock(&self.paths) = paths(&node, &peers);
        *lock(&self.short) = short;
        node.counters = self.counters();
        Ok(node)
    }

    /// Finds where links lead.
    fn peers(&self, links: &mut Links) -> PeerNamespaces {
        let wanted: HashSet<i32> = links.nsids.values().copied().collect();
        let peers = lock(&self.nsids).find(&self.root, &wanted);
        let peers = peers.unwrap_or_else(|e| {
            log::debug!("asking for namespaces: {e:#}");
            PeerNamespaces::default()
        });
        for link in &mut links.all {
            let id = links.nsids.get(&link.index);
            link.peer_netns = id.and_then(|id| peers.inode(*id));
        }
        peers
    }

    /// What the last reading left out.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut all = lock(&self.short).not_checked();
        all.extend_from_slice(self.journal.not_checked());
        all
    }

    /// Whether there are pods that the next reading is to enter.
    pub fn goes_on(&self) -> bool {
        lock(&self.short).unentered > 0 && lock(&self.sides).len() < MOST_SIDES
    }

    /// Neighbours whose link-layer address changed since this was opened.
    pub fn neighbour_moves(&self) -> Vec<NeighbourMoves> {
        self.neighbours.moves()
    }

    /// What else changed since then.
    pub fn changes(&self) -> Vec<Change> {
        self.journal.changes()
    }

    /// Counters of the namespaces that the last reading of the node found.
    pub fn counters(&self) -> Vec<Counters> {
        // Where the first process is. In a container of its own that is its namespace.
        let first = self.root.join("proc/1/ns/net");
        let namespaces = lock(&self.paths).clone();
        let all = namespaces.len();
        let (counters, left) = lock(&self.turns).read(namespaces, first);
        lock(&self.short).uncounted = (left, all);
        counters
    }

    /// Those of pods with a link here, and of those without. What no earlier reading entered is
    /// entered now, as far as there is time and room.
    fn sides(
        &self,
        node: &Node,
        peers: &PeerNamespaces,
        short: &mut Short,
    ) -> (Vec<PodSide>, Vec<PodSide>) {
        let roles = Roles::new(node);
        let is_pod = |l: &&Link| {
            roles.of(l) == Some(Role::Pod) || roles.is_pods_and_down(l) || roles.may_be_pods(l)
        };
        let links = node.links.iter().filter(is_pod);
        let (linked, peers_inside) = linked(links);
        let mut linkless = lock(&self.linkless).clone();
        linkless.retain(|(inode, _)| *inode != node.netns && !peers_inside.contains_key(inode));
        let linkless = linkless.into_iter();
        let linkless: Vec<Key> = linkless.map(|(inode, at)| (inode, Hold::Pod(at))).collect();
        let (wanted, without_room) = with_room(&linked, &linkless);
        let mut known = lock(&self.sides);
        short.unentered = without_room + self.look(&mut known, &wanted, peers);
        for side in known.values() {
            short.pods_changed += usize::from(side.more.changed);
            short.pods_links += usize::from(side.more.links);
            short.pods_addresses += usize::from(side.more.addresses);
            short.pods_routes += usize::from(side.more.routes);
        }
        let all = |keys: Vec<Key>| {
            let sides = keys.iter().filter_map(|key| known.get(key));
            let sides = sides.filter(|side| !side.elsewhere);
            let own = sides.map(|side| own(&side.side, peers_inside.get(&side.side.netns)));
            own.collect()
        };
        (all(linked), all(linkless))
    }

    /// Enters those that are not known yet, and those that changed while they were read, and says how
    /// many were left.
    fn look(
        &self,
        known: &mut HashMap<Key, Side>,
        wanted: &[Key],
        peers: &PeerNamespaces,
    ) -> usize {
        let keys: HashSet<&Key> = wanted.iter().collect();
        known.retain(|key, side| keys.contains(key) && !side.more.changed);
        let new = wanted.iter().filter(|key| !known.contains_key(key));
        let new = new.filter_map(|key| Some((*key, peers.path(key.0)?.to_owned())));
        let new: Vec<_> = new.collect();
        let entered = new.iter();
        let entered = entered.map(|((inode, _), path)| (*inode, path.clone()));
        let read = pod_side::read(entered.collect(), &self.root, ENTERING);
        let left = new.len() - read.len();
        let read = new.into_iter().zip(read);
        known.extend(read.filter_map(|((key, _), side)| Some((key, side?))));
        left
    }
}

/// What tells the links' roles, without the pods: their links are those that lead elsewhere. Of this
/// thread's namespace.
pub fn sketch() -> Result<Node> {
    let links = links::links(&NODE, false)?.all;
    Ok(Node {
        netns: namespaces::own().unwrap_or(0),
        routes: routes::routes(NODE.routes)?.all,
        fdb: routes::fdb(overlays(&links))?.all,
        links,
        ..Node::default()
    })
}

/// Namespaces that turned out to be no pods: a router's, another node's.
fn behind_uplinks(node: &Node) -> HashSet<u32> {
    let roles = Roles::new(node);
    let links = node.links.iter();
    let links = links.filter(|l| l.peer_netns.is_some() && roles.of(l) == Some(Role::Uplink));
    links.filter_map(|l| l.peer_netns).collect()
}

/// Links that have forwarding entries for other nodes.
fn overlays(links: &[Link]) -> impl Iterator<Item = u32> {
    let overlays = links.iter().filter(|l| l.kind == LinkKind::Vxlan);
    overlays.map(|l| l.index)
}

/// What a side is known by.
type Key = (u32, Hold);

/// The namespaces that links lead into, each once, and the links' peers in them. The link that came
/// last stands for all: a namespace that one more leads into is looked into again.
fn linked<'a>(links: impl Iterator<Item = &'a Link>) -> (Vec<Key>, HashMap<u32, Vec<u32>>) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut peers: HashMap<u32, Vec<u32>> = HashMap::new();
    for link in links {
        let Some(inode) = link.peer_netns else {
            continue;
        };
        let index = last.entry(inode).or_default();
        *index = link.index.max(*index);
        peers.entry(inode).or_default().extend(link.link);
    }
    let keys = last.into_iter();
    let keys = keys.map(|(inode, index)| (inode, Hold::Link(index)));
    (keys.collect(), peers)
}

/// A side with its own addresses: a switch's are no pod's.
fn own(side: &PodSide, peers: Option<&Vec<u32>>) -> PodSide {
    let mut own = side.clone();
    if peers.is_some_and(|peers| peers.iter().any(|peer| side.ports.contains(peer))) {
        own.addresses.clear();
    }
    own
}

/// Those that there is room for, and how many there is none for. What a link of the node's leads
/// into comes first, whatever was looked into before: of the others somebody may have made many.
fn with_room(linked: &[Key], linkless: &[Key]) -> (Vec<Key>, usize) {
    let all = linked.iter().chain(linkless).copied();
    let wanted: Vec<_> = all.take(MOST_SIDES).collect();
    let left = linked.len() + linkless.len() - wanted.len();
    (wanted, left)
}

fn kept<T>(listed: Listed<T>, mut note: impl FnMut(Left)) -> Vec<T> {
    note(listed.left);
    listed.all
}

/// This namespace and the pods'.
fn paths(node: &Node, peers: &PeerNamespaces) -> Vec<(u32, PathBuf)> {
    let own = (node.netns, PathBuf::from("/proc/self/ns/net"));
    let pods = node.sides();
    let pods = pods.filter_map(|s| Some((s.netns, peers.path(s.netns)?.to_owned())));
    std::iter::once(own).chain(pods).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_looked_into_once_however_many_links_lead_there() {
        let link = |index| {
            let link = crate::model::testing::link(index, "veth", LinkKind::Veth, 1500);
            let mut link = link.with_peer(77);
            link.link = Some(index + 100);
            link
        };
        let mut links = vec![link(8), link(9), link(7)];
        let (keys, peers) = linked(links.iter());
        assert!(keys == [(77, Hold::Link(9))]);
        assert_eq!(peers[&77], [108, 109, 107]);
        // One more that leads there changed what is in it.
        links.push(link(10));
        assert!(linked(links.iter()).0 == [(77, Hold::Link(10))]);
        let side = PodSide {
            ports: vec![107],
            addresses: vec![std::net::IpAddr::from([10, 0, 0, 1])],
            ..PodSide::default()
        };
        assert!(own(&side, peers.get(&77)).addresses.is_empty(), "a switch");
        assert_eq!(own(&side, None).addresses, side.addresses);
    }

    #[test]
    fn linked_pods_have_room_before_namespaces_that_nobody_links_to() {
        let keys = |inodes: std::ops::Range<u32>, hold: fn(u32) -> Hold| {
            let key = |inode| (inode, hold(inode));
            inodes.map(key).collect::<Vec<Key>>()
        };
        let most = MOST_SIDES as u32;
        let linkless = keys(1..most + 10, |_| Hold::Pod(None));
        let (before, left) = with_room(&[], &linkless);
        assert_eq!((before.len(), left), (MOST_SIDES, 9));
        let linked = keys(most + 10..most + 15, Hold::Link);
        let (wanted, left) = with_room(&linked, &linkless);
        assert_eq!((wanted.len(), left), (MOST_SIDES, 14));
        assert!(linked.iter().all(|one| wanted.contains(one)));
        let gone = before.iter().filter(|one| !wanted.contains(one));
        assert_eq!(gone.count(), linked.len(), "no more than make room");
    }
}
