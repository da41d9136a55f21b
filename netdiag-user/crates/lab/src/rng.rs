//! Numbers from a seed, the same on every machine. No crate: a lab needs variety, not quality.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to and including `high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = u64::from(high.saturating_sub(low)) + 1;
        low + (self.number() % span) as u32
    }

    pub fn byte(&mut self, low: u8, high: u8) -> u8 {
        self.between(low.into(), high.into()) as u8
    }

    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// One of the values; the slice must not be empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.number() % from.len() as u64) as usize]
    }

    /// A word of so many characters of the alphabet that Kubernetes takes for generated names.
    pub fn word(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length)
            .map(|_| char::from(self.pick(LETTERS)))
            .collect()
    }

    pub fn hex(&mut self, length: usize) -> String {
        (0..length)
            .map(|_| char::from(self.pick(b"0123456789abcdef")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| one.number() == other.number()));
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| (5..=9).contains(&rng.between(5, 9))));
        assert_eq!(rng.between(4, 4), 4);
    }
}
