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
/// The same where there is a budget.
const OFTEN: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(1);
/// Of a run's time as the kernel tells it, what two readings of its clock add at least.
const TIMING_NS: u64 = 20;

pub struct Account {
    every: Duration,
    /// What everything had taken when the kernel began to time.
    before: Option<Duration>,
    /// Open while the kernel times, since then.
    timing: Option<(OwnedFd, Instant)>,
    next: Option<Instant>,
    timed: Duration,
    delivered: u64,
}

impl Account {
    /// With a budget it is looked at more often.
    pub fn new(now: Instant, budget: bool) -> Self {
        Self {
            every: if budget { OFTEN } else { EVERY },
            before: None,
            timing: None,
            next: now.checked_add(FIRST),
            timed: Duration::ZERO,
            delivered: 0,
        }
    }

    /// A reading, with so many records from the ring. Returns the share of one CPU, in percent,
    /// that everything took while the kernel timed it, where it has just stopped.
    pub fn reading(
        &mut self,
        now: Instant,
        delivered: usize,
        programs: impl Fn() -> Vec<ProgramCost>,
    ) -> Option<f64> {
        self.delivered += delivered as u64;
        let share = self.stop_timing(now, &programs);
        if self.next.is_some_and(|next| now >= next) {
            self.next = now.checked_add(self.every);
            match cost::timing() {
                Ok(timing) => {
                    self.before = Some(taken(&programs()));
                    self.timing = Some((timing, now));
                }
                Err(e) => {
                    log::debug!("{e:#}");
                    self.next = None;
                }
            }
        }
        share
    }

    fn stop_timing(
        &mut self,
        now: Instant,
        programs: &impl Fn() -> Vec<ProgramCost>,
    ) -> Option<f64> {
        let (_, since) = self.timing.as_ref()?;
        let timed = now.duration_since(*since);
        if timed < WINDOW {
            return None;
        }
        self.timed += timed;
        self.timing = None;
        let taken = taken(&programs()).saturating_sub(self.before.take()?);
        Some(taken.as_secs_f64() / timed.as_secs_f64() * 100.0)
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

/// By the programs while the kernel timed them, and by this process. Of the programs' it is the net:
/// what timing a run adds to it is not what the run costs.
fn taken(costs: &[ProgramCost]) -> Duration {
    let runs: u64 = costs.iter().map(|it| it.runs).sum();
    let ns: u64 = costs.iter().map(|it| it.ns).sum();
    let net = ns.saturating_sub(runs.saturating_mul(TIMING_NS));
    let own = getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |used| {
        let of = |time: nix::sys::time::TimeVal| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        of(used.user_time()) + of(used.system_time())
    });
    own + Duration::from_nanos(net)
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
        let mut account = Account::new(begun, false);
        assert_eq!(account.reading(begun, 3, Vec::new), None);
        assert_eq!(account.reading(begun, 4, Vec::new), None);
        let cost = account.cost(begun, Vec::new());
        assert_eq!(cost.delivered, 7);
        assert!(cost.rss_bytes > 1 << 20, "{cost:?}");
        assert_eq!(cost.timed_seconds, 0.0, "not before its time");
    }
}
