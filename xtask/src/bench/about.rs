//! What was measured: which netdiag, on which machine.
use std::{fs, process::Command, thread};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::measure::Size;
use crate::{paths, sh};

pub fn now(size: &Size) -> Result<Value> {
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let cpus = thread::available_parallelism().context("count the CPUs")?;
    let way = match (size.smoke, size.long) {
        (true, _) => "smoke",
        (_, true) => "long",
        _ => "usual",
    };
    Ok(json!({
        "commit": commit(),
        "date": sh::text(Command::new("date").args(["-u", "+%F"]))?.trim(),
        "kernel": kernel.trim(),
        "cpus": cpus.get(),
        "possible_cpus": possible(&read("/sys/devices/system/cpu/possible")?),
        "processor": fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(model),
        "size": way,
    }))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// With a plus where files differ from it; what a measurement itself writes does not count.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        sh::text(git.current_dir(paths::root()).args(args)).ok()
    };
    let name = git(&["rev-parse", "--short=12", "HEAD"])?;
    let own = [
        ":!netdiag-user/docs/performance.md",
        ":!netdiag-ebpf/cost.*",
    ];
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        own[0],
        own[1],
    ])?;
    let plus = if changed.trim().is_empty() { "" } else { "+" };
    Some(format!("{}{plus}", name.trim()))
}

/// Of a list such as `0-3,8`.
fn possible(list: &str) -> Option<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<u64>().ok()? - first.parse::<u64>().ok()? + 1)
    };
    list.trim().split(',').map(range).sum()
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        assert_eq!(possible("0-3,8\n"), Some(5));
        assert_eq!(possible("0\n"), Some(1));
        assert_eq!(possible("x"), None);
        assert_eq!(model("a\t: b\nmodel name\t: Fast (R)\n"), Some("Fast (R)"));
    }
}
