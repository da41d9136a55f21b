//! What may deny packets of a namespace's processes: programs of eBPF on their cgroups
//! (kernel/bpf/cgroup.c), and the active security modules (security/inode.c).
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use netdiag_lang::{english, mark};

use super::{
    Found,
    processes::{self, Unseen},
};
use crate::{
    cgroups,
    model::{
        security::{CgroupProgram, Security},
        verdict::NotChecked,
    },
    sys::{
        bpf::{self, Way},
        file::{self, SMALL},
    },
};

const MODULES: &str = "sys/kernel/security/lsm";
/// Processes that are named of a cgroup, and of a program.
const PROCESSES: usize = 3;
const HOLDERS: usize = 16;
/// Open files of all processes that are looked at for programs.
const FILES: usize = 1 << 20;
/// Cgroups that are looked at, and how deep: who is given a part of the hierarchy makes as many
/// there as he likes (Documentation/admin-guide/cgroup-v2.rst, "Delegation").
const CGROUPS: usize = 4096;
const DEEPEST: usize = 32;

/// The hierarchy of version 2.
struct Hierarchy {
    base: PathBuf,
    folder: PathBuf,
}

pub fn hooks(root: &Path, netns: u32) -> Result<Found<Security>> {
    let found =
        cgroups::unified(root).context(mark!("no cgroups of version 2 under /sys/fs/cgroup"))?;
    let (base, folder) = found;
    let hierarchy = Hierarchy { base, folder };
    let mut programs = Vec::new();
    let populated = populated(root, netns);
    let closed = populated.unseen.closed;
    ensure!(
        !populated.cgroups.is_empty() || closed == 0,
        "without CAP_SYS_PTRACE {} of others may not be looked at, the namespace's among them",
        match closed {
            1 => "1 process".to_owned(),
            n => format!("{n} processes"),
        }
    );
    for (cgroup, inside) in &populated.cgroups {
        programs.extend(hierarchy.programs(cgroup, inside)?);
    }
    let beyond = hold(root, &mut programs);
    let security = Security {
        modules: modules(root),
        programs,
    };
    let mut left = populated.left(netns);
    left.extend(beyond);
    Ok((security, left))
}

/// The cgroups that a namespace's processes are in, and those above, with some of the processes.
#[derive(Debug, Default)]
struct Populated {
    cgroups: BTreeMap<PathBuf, Vec<String>>,
    /// There are more of them.
    more: bool,
    /// Some are deeper.
    deeper: bool,
    /// Processes that were not looked at.
    unseen: Unseen,
}

fn populated(root: &Path, netns: u32) -> Populated {
    let mut found = Populated::default();
    let unseen = processes::each(root, |process, _| {
        if process.netns != netns {
            return;
        }
        if let Some(cgroup) = process.cgroups().unified() {
            found.take(Path::new(cgroup), || process.label());
        }
    });
    found.unseen = unseen;
    found
}

impl Populated {
    /// From the root on: what hangs there counts for all.
    fn take(&mut self, cgroup: &Path, label: impl Fn() -> String) {
        let mut at = PathBuf::new();
        for (depth, part) in cgroup.components().enumerate() {
            if depth > DEEPEST {
                self.deeper = true;
                return;
            }
            at.push(part);
            let known = self.cgroups.contains_key(&at);
            if !known && self.cgroups.len() >= CGROUPS {
                self.more = true;
                return;
            }
            let inside = self.cgroups.entry(at.clone()).or_default();
            if inside.len() < PROCESSES {
                inside.push(label());
            }
        }
    }

    fn left(&self, netns: u32) -> Vec<NotChecked> {
        let of = english!("of network namespace {netns}");
        let rows = [
            (
                self.more,
                english!("programs on cgroups {of} beyond the first {CGROUPS}"),
            ),
            (
                self.deeper,
                english!("programs on cgroups {of} more than {DEEPEST} deep"),
            ),
            (
                self.unseen.beyond > 0,
                format!(
                    "programs on cgroups {of} of {} processes",
                    self.unseen.beyond
                ),
            ),
        ];
        let left = rows.into_iter().filter(|(left, _)| *left);
        left.map(|(_, what)| NotChecked::new(what, mark!("there are too many to look at each")))
            .collect()
    }
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
            let ids =
                bpf::attached(&file, way).context(mark!("asking for the programs of a cgroup"))?;
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

fn hold(root: &Path, programs: &mut [CgroupProgram]) -> Option<NotChecked> {
    let ids: Vec<u32> = programs.iter().map(|p| p.id).collect();
    let (holders, beyond) = holders(root, &ids);
    for program in programs {
        program.holders = holders.get(&program.id).cloned().unwrap_or_default();
    }
    beyond
}

/// Processes that hold a program, by its number.
type Holders = BTreeMap<u32, Vec<String>>;

/// Processes that hold these programs, some of each. Looks at the open files of every process: only
/// where there is something to look for. With what was not looked at.
pub(super) fn holders(root: &Path, ids: &[u32]) -> (Holders, Option<NotChecked>) {
    let (holders, all) = holders_among(root, ids, FILES);
    let left = (!all).then(|| {
        let what = mark!("which processes hold programs of eBPF");
        NotChecked::new(
            what,
            english!("only the first {FILES} open files are looked at"),
        )
    });
    (holders, left)
}

/// The same among so many open files of all, and whether those were all. A user's thousand processes
/// may have 65,536 each.
fn holders_among(root: &Path, ids: &[u32], most: usize) -> (Holders, bool) {
    let mut holders = Holders::new();
    if ids.is_empty() {
        return (holders, true);
    }
    let mut left = most;
    processes::each(root, |process, _| {
        if left == 0 {
            return;
        }
        let held: BTreeSet<u32> = process.holds(ids, &mut left).into_iter().collect();
        for id in held {
            let of = holders.entry(id).or_default();
            if of.len() < HOLDERS {
                of.push(process.label());
            }
        }
    });
    (holders, left > 0)
}

fn modules(root: &Path) -> Vec<String> {
    let mut places = cgroups::roots(root).map(|root| root.join(MODULES));
    let text = places.find_map(|path| file::kernel(&path, SMALL).ok());
    let text = text.unwrap_or_default();
    let words = text.trim().split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::gather::processes::fake::{FLANNELD, Made, Node};

    fn label() -> String {
        "x[1]".into()
    }

    #[test]
    fn a_process_counts_in_its_cgroup_and_all_above() {
        let mut found = Populated::default();
        for _ in 0..5 {
            found.take(Path::new("/kubepods/pod1/c"), label);
        }
        let all: Vec<_> = found
            .cgroups
            .keys()
            .map(|p| p.display().to_string())
            .collect();
        assert_eq!(
            all,
            ["/", "/kubepods", "/kubepods/pod1", "/kubepods/pod1/c"]
        );
        assert!(
            found
                .cgroups
                .values()
                .all(|inside| inside.len() == PROCESSES)
        );
        assert_eq!(found.left(1), []);
    }

    /// The files of a process's descriptors, of which one is a program.
    fn descriptors(node: &Node, pid: u32, count: usize, program: u32) {
        let folder = node.root().join(format!("proc/{pid}"));
        for name in ["fd", "fdinfo"] {
            fs::create_dir_all(folder.join(name)).expect("made");
        }
        for fd in 0..count {
            symlink("anon_inode:bpf-prog", folder.join(format!("fd/{fd}"))).expect("linked");
        }
        let told = format!("prog_id:\t{program}\n");
        fs::write(folder.join("fdinfo/0"), told).expect("written");
    }

    #[test]
    fn open_files_have_an_end() {
        let made = Made {
            comm: "cilium",
            ..FLANNELD
        };
        let node = Node::new().with(7, &made).with(8, &made);
        descriptors(&node, 7, 3, 50);
        descriptors(&node, 8, 3, 50);
        let found = |most| holders_among(node.root(), &[50], most);
        let count = |holders: &Holders| holders.values().map(Vec::len).sum::<usize>();
        let (holders, all) = found(100);
        assert_eq!((count(&holders), all), (2, true), "{holders:?}");
        let (holders, all) = found(3);
        assert_eq!((count(&holders), all), (1, false), "{holders:?}");
        assert!(holders_among(node.root(), &[], 0).1, "nothing to look for");
    }

    #[test]
    fn cgroups_have_an_end_in_number_and_depth() {
        let mut found = Populated::default();
        found.take(Path::new(&format!("/pod{}", "/a".repeat(2000))), label);
        assert_eq!(found.cgroups.len(), DEEPEST + 1, "with the root");
        for n in 0..2 * CGROUPS {
            found.take(Path::new(&format!("/pod/{n}")), label);
        }
        assert_eq!(found.cgroups.len(), CGROUPS);
        let whats = found.left(7).into_iter().map(|row| row.what);
        assert_eq!(
            whats.collect::<Vec<_>>(),
            [
                "programs on cgroups of network namespace 7 beyond the first 4096",
                "programs on cgroups of network namespace 7 more than 32 deep",
            ]
        );
        let before = found.cgroups.len();
        found.take(Path::new("/pod/1"), label);
        assert_eq!(found.cgroups.len(), before);
    }
}
