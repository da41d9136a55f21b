//! What may deny packets of a namespace's processes: programs of eBPF on their cgroups
//! (kernel/bpf/cgroup.c), and the active security modules (security/inode.c).
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use super::processes::{self, Process};
use crate::{
    host::cgroups,
    model::security::{CgroupProgram, Security},
    sys::bpf::{self, Way},
};

const MODULES: &str = "sys/kernel/security/lsm";
/// Processes that are named of a cgroup.
const PROCESSES: usize = 3;

/// The hierarchy of version 2.
struct Hierarchy {
    base: PathBuf,
    folder: PathBuf,
}

pub fn hooks(root: &Path, netns: u32) -> Result<Security> {
    let found = cgroups::unified(root).context("no cgroups of version 2 under /sys/fs/cgroup")?;
    let (base, folder) = found;
    let processes = all(root);
    let hierarchy = Hierarchy { base, folder };
    let mut programs = Vec::new();
    for (cgroup, inside) in populated(&processes, netns) {
        programs.extend(hierarchy.programs(&cgroup, &inside)?);
    }
    hold(&processes, &mut programs);
    Ok(Security {
        modules: modules(root),
        programs,
    })
}

/// Every process, with its cgroup. A container sees paths from its own cgroup on: a thread that
/// joins the first process's namespace sees those of the machine.
fn all(root: &Path) -> Vec<(Process, Option<String>)> {
    let read = || {
        if let Ok(first) = File::open(root.join("proc/1/ns/cgroup")) {
            // Without that right the paths are right unless this is a container.
            let _ = setns(first, CloneFlags::CLONE_NEWCGROUP);
        }
        let all = processes::all(root).into_iter();
        all.map(|p| (p.cgroup(), p)).map(|(c, p)| (p, c)).collect()
    };
    let joined = thread::scope(|scope| scope.spawn(read).join());
    joined.unwrap_or_default()
}

/// The cgroups that the namespace's processes are in, and those above, with the processes.
fn populated(
    processes: &[(Process, Option<String>)],
    netns: u32,
) -> BTreeMap<PathBuf, Vec<String>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (process, cgroup) in processes.iter().filter(|(p, _)| p.netns == netns) {
        for above in cgroup.iter().flat_map(|c| Path::new(c).ancestors()) {
            found
                .entry(above.to_owned())
                .or_default()
                .push(label(process));
        }
    }
    found
}

fn label(process: &Process) -> String {
    format!("{}[{}]", process.name(), process.pid)
}

impl Hierarchy {
    fn programs(&self, cgroup: &Path, inside: &[String]) -> Result<Vec<CgroupProgram>> {
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        let folder = self.folder.join(below);
        // It may be gone by now.
        let Ok(file) = File::open(&folder) else {
            return Ok(Vec::new());
        };
        let shown = folder.strip_prefix(&self.base).unwrap_or(&folder);
        let shown = Path::new("/").join(cgroups::MOUNTED).join(shown);
        let mut programs = Vec::new();
        for way in [Way::Egress, Way::Ingress] {
            let ids = bpf::attached(&file, way).context("asking for the programs of a cgroup")?;
            // One that was detached meanwhile is left out.
            let known = ids.into_iter().filter_map(|id| bpf::program(id).ok());
            programs.extend(known.map(|program| CgroupProgram {
                id: program.id,
                name: program.name,
                egress: way == Way::Egress,
                cgroup: shown.display().to_string(),
                user: program.user,
                holders: Vec::new(),
                processes: inside.iter().take(PROCESSES).cloned().collect(),
            }));
        }
        Ok(programs)
    }
}

/// Looks at the open files of every process: only where there is something to look for.
fn hold(processes: &[(Process, Option<String>)], programs: &mut [CgroupProgram]) {
    let ids: Vec<u32> = programs.iter().map(|p| p.id).collect();
    if ids.is_empty() {
        return;
    }
    for (process, _) in processes {
        let held = process.holds(&ids);
        for program in programs.iter_mut().filter(|p| held.contains(&p.id)) {
            program.holders.push(label(process));
        }
    }
}

fn modules(root: &Path) -> Vec<String> {
    let mut places = cgroups::roots(root).map(|root| root.join(MODULES));
    let text = places.find_map(|file| std::fs::read_to_string(file).ok());
    let text = text.unwrap_or_default();
    let words = text.trim().split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}
