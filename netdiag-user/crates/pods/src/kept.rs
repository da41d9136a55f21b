//! Pods that are there, and for a while those that were: what died with them in the kernel's
//! tables is still to be named.
use std::collections::BTreeMap;

use crate::model::pod::Pod;

/// How long one that is gone is remembered.
const KEEP_NS: u64 = 300_000_000_000;
/// And how many of them at most.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub struct Kept {
    pods: BTreeMap<String, Pod>,
    /// Those that found no room before their time was over.
    pub forgotten: u64,
}

impl Kept {
    /// Everything that is there now; whatever was and is not any more is gone by now.
    pub fn update(&mut self, now: u64, pods: Vec<(String, Pod)>) {
        let mut before = std::mem::take(&mut self.pods);
        for (key, pod) in pods {
            before.remove(&key);
            self.pods.insert(key, pod);
        }
        for (key, mut pod) in before {
            let gone = *pod.gone.get_or_insert(now);
            if now.saturating_sub(gone) < KEEP_NS {
                self.pods.insert(key, pod);
            }
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let gone = self.pods.iter().filter(|(_, pod)| pod.gone.is_some());
        let mut gone: Vec<_> = gone.map(|(key, pod)| (pod.gone, key.clone())).collect();
        let Some(over) = gone.len().checked_sub(MOST + 1) else {
            return;
        };
        gone.sort_unstable();
        for (_, key) in gone.drain(..=over) {
            self.pods.remove(&key);
            self.forgotten += 1;
        }
    }

    pub fn get(&self, key: &str) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// When it was gone, where it is.
    #[cfg(any(feature = "cri", test))]
    pub fn gone(&self, key: &str) -> Option<u64> {
        self.pods.get(key)?.gone
    }

    /// Those that are there.
    pub fn live(&self) -> Vec<(String, Pod)> {
        let live = self.pods.iter().filter(|(_, pod)| pod.gone.is_none());
        live.map(|(key, pod)| (key.clone(), pod.clone())).collect()
    }

    /// It was never there.
    pub fn forget(&mut self, key: &str) {
        self.pods.remove(key);
    }

    pub fn all(&self) -> Vec<Pod> {
        self.pods.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(numbers: std::ops::Range<usize>) -> Vec<(String, Pod)> {
        numbers.map(|n| (n.to_string(), Pod::default())).collect()
    }

    #[test]
    fn what_is_gone_stays_for_a_while() {
        let mut kept = Kept::default();
        kept.update(10, pods(0..2));
        kept.update(20, pods(1..2));
        assert_eq!((kept.gone("0"), kept.gone("1")), (Some(20), None));
        kept.update(30, pods(1..2));
        assert_eq!(kept.gone("0"), Some(20));
        kept.update(20 + KEEP_NS, pods(1..2));
        assert_eq!((kept.all().len(), kept.forgotten), (1, 0));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut kept = Kept::default();
        kept.update(1, pods(0..10));
        kept.update(2, Vec::new());
        kept.update(3, pods(10..MOST + 15));
        kept.update(4, Vec::new());
        assert_eq!((kept.all().len(), kept.forgotten), (MOST, 15));
        assert_eq!(kept.gone("0"), None, "the oldest");
    }
}
