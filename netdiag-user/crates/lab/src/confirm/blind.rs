//! What perf(1) cannot see on this machine. On some virtual ones the kernel records no tracepoint that is
//! hit while a CPU's idle task is interrupted, as timers are that throw away what waits for a neighbour,
//! until the next boot: a command that works everywhere else then shows nothing, as chance has it.
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use netdiag_sys::file;

const STAT: &str = "/proc/stat";
const MOST_OF_STAT: usize = 1 << 20;
/// Two seconds' switches of tasks: the process, 0 the idle one, and the CPU that left it.
const SWITCHES: &str =
    "perf record -qa -e sched:sched_switch -o - sleep 2 | perf script -i - -F pid,cpu";
/// So many ticks a CPU was idle meanwhile, of a hundred a second, before it must have left its idle task.
const IDLE: u64 = 50;

/// The CPUs that were idle, and of whose idle task perf saw nothing.
pub fn cpus() -> Result<BTreeSet<u32>> {
    let before = idle(&stat()?);
    let mut perf = Command::new("sh");
    perf.args(["-c", SWITCHES]).stdin(Stdio::null());
    let ran = perf.output().context("cannot start perf")?;
    let after = idle(&stat()?);
    let seen = left_idle(&String::from_utf8_lossy(&ran.stdout));
    let since = |(cpu, ticks): &(u32, u64)| {
        let before = before.iter().find(|it| it.0 == *cpu);
        ticks.saturating_sub(before.map_or(*ticks, |it| it.1)) >= IDLE
    };
    let were_idle = after.iter().filter(|it| since(it)).map(|it| it.0);
    Ok(were_idle.filter(|cpu| !seen.contains(cpu)).collect())
}

fn stat() -> Result<String> {
    let read = file::read(STAT.as_ref(), MOST_OF_STAT).context("cannot read /proc/stat")?;
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// Each CPU, and how many ticks it was idle.
fn idle(stat: &str) -> Vec<(u32, u64)> {
    let of_one = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let cpu = words.next()?.parse().ok()?;
        Some((cpu, words.nth(3)?.parse().ok()?))
    };
    stat.lines().filter_map(of_one).collect()
}

/// Of which CPUs the idle task was seen to go.
fn left_idle(switches: &str) -> BTreeSet<u32> {
    let of_one = |line: &str| {
        let (pid, cpu) = line.trim().split_once(' ')?;
        let cpu = cpu.trim().strip_prefix('[')?.strip_suffix(']')?;
        (pid == "0").then(|| cpu.parse().ok())?
    };
    switches.lines().filter_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_each_cpu() {
        let stat = "cpu  9 0 9 900 1\ncpu0 4 0 4 450 1 0\ncpu11 5 0 5 449 0 0\nintr 5 6\n";
        assert_eq!(idle(stat), [(0, 450), (11, 449)]);
    }

    #[test]
    fn a_cpu_whose_idle_task_is_seen_is_not_blind() {
        let switches = " 12338 [001] \n     0 [000] \n    15 [001] \n     0 [011] \n";
        assert_eq!(left_idle(switches), [0, 11].into());
    }
}
