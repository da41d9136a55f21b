//! What waits to be told, the most urgent first, and the series that there are.
use std::collections::BTreeMap;

use super::{Subject, object::Series};

/// What waits for the API at most.
const ROOM: usize = 256;
/// Series that are kept in mind; kubelets forget theirs as well.
const SERIES: usize = 1024;

/// A finding and who suffers from it.
pub type Key = (String, Subject);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub reason: String,
    pub message: String,
    pub critical: bool,
}

#[derive(Debug, Default)]
pub struct Desk {
    waiting: BTreeMap<Key, (Words, u64)>,
    series: BTreeMap<Key, Series>,
    /// What is told just now; nothing where it was over meanwhile.
    telling: Option<Key>,
    /// Of who came last.
    number: u64,
}

impl Desk {
    /// How many will not be told for lack of room.
    pub fn put(&mut self, key: Key, words: Words) -> u64 {
        if let Some((waiting, _)) = self.waiting.get_mut(&key) {
            *waiting = words;
            return 1;
        }
        if !self.series.contains_key(&key) && self.begun() >= SERIES {
            return 1;
        }
        self.number += 1;
        self.waiting.insert(key, (words, self.number));
        if self.waiting.len() <= ROOM {
            return 0;
        }
        let last = self.waiting.iter().max_by_key(|it| self.rank(it));
        let last = last.map(|(key, _)| key.clone());
        last.and_then(|key| self.waiting.remove(&key));
        1
    }

    /// Series that there are, or will be.
    fn begun(&self) -> usize {
        let new = self.waiting.keys();
        self.series.len() + new.filter(|key| !self.series.contains_key(key)).count()
    }

    /// Lower is more urgent: the first of a series before those that go on, then what is critical.
    fn rank(&self, (key, (words, number)): &(&Key, &(Words, u64))) -> (bool, bool, u64) {
        (self.series.contains_key(key), !words.critical, *number)
    }

    /// The finding stands no more: how many of it were never told.
    pub fn over(&mut self, finding: &str) -> u64 {
        self.series.retain(|(of, _), _| of != finding);
        self.telling.take_if(|(of, _)| of == finding);
        let before = self.waiting.len();
        self.waiting.retain(|(of, _), _| of != finding);
        (before - self.waiting.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The most urgent one, with its series where there is one.
    pub fn take(&mut self) -> Option<(Key, Words, Option<Series>)> {
        let first = self.waiting.iter().min_by_key(|it| self.rank(it));
        let key = first.map(|(key, _)| key.clone())?;
        let (words, _) = self.waiting.remove(&key)?;
        self.telling = Some(key.clone());
        let series = self.series.get(&key).cloned();
        Some((key, words, series))
    }

    /// What was taken last has that series now, or none.
    pub fn told(&mut self, series: Option<Series>) {
        let Some(key) = self.telling.take() else {
            return;
        };
        match series {
            Some(series) => self.series.insert(key, series),
            None => self.series.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::object::a_series;

    fn key(finding: &str) -> Key {
        (finding.to_owned(), Subject::Node("node-a".to_owned()))
    }

    fn words(critical: bool) -> Words {
        let (reason, message) = ("NoRoute".to_owned(), "no route".to_owned());
        Words {
            reason,
            message,
            critical,
        }
    }

    fn tell(desk: &mut Desk, finding: &str) {
        assert_eq!(desk.put(key(finding), words(false)), 0);
        desk.take().expect("it waits");
        desk.told(Some(a_series()));
    }

    fn taken(desk: &mut Desk) -> Vec<String> {
        let each = std::iter::from_fn(|| desk.take());
        each.map(|((finding, _), ..)| finding).collect()
    }

    #[test]
    fn what_is_new_comes_before_what_goes_on_and_what_is_critical_before_the_rest() {
        let mut desk = Desk::default();
        tell(&mut desk, "old");
        for (finding, critical) in [("old", true), ("b", false), ("a", false), ("worst", true)] {
            assert_eq!(desk.put(key(finding), words(critical)), 0);
        }
        assert_eq!(taken(&mut desk), ["worst", "b", "a", "old"]);
    }

    #[test]
    fn the_least_urgent_goes_where_there_is_no_room() {
        let mut desk = Desk::default();
        tell(&mut desk, "old");
        desk.put(key("old"), words(true));
        let lost: u64 = (0..ROOM)
            .map(|n| desk.put(key(&n.to_string()), words(false)))
            .sum();
        assert_eq!(lost, 1);
        assert_eq!(desk.put(key("worst"), words(true)), 1);
        assert_eq!(
            desk.put(key("worst"), words(true)),
            1,
            "one takes the place of the other"
        );
        let all = taken(&mut desk);
        assert_eq!((all.len(), all[0].as_str()), (ROOM, "worst"));
        assert!(!all.contains(&"old".to_owned()));
    }

    #[test]
    fn what_is_over_leaves_nothing() {
        let mut desk = Desk::default();
        tell(&mut desk, "a");
        desk.put(key("a"), words(false));
        assert_eq!(desk.over("a"), 1);
        assert!(desk.is_empty() && desk.series.is_empty());
        desk.put(key("a"), words(false));
        desk.take().expect("it waits");
        assert_eq!(desk.over("a"), 0);
        desk.told(Some(a_series()));
        assert!(desk.series.is_empty(), "it was over while it was told");
    }

    #[test]
    fn there_are_so_many_series_at_most() {
        let mut desk = Desk::default();
        for n in 0..SERIES - 1 {
            tell(&mut desk, &n.to_string());
        }
        assert_eq!(desk.put(key("last"), words(false)), 0);
        assert_eq!(desk.put(key("one more"), words(true)), 1);
        assert_eq!(desk.put(key("0"), words(true)), 0, "it has one");
    }
}
