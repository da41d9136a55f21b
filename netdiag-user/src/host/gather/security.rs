//! What may deny packets of a namespace's processes: programs of eBPF on their cgroups
//! (kernel/bpf/cgroup.c), and the active security modules (security/inode.c).
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::processes;
use crate::{
    host::cgroups,
    model::security::{CgroupProgram, Security},
    sys::{
        bpf::{self, Way},
        file::{self, SMALL},
    },
};

const MODULES: &str = "sys/kernel/security/lsm";
/// Processes that are named of a cgroup, and of a program.
const PROCESSES: usize = 3;
const HOLDERS: usize = 16;

/// The hierarchy of version 2.
struct Hierarchy {
    base: PathBuf,
    folder: PathBuf,
}

pub fn hooks(root: &Path, netns: u32) -> Result<Security> {
    let found = cgroups::unified(root).context("no cgroups of version 2 under /sys/fs/cgroup")?;
    let (base, folder) = found;
    let hierarchy = Hierarchy { base, folder };
    let mut programs = Vec::new();
    for (cgroup, inside) in populated(root, netns) {
        programs.extend(hierarchy.programs(&cgroup, &inside)?);
    }
    hold(root, &mut programs);
    Ok(Security {
        modules: modules(root),
        programs,
    })
}

/// The cgroups that the namespace's processes are in, and those above, with some of the processes.
fn populated(root: &Path, netns: u32) -> BTreeMap<PathBuf, Vec<String>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    processes::each(root, |process, _| {
        if process.netns != netns {
            return;
        }
        let cgroups = process.cgroups();
        let Some(cgroup) = cgroups.unified() else {
            return;
        };
        for above in Path::new(cgroup).ancestors() {
            let inside = found.entry(above.to_owned()).or_default();
            if inside.len() < PROCESSES {
                inside.push(process.label());
            }
        }
    });
    found
}

impl Hierarchy {
    fn programs(&self, cgroup: &Path, inside: &[String]) -> Result<Vec<CgroupProgram>> {
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        let folder = self.folder.join(below);
        // It may be gone by now.
        let Ok(file) = file::folder(&folder) else {
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
                processes: inside.to_vec(),
            }));
        }
        Ok(programs)
    }
}

/// Looks at the open files of every process: only where there is something to look for.
fn hold(root: &Path, programs: &mut [CgroupProgram]) {
    let ids: Vec<u32> = programs.iter().map(|p| p.id).collect();
    if ids.is_empty() {
        return;
    }
    processes::each(root, |process, _| {
        let held = process.holds(&ids);
        for program in programs.iter_mut().filter(|p| held.contains(&p.id)) {
            if program.holders.len() < HOLDERS {
                program.holders.push(process.label());
            }
        }
    });
}

fn modules(root: &Path) -> Vec<String> {
    let mut places = cgroups::roots(root).map(|root| root.join(MODULES));
    let text = places.find_map(|path| file::kernel(&path, SMALL).ok());
    let text = text.unwrap_or_default();
    let words = text.trim().split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}
