//! The state of pods' namespaces, read one after the other while nobody asks: who asks then has an answer at once, and one
//! from before things went wrong.
//!
//! One thread does it, and takes a hundredth of a processor at most: a read is followed by a rest a hundred times as long
//! as its work.
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    listing::{self, Most},
    namespaces, stack,
};
use crate::{
    model::{
        node::Node,
        world::{
            Known, Netns, Stack,
            device::{Device, Kind},
            wireguard::WireGuard,
        },
    },
    sys::cost,
};

/// Nothing is read before then: a run has other things to do when it begins.
const FIRST: Duration = Duration::from_secs(2);
/// How many times as long as the work was it rests.
const REST: u32 = 99;
/// Between two reads, however little they cost.
const LEAST: Duration = Duration::from_millis(20);
/// What is known is read again after so long, oldest first.
const AGAIN: Duration = Duration::from_secs(300);
/// Without netfilter's rules: to ask for these loads its modules, which nobody wants while nothing is wrong.
const IDLE: Most = Most {
    ruleset: None,
    ..listing::POD
};
/// Namespaces at most.
const MOST: usize = 1024;
/// What one may have, all in all, to be kept: an ordinary pod has thirty. Whoever has more made it, and is read when it is
/// asked for.
const LARGEST: usize = 128;

pub struct Turns {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<Netns, Pod>,
    over: bool,
}

struct Pod {
    path: PathBuf,
    /// When it was tried last.
    tried: Option<Instant>,
    stack: Option<Arc<Stack>>,
}

impl Turns {
    /// Where no thread can be had, nothing is read in turns.
    pub fn begin(root: &Path) -> Self {
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("turns".into());
        if let Err(e) = thread.spawn(move || theirs.read_in_turns()) {
            log::debug!("pods' namespaces are not read in turns: {e}");
        }
        Self { shared }
    }

    /// Whose turns there are from now on; what is known of others is forgotten.
    pub fn follow(&self, node: &Node) {
        let mut state = self.shared.lock();
        let mut before = std::mem::take(&mut state.pods);
        let sides = node.sides().filter(|side| side.netns != node.netns);
        let named = sides.filter_map(|side| Some((side.netns, side.path.as_ref()?)));
        for (netns, path) in named.take(MOST) {
            let known = before.remove(&netns).unwrap_or(Pod {
                path: PathBuf::new(),
                tried: None,
                stack: None,
            });
            let path = PathBuf::from(path);
            state.pods.insert(netns, Pod { path, ..known });
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// As it was at its last turn.
    pub fn stack(&self, netns: Netns) -> Option<Arc<Stack>> {
        self.shared.lock().pods.get(&netns)?.stack.clone()
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left no half of anything.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have had theirs, of how many.
    fn had(&self) -> (usize, usize) {
        let state = self.lock();
        let had = state.pods.values().filter(|pod| pod.stack.is_some());
        (had.count(), state.pods.len())
    }

    fn read_in_turns(&self) {
        let (began, mut all) = (Instant::now(), 0);
        let mut rest = FIRST;
        let mut took = Duration::ZERO;
        while let Some((netns, path)) = self.next(rest) {
            let (read, work) = cost::of(|| inside(&self.root, &path, netns));
            rest = LEAST.max(work * REST);
            match read {
                Ok(stack) if size(&stack) > LARGEST => {
                    log::debug!("network namespace {netns} has too much to be kept");
                }
                Ok(stack) => {
                    if let Some(pod) = self.lock().pods.get_mut(&netns) {
                        pod.stack = Some(Arc::new(stack));
                    }
                    took += work;
                    let (had, of) = self.had();
                    if had == of && of != all {
                        all = of;
                        let since = began.elapsed();
                        log::debug!("{of} namespaces had their turn: {took:.1?} of {since:.1?}");
                    }
                }
                // Who may not enter one may enter none.
                Err(e) if is_refused(&e) => return,
                Err(e) => log::debug!("network namespace {netns}: {e:#}"),
            }
        }
    }

    /// Whose turn it is, once it has rested; nothing when it is over.
    fn next(&self, rest: Duration) -> Option<(Netns, PathBuf)> {
        let rested = Instant::now() + rest;
        let mut state = self.lock();
        loop {
            if state.over {
                return None;
            }
            let now = Instant::now();
            let due = |pod: &Pod| pod.tried.is_none_or(|tried| now - tried >= AGAIN);
            let mut waiting = state.pods.iter_mut().filter(|(_, pod)| due(pod));
            let next = match now >= rested {
                true => waiting.by_ref().min_by_key(|(_, pod)| pod.tried),
                false => None,
            };
            if let Some((netns, pod)) = next {
                pod.tried = Some(now);
                return Some((*netns, pod.path.clone()));
            }
            // All had theirs: it waits for a new one, or the oldest.
            let wait = match now < rested {
                true => rested - now,
                false => AGAIN / 60,
            };
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How many things it has.
fn size(stack: &Stack) -> usize {
    fn of<T>(known: &Known<Vec<T>>) -> usize {
        known.some().map_or(0, Vec::len)
    }
    let devices = stack.devices.some().into_iter().flat_map(BTreeMap::values);
    let peers = |device: &Device| match &device.kind {
        Kind::WireGuard(own) => own.some().map_or(0, WireGuard::size),
        _ => 0,
    };
    devices.map(|device| 1 + peers(device)).sum::<usize>()
        + stack.nexthops.some().map_or(0, BTreeMap::len)
        + of(&stack.addresses)
        + of(&stack.rules)
        + of(&stack.routes)
        + of(&stack.exceptions)
        + of(&stack.neighbours)
        + of(&stack.proxied)
        + of(&stack.fdb)
        + of(&stack.at_links)
}

/// On a thread of its own, which stays in that namespace for as long as it lives.
fn inside(root: &Path, path: &Path, netns: Netns) -> Result<Stack> {
    let (root, path) = (root.to_owned(), path.to_owned());
    let thread = thread::Builder::new().name("turns".into());
    let joined = thread
        .spawn(move || {
            cost::of(|| -> Result<Stack> {
                namespaces::enter(&under(&root, &path), netns)?;
                Ok(stack::read(&root, &IDLE))
            })
        })?
        .join();
    let (read, spent) = joined.map_err(|_| anyhow::anyhow!("reading it failed (a panic)"))?;
    cost::add(spent);
    read
}

/// A path of the node's as it is seen from here.
fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn is_refused(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        node::PodSide,
        world::{Why, neighbour::Proxied, route::Nexthop},
    };

    fn node(sides: &[Netns]) -> Node {
        let side = |netns: &Netns| PodSide {
            netns: *netns,
            path: Some(format!("/run/netns/{netns}")),
            ..PodSide::default()
        };
        Node {
            netns: 1,
            pod_sides: sides.iter().map(side).collect(),
            ..Node::default()
        }
    }

    fn shared(sides: &[Netns]) -> Turns {
        let shared = Shared {
            root: PathBuf::from("/"),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let turns = Turns {
            shared: Arc::new(shared),
        };
        turns.follow(&node(sides));
        turns
    }

    #[test]
    fn each_has_its_turn_and_new_ones_come_first() {
        let turns = shared(&[1, 7, 8]);
        let next = || turns.shared.next(Duration::ZERO).map(|(netns, _)| netns);
        assert_eq!((next(), next()), (Some(7), Some(8)), "not the node's own");
        turns.follow(&node(&[7, 8, 9]));
        assert_eq!(next(), Some(9));
        turns.follow(&node(&[7]));
        assert_eq!(turns.shared.had(), (0, 1));
        turns.shared.lock().over = true;
        assert_eq!(next(), None);
    }

    #[test]
    fn all_of_a_namespace_counts() {
        assert_eq!(size(&Stack::default()), 0);
        let proxied = Proxied {
            device: None,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let stack = Stack {
            proxied: Known::Partly(vec![proxied; LARGEST], Why::TooMany),
            nexthops: Known::Is([(1, Nexthop::Blackhole)].into()),
            ..Stack::default()
        };
        assert_eq!(size(&stack), LARGEST + 1);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let turns = shared(&[7]);
        let stack = Some(Arc::new(Stack::default()));
        turns.shared.lock().pods.get_mut(&7).expect("a pod").stack = stack;
        assert!(turns.stack(7).is_some());
        turns.follow(&node(&[7, 8]));
        assert_eq!(turns.shared.had(), (1, 2));
        turns.follow(&node(&[8]));
        turns.follow(&node(&[7, 8]));
        assert!(turns.stack(7).is_none());
    }
}
