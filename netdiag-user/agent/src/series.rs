//! Counters by labels, of a bounded number of series.
use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, Hash, RandomState},
};

use crate::model::{text, total::add, verdict::PodRef};

/// Characters of a label at most: names in Kubernetes have 253, and 63 where they are a label.
const LONGEST: usize = 128;
/// Where the rest is counted.
const OTHER: &str = "other";
/// Of a pod whose owner no source tells: a pod's own name is no label, there is no end of those.
const UNKNOWN: &str = "unknown";
/// Series beyond the last one that are told apart, for their number.
const HIDDEN: usize = 4096;

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

    fn other() -> Self {
        Self {
            namespace: String::new(),
            workload: OTHER.to_owned(),
        }
    }
}

/// What is said of something by others, as a label.
pub fn label(text: &str) -> String {
    text::line(text, LONGEST)
}

/// `N` counts by `K` and workload. `K` has few values by itself.
#[derive(Debug)]
pub struct Series<K, const N: usize> {
    most: usize,
    rows: BTreeMap<(K, Workload), [u64; N]>,
    hash: RandomState,
    hidden: HashSet<u64>,
}

impl<K: Clone + Ord + Hash, const N: usize> Series<K, N> {
    /// So many series at most, and one of the rest for each `K`.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            rows: BTreeMap::new(),
            hash: RandomState::new(),
            hidden: HashSet::new(),
        }
    }

    pub fn add(&mut self, key: K, workload: Workload, counts: [u64; N]) {
        let mut at = (key, workload);
        if !self.rows.contains_key(&at) && self.rows.len() >= self.most {
            self.hide(&at);
            at.1 = Workload::other();
        }
        let row = self.rows.entry(at).or_insert([0; N]);
        for (sum, count) in row.iter_mut().zip(counts) {
            add(sum, count);
        }
    }

    fn hide(&mut self, at: &(K, Workload)) {
        if self.hidden.len() < HIDDEN {
            self.hidden.insert(self.hash.hash_one(at));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Workload, &[u64; N])> {
        self.rows
            .iter()
            .map(|((key, who), counts)| (key, who, counts))
    }

    /// Series that stand in those of the rest, as far as they are told apart.
    pub fn hidden(&self) -> u64 {
        self.hidden.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::Owner;

    fn workload(name: &str) -> Workload {
        Workload {
            namespace: "shop".into(),
            workload: name.into(),
        }
    }

    #[test]
    fn what_is_too_many_is_counted_together() {
        let mut series: Series<&str, 2> = Series::new(2);
        for name in ["a", "b", "c", "d", "c", "a"] {
            series.add("NO_SOCKET", workload(name), [1, 100]);
        }
        let rows: Vec<_> = series
            .iter()
            .map(|(_, who, counts)| (who.workload.as_str(), counts[0]))
            .collect();
        assert_eq!(rows, [("other", 3), ("a", 2), ("b", 1)]);
        assert_eq!(series.hidden(), 2);
        let sum: u64 = series.iter().map(|(_, _, counts)| counts[1]).sum();
        assert_eq!(sum, 600, "nothing is left out");
    }

    #[test]
    fn no_pod_is_a_label() {
        let mut pod = PodRef {
            namespace: Some("shop".into()),
            name: Some("cart-5d4f-x".into()),
            ip: Some("10.0.0.1".into()),
            ..PodRef::default()
        };
        assert_eq!(Workload::of(&pod).workload, "unknown");
        pod.owner = Some(Owner::new(
            "Deployment",
            format!("cart\u{1b}[2J{}", "x".repeat(999)),
        ));
        let of = Workload::of(&pod).workload;
        assert!(
            of.starts_with("Deployment/cart [2Jxx") && of.chars().count() <= LONGEST + 1,
            "{of}"
        );
    }
}
