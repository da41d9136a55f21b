//! Counters by labels, of a bounded number of series.
//!
//! Where there is no more room, new series are counted in `other`. Before it comes to that, series whose
//! workload is gone make room: their counts go on in `gone`, so that sums over all series never fall.
//! That is not `other`, whose rate has to be that of packets: what is moved has been counted before.
//!
//! A namespace has no more series than are left for all others (as switches share their buffers:
//! Choudhury and Hahne, dynamic thresholds): whose workloads have no end takes half, and nobody all.
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, Hash, RandomState},
};

use crate::model::{pod::PodIndex, text, total::add, verdict::PodRef};

/// Characters of a label at most: names in Kubernetes have 253, and 63 where they are a label.
const LONGEST: usize = 128;
/// Where the rest is counted.
const OTHER: &str = "other";
/// Where those are counted that made room.
const GONE: &str = "gone";
/// Of a pod whose owner no source tells: a pod's own name is no label, there is no end of those.
const UNKNOWN: &str = "unknown";
/// Series beyond the last one that are told apart, for their number.
const HIDDEN: usize = 4096;
/// A series of a workload that is gone stays for so long after its last count, ns: the rates of shipped
/// alerts look back for five minutes, and have to hold for fifteen.
const QUIET: u64 = 20 * 60 * 1_000_000_000;
/// One of so many places is to be free: whoever comes first after the last was taken goes to `other`.
const FREE: usize = 8;

/// A pod's namespace and what made it; both empty where the packet is no pod's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    pub namespace: String,
    pub workload: String,
}

impl Workload {
    pub fn of(pod: &PodRef) -> Self {
        let owner = pod.owner.as_ref().map(ToString::to_string);
        Self {
            namespace: label(pod.namespace.as_deref().unwrap_or_default()),
            workload: label(owner.as_deref().unwrap_or(UNKNOWN)),
        }
    }

    /// Of no pod: what makes one has a kind before its name.
    fn shared(name: &str) -> Self {
        Self {
            namespace: String::new(),
            workload: name.to_owned(),
        }
    }

    fn is_nobody(&self) -> bool {
        self.namespace.is_empty() && self.workload.is_empty()
    }
}

/// The workloads of all pods that are there.
pub fn alive(pods: &PodIndex) -> BTreeSet<Workload> {
    let there = pods.iter().filter(|pod| pod.gone.is_none());
    there
        .map(|pod| Workload::of(&pod.refer(None, None)))
        .collect()
}

/// What is said of something by others, as a label.
pub fn label(text: &str) -> String {
    text::line(text, LONGEST)
}

/// What can be asked of series, whatever they are of.
pub trait Bounded {
    /// What is added from now on is of this time, `CLOCK_MONOTONIC` ns.
    fn at(&mut self, now: u64);

    /// So few places are left that some should be made.
    fn is_tight(&self) -> bool;

    /// Has those that are quiet make room, of workloads that are not among `alive`.
    fn retire(&mut self, alive: &BTreeSet<Workload>);

    /// Series that stand in those of the rest, as far as they are told apart.
    fn hidden(&self) -> u64;

    /// Series that made room.
    fn gone(&self) -> u64;
}

/// `N` counts by `K` and workload. `K` has few values by itself.
#[derive(Debug)]
pub struct Series<K, const N: usize> {
    most: usize,
    rows: BTreeMap<(K, Workload), Row<N>>,
    /// How many of them each namespace has.
    by_namespace: BTreeMap<String, usize>,
    /// Of many together: `other` and `gone`.
    shared: BTreeMap<(K, Workload), [u64; N]>,
    hash: RandomState,
    hidden: HashSet<u64>,
    gone: u64,
    now: u64,
}

#[derive(Debug)]
struct Row<const N: usize> {
    counts: [u64; N],
    /// When something was added last.
    last: u64,
}

impl<K: Clone + Ord + Hash, const N: usize> Series<K, N> {
    /// So many series at most, and two shared ones for each `K`.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            rows: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            shared: BTreeMap::new(),
            hash: RandomState::new(),
            hidden: HashSet::new(),
            gone: 0,
            now: 0,
        }
    }

    pub fn add(&mut self, key: K, workload: Workload, counts: [u64; N]) {
        let at = (key, workload);
        if !self.rows.contains_key(&at) {
            if !self.has_room(&at.1.namespace) {
                self.hide(&at);
                return self.share(at.0, OTHER, counts);
            }
            *self.by_namespace.entry(at.1.namespace.clone()).or_default() += 1;
        }
        let last = self.now;
        let row = self.rows.entry(at).or_insert(Row {
            counts: [0; N],
            last,
        });
        row.last = last;
        sum(&mut row.counts, counts);
    }

    /// What is no pod's has few series by itself.
    fn has_room(&self, namespace: &str) -> bool {
        let had = self.by_namespace.get(namespace).copied().unwrap_or(0);
        let free = self.free();
        free > 0 && (namespace.is_empty() || had < free)
    }

    fn free(&self) -> usize {
        self.most.saturating_sub(self.rows.len())
    }

    fn share(&mut self, key: K, name: &str, counts: [u64; N]) {
        let at = (key, Workload::shared(name));
        sum(self.shared.entry(at).or_insert([0; N]), counts);
    }

    fn hide(&mut self, at: &(K, Workload)) {
        if self.hidden.len() < HIDDEN {
            self.hidden.insert(self.hash.hash_one(at));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Workload, &[u64; N])> {
        let own = self.rows.iter().map(|(at, row)| (at, &row.counts));
        let all = self.shared.iter().chain(own);
        all.map(|((key, who), counts)| (key, who, counts))
    }
}

impl<K: Clone + Ord + Hash, const N: usize> Bounded for Series<K, N> {
    fn at(&mut self, now: u64) {
        self.now = now;
    }

    fn is_tight(&self) -> bool {
        let own = self.by_namespace.iter();
        let most = own
            .filter(|(name, _)| !name.is_empty())
            .map(|(_, n)| *n)
            .max();
        self.free() <= self.most / FREE + most.unwrap_or(0)
    }

    fn retire(&mut self, alive: &BTreeSet<Workload>) {
        let now = self.now;
        let is_over = |(_, who): &(K, Workload), row: &mut Row<N>| {
            let quiet = now.saturating_sub(row.last) >= QUIET;
            quiet && !who.is_nobody() && !alive.contains(who)
        };
        let over: Vec<_> = self.rows.extract_if(.., is_over).collect();
        for ((key, who), row) in over {
            self.gone += 1;
            if let Some(had) = self.by_namespace.get_mut(&who.namespace) {
                *had -= 1;
            }
            self.share(key, GONE, row.counts);
        }
        self.by_namespace.retain(|_, had| *had > 0);
    }

    fn hidden(&self) -> u64 {
        self.hidden.len() as u64
    }

    fn gone(&self) -> u64 {
        self.gone
    }
}

fn sum<const N: usize>(to: &mut [u64; N], counts: [u64; N]) {
    for (sum, count) in to.iter_mut().zip(counts) {
        add(sum, count);
    }
}

#[cfg(test)]
mod tests;
