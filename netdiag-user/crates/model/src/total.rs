//! Sums of what was counted. A recording may say any number, and a sum that wraps is nonsense: it
//! stays at the largest number instead.
use std::borrow::Borrow;

pub trait Total: Iterator<Item: Borrow<u64>> + Sized {
    fn total(self) -> u64 {
        self.fold(0, |sum, count| sum.saturating_add(*count.borrow()))
    }
}

impl<I: Iterator<Item: Borrow<u64>>> Total for I {}

/// Adds to a sum what was counted.
pub fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_at_the_largest_number() {
        assert_eq!([1, 2, 3].iter().total(), 6);
        assert_eq!([u64::MAX, 1].into_iter().total(), u64::MAX);
        let mut sum = u64::MAX - 1;
        add(&mut sum, 1);
        add(&mut sum, 1);
        assert_eq!(sum, u64::MAX);
    }
}
