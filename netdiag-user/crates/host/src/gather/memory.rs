//! Memory cgroups, of both versions (Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/memory.rst).
use std::{
    fs::metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use netdiag_lang::mark;

use super::processes::Believer;
use crate::{
    cgroups,
    model::control::MemoryCgroup,
    sys::file::{self, SMALL},
};

/// Nodes with more folders than this are searched no further.
const MOST: usize = 20_000;
/// Version 1 writes "no limit" as the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

/// The hierarchy that limits memory.
struct Hierarchy {
    folder: PathBuf,
    v2: bool,
}

impl Hierarchy {
    fn find(root: &Path) -> Option<Self> {
        let mut places = cgroups::roots(root).map(|root| root.join(cgroups::MOUNTED));
        places.find_map(Self::at)
    }

    fn at(folder: PathBuf) -> Option<Self> {
        if folder.join("cgroup.controllers").is_file() {
            return Some(Self { folder, v2: true });
        }
        let folder = folder.join("memory");
        folder.is_dir().then_some(Self { folder, v2: false })
    }

    fn read(&self, folder: &Path) -> Option<MemoryCgroup> {
        let number = |name: &str| {
            let text = file::kernel(&folder.join(name), SMALL).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let [limit, peak, events] = match self.v2 {
            true => ["memory.max", "memory.peak", "memory.events"],
            false => [
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
                "memory.oom_control",
            ],
        };
        let path = folder.strip_prefix(&self.folder).ok()?;
        Some(MemoryCgroup {
            id: metadata(folder).ok()?.ino(),
            path: format!("/{}", path.display()),
            limit_file: self.on_the_node(folder).join(limit).display().to_string(),
            limit: number(limit).filter(|bytes| *bytes < NO_LIMIT),
            peak: number(peak),
            kills: file::kernel(&folder.join(events), SMALL)
                .ok()
                .and_then(|t| kills(&t)),
            namespace: None,
        })
    }

    /// As it is seen where cgroups have their usual place.
    fn on_the_node(&self, folder: &Path) -> PathBuf {
        let base = if self.v2 {
            "/sys/fs/cgroup"
        } else {
            "/sys/fs/cgroup/memory"
        };
        let below = folder.strip_prefix(&self.folder).unwrap_or(folder);
        Path::new(base).join(below)
    }
}

/// The cgroup whose folder has that inode.
pub fn by_id(root: &Path, id: u64) -> Result<MemoryCgroup> {
    let hierarchy =
        Hierarchy::find(root).context(mark!("no memory cgroups under /sys/fs/cgroup"))?;
    let mut folders = vec![hierarchy.folder.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        seen += 1;
        if metadata(&folder).is_ok_and(|m| m.ino() == id) {
            let read = hierarchy.read(&folder);
            let mut cgroup = read.context(mark!("the cgroup cannot be read"))?;
            let pod = cgroups::pod_roots(root).pod_and_container(&cgroup.path);
            let namespace = |(uid, _)| Some(Believer::new(root).namespace(uid)?.to_owned());
            cgroup.namespace = pod.and_then(namespace);
            return Ok(cgroup);
        }
        let below = file::entries(&folder, MOST).into_iter();
        let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        folders.extend(below.map(|e| e.path()));
        anyhow::ensure!(
            seen + folders.len() <= MOST,
            "there are more than {MOST} cgroups, and the one with the id {id} was not among those"
        );
    }
    anyhow::bail!("no memory cgroup has the id {id} any more")
}

fn kills(text: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_kills_alike() {
        assert_eq!(
            kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            Some(3)
        );
        assert_eq!(
            kills("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(kills("under_oom 0\n"), None);
    }
}
