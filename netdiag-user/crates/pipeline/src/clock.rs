//! The kernel side's monotonic nanoseconds as times of day.
use jiff::{SignedDuration, Timestamp};

/// One instant read on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub monotonic: u64,
    pub wall: Timestamp,
}

impl Clock {
    pub fn time(&self, monotonic: u64) -> Timestamp {
        let apart = i128::from(monotonic) - i128::from(self.monotonic);
        let nanos = i64::try_from(apart).unwrap_or(0);
        let offset = SignedDuration::from_nanos(nanos);
        self.wall.checked_add(offset).unwrap_or(self.wall)
    }

    /// RFC 3339 in UTC with milliseconds.
    pub fn text(&self, monotonic: u64) -> String {
        format!("{:.3}", self.time(monotonic))
    }
}
