//! The time that a reading may spend on what there can be thousands of.
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Counted as this thread's own work: on a node that is busy with other things a reading takes
/// longer, and leaves out no more. There is an end to that too.
#[derive(Debug)]
pub struct Budget {
    begun: Instant,
    worked: Duration,
    most: Duration,
}

/// Times its work that a reading may take where others have the processor, or the lock.
const PATIENCE: u32 = 4;

impl Budget {
    pub fn new(most: Duration) -> Self {
        Self {
            begun: Instant::now(),
            worked: worked(),
            most,
        }
    }

    pub fn is_spent(&self) -> bool {
        let worked = worked().saturating_sub(self.worked);
        worked >= self.most || self.begun.elapsed() >= self.most * PATIENCE
    }
}

fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_spends_it() {
        assert!(Budget::new(Duration::ZERO).is_spent());
        let budget = Budget::new(Duration::from_millis(5));
        assert!(!budget.is_spent());
        while !budget.is_spent() {}
        assert!(worked() >= Duration::from_millis(5) || budget.begun.elapsed() >= budget.most);
    }
}
