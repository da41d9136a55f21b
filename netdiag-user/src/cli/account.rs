//! What the run costs: told in its summary. The kernel times the programs for a second a minute only,
//! since that makes each run some 20 ns longer, on the whole machine.
use std::{
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};

use crate::{
    kernel::cost,
    model::own::{OwnCost, ProgramCost},
    sys::file::{self, SMALL},
};

/// The first time comes after what the beginning stirs up.
const FIRST: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(1);

pub struct Account {
    /// Open while the kernel times, since then.
    timing: Option<(OwnedFd, Instant)>,
    next: Option<Instant>,
    timed: Duration,
    delivered: u64,
}

impl Account {
    pub fn new(now: Instant) -> Self {
        Self {
            timing: None,
            next: now.checked_add(FIRST),
            timed: Duration::ZERO,
            delivered: 0,
        }
    }

    /// A reading, with so many records from the ring.
    pub fn reading(&mut self, now: Instant, delivered: usize) {
        self.delivered += delivered as u64;
        if let Some((_, since)) = &self.timing
            && now.duration_since(*since) >= WINDOW
        {
            self.timed += now.duration_since(*since);
            self.timing = None;
        }
        if self.next.is_some_and(|next| now >= next) {
            self.next = now.checked_add(EVERY);
            match cost::timing() {
                Ok(timing) => self.timing = Some((timing, now)),
                Err(e) => {
                    log::debug!("{e:#}");
                    self.next = None;
                }
            }
        }
    }

    /// What it took until now, with these programs.
    pub fn cost(&self, now: Instant, mut programs: Vec<ProgramCost>) -> OwnCost {
        let own = std::process::id();
        let used = getrusage(UsageWho::RUSAGE_SELF).ok();
        let seconds = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0
        };
        let open = self.timing.as_ref();
        let open = open.map(|(_, since)| now.duration_since(*since));
        programs.sort_by(|a, b| (b.ns, &a.name).cmp(&(a.ns, &b.name)));
        OwnCost {
            user_seconds: used.as_ref().map_or(0.0, |used| seconds(used.user_time())),
            system_seconds: used
                .as_ref()
                .map_or(0.0, |used| seconds(used.system_time())),
            rss_bytes: resident().unwrap_or(0),
            map_bytes: cost::map_bytes(own).unwrap_or(0),
            delivered: self.delivered,
            timed_seconds: (self.timed + open.unwrap_or_default()).as_secs_f64(),
            programs,
            events: None,
        }
    }
}

fn resident() -> Option<u64> {
    let status = file::kernel(Path::new("/proc/self/status"), SMALL).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_takes_is_counted() {
        let begun = Instant::now();
        let mut account = Account::new(begun);
        account.reading(begun, 3);
        account.reading(begun, 4);
        let cost = account.cost(begun, Vec::new());
        assert_eq!(cost.delivered, 7);
        assert!(cost.rss_bytes > 1 << 20, "{cost:?}");
        assert_eq!(cost.timed_seconds, 0.0, "not before its time");
    }
}
