//! CPU time: of the machine, of the kernel's threads for soft interrupts, of a thread, of a process.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

const STAT: &str = "/proc/stat";

/// Seconds that were spent so far.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub busy: f64,
    pub softirqs: f64,
}

impl Spent {
    pub fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy - before.busy,
            softirqs: self.softirqs - before.softirqs,
        }
    }
}

pub struct Meter {
    ticks: f64,
    /// schedstat of each ksoftirqd.
    softirqs: Vec<PathBuf>,
}

impl Meter {
    pub fn new() -> Result<Self> {
        let ticks = sysconf(SysconfVar::CLK_TCK).context("cannot read the clock's ticks")?;
        Ok(Self {
            ticks: ticks.context("the clock has no ticks")? as f64,
            softirqs: softirq_threads()?,
        })
    }

    pub fn read(&self) -> Result<Spent> {
        let stat = fs::read_to_string(STAT).with_context(|| format!("cannot read {STAT}"))?;
        let busy = busy_ticks(&stat).with_context(|| format!("{STAT} has no line of all CPUs"))?;
        let mut ns = 0;
        for path in &self.softirqs {
            let text = fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            ns += first_number(&text).unwrap_or(0);
        }
        Ok(Spent {
            busy: busy as f64 / self.ticks,
            softirqs: ns as f64 / 1e9,
        })
    }
}

/// user, nice, system, idle, iowait, irq, softirq of proc_stat(5): all but what waits, and not
/// what another machine took.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

fn softirq_threads() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let path = entry.context("cannot list /proc")?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            found.push(path.join("schedstat"));
        }
    }
    Ok(found)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Of the calling thread.
pub fn thread() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("cannot read the clock")?;
    Ok(time.into())
}

/// Of all threads of a process.
pub fn process(pid: u32) -> Result<Duration> {
    let pid = i32::try_from(pid).context("a pid out of range")?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(clock_gettime);
    Ok(clock.context("cannot read a process's CPU time")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        let stat = "cpu  1 2 4 800 900 8 16 32 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(31));
        assert_eq!(busy_ticks("cpu  1 2\n"), None);
        assert_eq!(first_number("123 4 5\n"), Some(123));
    }

    #[test]
    fn time_goes_on() -> Result<()> {
        let meter = Meter::new()?;
        let before = meter.read()?;
        let cpu = thread()?;
        while thread()? < cpu + Duration::from_millis(30) {}
        assert!(meter.read()?.since(before).busy > 0.0);
        assert!(process(std::process::id())? >= Duration::from_millis(30));
        Ok(())
    }
}
