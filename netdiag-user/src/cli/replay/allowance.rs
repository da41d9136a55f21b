//! What a recording may cost whoever replays it: time that goes by its size, and memory.
//!
//! What readings cost depends on how their rows and the node's configuration meet in the rules, which
//! no limit on either of them can tell beforehand.
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::sleep,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{cli::exit, model::verdict::NotChecked, recording::bytes_read, sys};

/// Time on a processor that any recording may take, and for each megabyte of it more. One of a
/// node with full tables on which little happens takes 60 s a megabyte.
const BASE: Duration = Duration::from_secs(10);
const A_MEGABYTE: Duration = Duration::from_secs(120);
/// Beyond that nobody waits who has not said so, whatever the size: of one, and for each that is played
/// beside it.
const LONGEST: Duration = Duration::from_secs(600);
const ANOTHER: Duration = Duration::from_secs(120);
/// Memory that all recordings may take, each of them so much; the program itself counts too, and
/// what is taken between two looks: all of it stays below 256 MB.
const MEMORY: usize = 240 << 20;
const LOOK: Duration = Duration::from_millis(3);

/// What was asked for in the place of [`LONGEST`].
static ASKED: OnceLock<Duration> = OnceLock::new();

/// From now on recordings may take so long, as far as their size allows it.
pub fn at_most(time: Option<Duration>) {
    if let Some(time) = time {
        // The first to say so is the one command that there is.
        let _ = ASKED.set(time);
    }
}

fn longest() -> Duration {
    ASKED.get().copied().unwrap_or(LONGEST)
}

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

/// What is judged in the end takes time too: its part of all stays free.
fn allowed(bytes: u64) -> Duration {
    by_size(bytes).min(longest() * 4 / 5)
}

fn by_size(bytes: u64) -> Duration {
    BASE + A_MEGABYTE.mul_f64(bytes as f64 / 1e6)
}

/// Ends the process when the recordings take more than they may, wherever it is just then.
pub fn guard(files: &[PathBuf], once: bool) {
    watch(files, once, &Arc::default());
}

/// The same until it is dropped: whoever looks at what was read may take all the time there is.
#[cfg(feature = "top")]
#[must_use]
pub struct Guard(Arc<AtomicBool>);

#[cfg(feature = "top")]
impl Guard {
    pub fn over(files: &[PathBuf]) -> Self {
        let over = Arc::default();
        watch(files, true, &over);
        Self(over)
    }
}

#[cfg(feature = "top")]
impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Until that says that it is over.
fn watch(files: &[PathBuf], once: bool, over: &Arc<AtomicBool>) {
    let over = Arc::clone(over);
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let memory = MEMORY.saturating_mul(files.len());
    let what = match files {
        [one] => one.display().to_string(),
        _ => format!("these {} recordings", files.len()),
    };
    let process = || clock(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let before = process();
    std::thread::spawn(move || {
        while !over.load(Relaxed) {
            sleep(LOOK);
            if memory_taken().is_some_and(|taken| taken > memory) {
                end(&what, &format!("{} MB of memory", memory >> 20));
            }
            let time = altogether(bytes_read(), count, once);
            if process().saturating_sub(before) > time {
                end(&what, &format!("{} s", time.as_secs()));
            }
        }
    });
}

/// What so many recordings may take by themselves, with what they come to in the end; and as much
/// again for what several say together, or where each is played more than once. It goes by the
/// bytes that were read of them so far, for a pipe has no length, and a file may have more than is
/// ever read.
fn altogether(bytes: u64, count: u32, once: bool) -> Duration {
    let apart = by_size(bytes).saturating_mul(5) / 4 + BASE.saturating_mul(count);
    let by_size = match once && count == 1 {
        true => apart,
        false => apart.saturating_mul(2),
    };
    by_size.min(longest() + ANOTHER.saturating_mul(count.saturating_sub(1)))
}

fn end(what: &str, more_than: &str) -> ! {
    let told = format!(
        "netdiag: cannot replay {what}: that takes more than {more_than}, and no recording of a node does \
         (`netdiag replay --max-time`)"
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    sys::output_file::abandon();
    std::process::exit(exit::ENVIRONMENT);
}

/// Memory that this process takes (proc_pid_status(5), VmRSS), the program's own pages included.
fn memory_taken() -> Option<usize> {
    let status = sys::file::text(Path::new("/proc/self/status"), sys::file::SMALL).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
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
    fn no_size_takes_longer_than_anybody_waits() {
        let huge = 1 << 30;
        assert_eq!(altogether(huge, 1, true), LONGEST);
        assert_eq!(altogether(huge, 3, false), LONGEST + ANOTHER * 2);
        // The rest of it is left out before all of it is given up.
        let allowance = Allowance { spent: LONGEST };
        assert!(allowance.is_spent(huge) && allowed(huge) < LONGEST);
    }

    /// A pipe has no length: nothing but what was read can count.
    #[test]
    fn what_was_read_counts() {
        let more = |count, once| altogether(1_000_000, count, once) - altogether(0, count, once);
        assert_eq!(altogether(0, 1, true), BASE * 9 / 4);
        assert_eq!(more(1, true), A_MEGABYTE * 5 / 4);
        assert_eq!(altogether(0, 3, true), BASE * 17 / 2);
        assert_eq!(more(1, false), A_MEGABYTE * 5 / 2);
    }

    #[test]
    fn memory_is_known() {
        let before = memory_taken().expect("known");
        let some = vec![1_u8; 64 << 20];
        let after = memory_taken().expect("known");
        assert!(after - before > 32 << 20, "{}", some.len());
    }
}
