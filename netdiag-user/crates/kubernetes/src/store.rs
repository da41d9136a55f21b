//! Objects of one kind, up to a limit of what they weigh together; those beyond it are counted.
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

/// Keys of which it is known that they were left out: eight bytes each.
const MOST_LEFT_OUT: usize = 1 << 17;

/// What counts against the limit.
pub trait Weigh {
    fn weight(&self) -> usize {
        1
    }
}

pub struct Store<T> {
    most: usize,
    all: Objects<T>,
    /// What is being listed anew, until it is complete.
    coming: Option<Objects<T>>,
    keys: RandomState,
}

struct Objects<T> {
    kept: HashMap<String, T>,
    weight: usize,
    left_out: HashSet<u64>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            kept: HashMap::new(),
            weight: 0,
            left_out: HashSet::new(),
        }
    }
}

impl<T: Weigh> Store<T> {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            all: Objects::default(),
            coming: None,
            keys: RandomState::new(),
        }
    }

    /// A list begins.
    pub fn begin(&mut self) {
        self.coming = Some(Objects::default());
    }

    /// One of the list.
    pub fn come(&mut self, key: String, object: T) {
        let (most, number) = (self.most, self.keys.hash_one(&key));
        let coming = self.coming.get_or_insert_default();
        coming.put(most, key, number, object);
    }

    /// The list is complete: what is not in it is gone.
    pub fn complete(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.all = coming;
        }
    }

    pub fn put(&mut self, key: String, object: T) {
        let number = self.keys.hash_one(&key);
        self.all.put(self.most, key, number, object);
    }

    pub fn remove(&mut self, key: &str) {
        self.all.take(key);
        self.all.left_out.remove(&self.keys.hash_one(key));
    }

    /// In the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut all: Vec<_> = self.all.kept.iter().collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, object)| object)
    }

    pub fn left_out(&self) -> u64 {
        self.all.left_out.len() as u64
    }
}

impl<T: Weigh> Objects<T> {
    fn put(&mut self, most: usize, key: String, number: u64, object: T) {
        self.take(&key);
        let weight = object.weight();
        if self.weight + weight <= most {
            self.weight += weight;
            self.left_out.remove(&number);
            self.kept.insert(key, object);
        } else if self.left_out.len() < MOST_LEFT_OUT {
            self.left_out.insert(number);
        }
    }

    fn take(&mut self, key: &str) {
        if let Some(old) = self.kept.remove(key) {
            self.weight -= old.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for u32 {}

    fn names(store: &Store<u32>) -> Vec<u32> {
        store.iter().copied().collect()
    }

    #[test]
    fn a_list_replaces_what_was_there_when_it_is_complete() {
        let mut store = Store::new(10);
        store.put("a".into(), 1);
        store.begin();
        store.come("b".into(), 2);
        assert_eq!(names(&store), [1]);
        store.complete();
        assert_eq!(names(&store), [2]);
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted_once() {
        let mut store = Store::new(2);
        for (n, key) in ["a", "b", "c", "c", "a"].into_iter().enumerate() {
            store.put(key.into(), n as u32);
        }
        assert_eq!((names(&store), store.left_out()), (vec![4, 1], 1));
        store.remove("c");
        assert_eq!(store.left_out(), 0);
    }
}
