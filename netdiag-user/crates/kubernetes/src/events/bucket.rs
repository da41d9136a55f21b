//! How many a minute.
use std::time::Duration;

use tokio::time::Instant;

/// Where none are ever given.
const LONGEST: Duration = Duration::from_secs(3600);

/// So many a minute, and as many at once.
#[derive(Debug)]
pub struct Bucket {
    most: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(most: u32, now: Instant) -> Self {
        let most = f64::from(most);
        Self {
            most,
            left: most,
            at: now,
        }
    }

    /// How long until there is one.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.gain(now);
        let lacks = (1.0 - self.left).max(0.0);
        Duration::try_from_secs_f64(lacks * 60.0 / self.most).unwrap_or(LONGEST)
    }

    fn gain(&mut self, now: Instant) {
        let gained = now.duration_since(self.at).as_secs_f64() * self.most / 60.0;
        (self.left, self.at) = ((self.left + gained).min(self.most), now);
    }

    pub fn take(&mut self, now: Instant) -> bool {
        self.gain(now);
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_so_many_at_once_and_a_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let mut taken = |after: u64| {
            let now = start + Duration::from_secs(after);
            (0..100).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(0), 10);
        assert_eq!(taken(6), 1);
        assert_eq!(taken(7), 0);
        assert_eq!(taken(6000), 10, "what is not taken is not saved");
        let wait = bucket.wait(start + Duration::from_secs(6000));
        assert!(
            wait > Duration::from_secs(5) && wait <= Duration::from_secs(6),
            "{wait:?}"
        );
    }
}
