//! Times of day as times of the kernel's events.
use std::time::{SystemTime, UNIX_EPOCH};

/// One instant on both clocks.
pub struct Clock {
    wall: i64,
    monotonic: u64,
}

impl Clock {
    pub fn new(monotonic: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.ok().and_then(|d| i64::try_from(d.as_nanos()).ok());
        Self {
            wall: wall.unwrap_or(0),
            monotonic,
        }
    }

    pub fn monotonic(&self, wall: i64) -> Option<u64> {
        let ago = u64::try_from(self.wall.checked_sub(wall)?).ok()?;
        self.monotonic.checked_sub(ago)
    }
}
