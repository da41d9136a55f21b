//! What a process's programs and maps cost, as the kernel counts it.
use std::{
    collections::{BTreeSet, HashMap},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context, Result};
use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

use super::load::Programs;
pub use crate::model::own::ProgramCost;
use crate::sys::file::{self, SMALL};

/// Most descriptors of a process that are asked.
const MOST: usize = 65_536;

/// Lets the kernel time every program on this machine for as long as the descriptor is open,
/// which costs some 20 ns a run. Nothing stays on when the process dies (Linux 5.8).
pub fn timing() -> Result<OwnedFd> {
    enable_stats(Stats::RunTime).context("letting the kernel time its eBPF programs")
}

/// The programs that the process holds, with their runs while [`timing`] was on; those that never
/// ran are left out.
pub fn programs(pid: u32) -> Result<Vec<ProgramCost>> {
    let held: BTreeSet<u64> = descriptors(pid)?
        .iter()
        .filter_map(|it| it.get("prog_id").copied())
        .collect();
    let mut costs = Vec::new();
    // One that goes away meanwhile, anyone's, ends up as an error.
    for program in loaded_programs().flatten() {
        if held.contains(&u64::from(program.id())) && program.run_count() > 0 {
            costs.push(of(&program));
        }
    }
    Ok(costs)
}

impl Programs {
    /// Its own programs, with their runs while [`timing`] was on; those that never ran are left out.
    pub fn costs(&self) -> Vec<ProgramCost> {
        let asked = self.ebpf.programs().filter_map(|(_, p)| p.info().ok());
        asked
            .filter(|it| it.run_count() > 0)
            .map(|it| of(&it))
            .collect()
    }
}

fn of(program: &ProgramInfo) -> ProgramCost {
    ProgramCost {
        name: program.name_as_str().unwrap_or_default().to_owned(),
        runs: program.run_count(),
        ns: u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
    }
}

/// Bytes of kernel memory behind the process's maps.
pub fn map_bytes(pid: u32) -> Result<u64> {
    let maps: HashMap<u64, u64> = descriptors(pid)?
        .iter()
        .filter_map(|it| Some((*it.get("map_id")?, *it.get("memlock")?)))
        .collect();
    Ok(maps.values().sum())
}

/// The numbers that /proc tells of each of the process's descriptors.
fn descriptors(pid: u32) -> Result<Vec<HashMap<String, u64>>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let listed = file::list(Path::new(&dir), MOST).with_context(|| format!("reading {dir}"))?;
    let texts = listed
        .entries
        .iter()
        .filter_map(|entry| file::kernel(&entry.path(), SMALL).ok());
    Ok(texts.map(|text| numbers(&text)).collect())
}

/// The lines of a file of /proc that are a name and a number.
pub(super) fn numbers(text: &str) -> HashMap<String, u64> {
    let number = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_descriptor() {
        let found = numbers("pos:\t0\nmap_type:\t9\nmemlock:\t1048576\nflags:\t0x2\n");
        assert_eq!(found.get("memlock"), Some(&1_048_576));
        assert!(!found.contains_key("flags"));
    }
}
