//! When memory is given back.
use std::time::{Duration, Instant};

use crate::sys::thrift;

/// Rows of a reading whose judging takes megabytes.
const CROWDED: usize = 2048;
/// While readings are crowded, what was given back is fetched again with the next one, page by page:
/// less than a millisecond in five seconds, and half of the pages of code are the beginning's alone.
const AGAIN: Duration = Duration::from_secs(5);

pub struct Memory {
    /// A reading since the last time had very many rows.
    crowded: bool,
    trimmed_at: Instant,
}

impl Memory {
    pub fn from(now: Instant) -> Self {
        Self {
            crowded: false,
            trimmed_at: now,
        }
    }

    /// A reading had so many rows.
    pub fn saw(&mut self, rows: usize) {
        self.crowded |= rows >= CROWDED;
    }

    pub fn give_back(&mut self, now: Instant, settles: bool) {
        let due = self.is_due(now);
        if settles || due {
            thrift::settle();
        }
        if due {
            (self.crowded, self.trimmed_at) = (false, now);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.crowded && now.saturating_duration_since(self.trimmed_at) >= AGAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_gives_memory_back_every_few_seconds() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut memory = Memory::from(begun);
        memory.saw(CROWDED - 1);
        assert!(!memory.is_due(after(60)), "few rows take little");
        memory.saw(CROWDED);
        assert!(!memory.is_due(after(1)) && memory.is_due(after(5)));
        memory.give_back(after(5), false);
        assert!(!memory.is_due(after(60)), "until it is crowded again");
    }
}
