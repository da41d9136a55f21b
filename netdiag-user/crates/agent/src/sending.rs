//! What became of what was to be sent away, by whichever way; each count only grows.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub struct Sending {
    pub records: Records,
    pub requests: Requests,
}

/// Log records.
#[derive(Debug, Default)]
pub struct Records {
    pub sent: AtomicU64,
    /// There was no room in the queue.
    pub unqueued: AtomicU64,
    /// The collector was not reached, or did not take them.
    pub failed: AtomicU64,
}

impl Records {
    pub fn each(&self) -> [(&'static str, u64); 3] {
        [
            ("sent", self.sent.load(Relaxed)),
            ("queue-full", self.unqueued.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
        ]
    }
}

#[derive(Debug, Default)]
pub struct Requests {
    pub sent: AtomicU64,
    pub failed: AtomicU64,
}

impl Requests {
    pub fn each(&self) -> [(&'static str, u64); 2] {
        [
            ("sent", self.sent.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
        ]
    }
}

/// Kubernetes Events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    pub sent: u64,
    /// More than a node may tell a minute.
    pub limited: u64,
    pub failed: u64,
}

/// Adds to one of them.
pub fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}
