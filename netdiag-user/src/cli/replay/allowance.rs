//! What a recording may cost whoever replays it: time that goes by its size, and memory.
//!
//! What readings cost depends on how their rows and the node's configuration meet in the rules, which
//! no limit on either of them can tell beforehand.
use std::{
    io::Write,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{cli::exit, model::verdict::NotChecked, sys};

/// Time on a processor that any recording may take, and for each megabyte of it more. One of a
/// node with full tables on which little happens takes 60 s a megabyte.
const BASE: Duration = Duration::from_secs(10);
const A_MEGABYTE: Duration = Duration::from_secs(120);
/// Memory that all recordings may take, each of them so much.
const MEMORY: usize = 232 << 20;
const LOOK: Duration = Duration::from_millis(10);

/// The time that one recording has taken so far.
#[derive(Default)]
pub struct Allowance {
    spent: Duration,
}

impl Allowance {
    /// Time that this thread has spent on a processor.
    pub fn now() -> Duration {
        clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
    }

    pub fn spend(&mut self, begun: Duration) {
        self.spent += Self::now().saturating_sub(begun);
    }

    /// Whether that is all that so many bytes may take.
    pub fn is_spent(&self, bytes: u64) -> bool {
        self.spent > allowed(bytes)
    }

    /// The sentence that says so.
    pub fn told(&self, bytes: u64) -> Option<NotChecked> {
        let why = format!(
            "its first {bytes} bytes took {} s to judge, more than any should: what is before was \
             used",
            self.spent.as_secs()
        );
        self.is_spent(bytes)
            .then(|| NotChecked::new("the rest of the recording", why))
    }
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).map_or(Duration::ZERO, Duration::from)
}

fn allowed(bytes: u64) -> Duration {
    BASE + A_MEGABYTE.mul_f64(bytes as f64 / 1e6)
}

/// Ends the process when the recordings take more than they may, wherever it is just then.
pub fn guard(files: &[PathBuf]) {
    let found = files.iter().filter_map(|file| file.metadata().ok());
    let bytes: u64 = found.map(|it| it.len()).sum();
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    // What each may take by itself, and as much again for what they say together.
    let time = (allowed(bytes) + BASE.saturating_mul(count)).saturating_mul(2);
    let memory = MEMORY.saturating_mul(files.len());
    let what = match files {
        [one] => one.display().to_string(),
        _ => format!("these {} recordings", files.len()),
    };
    let process = || clock(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let before = process();
    std::thread::spawn(move || {
        loop {
            sleep(LOOK);
            if memory_taken().is_some_and(|taken| taken > memory) {
                end(&what, &format!("{} MB of memory", memory >> 20));
            }
            if process().saturating_sub(before) > time {
                end(&what, &format!("{} s", time.as_secs()));
            }
        }
    });
}

fn end(what: &str, more_than: &str) -> ! {
    let told = format!(
        "netdiag: cannot replay {what}: that takes more than {more_than}, and no recording of a node does"
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    std::process::exit(exit::ENVIRONMENT);
}

/// Memory that is this process's own (proc_pid_status(5), RssAnon).
fn memory_taken() -> Option<usize> {
    let status = sys::file::text(Path::new("/proc/self/status"), sys::file::SMALL).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_by_the_bytes() {
        let mut allowance = Allowance::default();
        assert!(!allowance.is_spent(0));
        allowance.spent = BASE + Duration::from_secs(61);
        assert!(allowance.is_spent(500_000));
        assert!(!allowance.is_spent(1_000_000));
        let told = allowance.told(1).expect("told").why;
        assert!(told.contains("71 s"), "{told}");
    }

    #[test]
    fn memory_is_known() {
        let before = memory_taken().expect("known");
        let some = vec![1_u8; 64 << 20];
        let after = memory_taken().expect("known");
        assert!(after - before > 32 << 20, "{}", some.len());
    }
}
