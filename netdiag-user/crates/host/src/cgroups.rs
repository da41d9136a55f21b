//! Where the machine's cgroups are (Documentation/admin-guide/cgroup-v2.rst).
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{model::pod_cgroup::PodRoots, sys::file};

/// Where they are mounted.
pub const MOUNTED: &str = "sys/fs/cgroup";

/// kubelet's `--cgroup-root`, where it was named.
static NAMED: OnceLock<String> = OnceLock::new();

/// From now on this node's pods are below that cgroup, too.
pub fn pods_are_below(named: &str) {
    // The first to say so is the one command that there is.
    let _ = NAMED.set(named.to_owned());
}

/// Where kubelet's cgroups begin, as this thread sees the first process's.
pub fn pod_roots(root: &Path) -> PodRoots {
    pod_roots_below(root, NAMED.get().map(String::as_str))
}

/// The same of a node whose pods are below that cgroup.
pub fn pod_roots_below(root: &Path, named: Option<&str>) -> PodRoots {
    let (first, _) = file::start(&root.join("proc/1/cgroup"), file::SMALL).unwrap_or_default();
    PodRoots::new(&String::from_utf8_lossy(&first), named)
}

/// Roots under which the machine's own /sys may be. `ip netns exec` and the like hide it behind a
/// new one: the first process still has it, and so has who started us.
pub fn roots(root: &Path) -> impl Iterator<Item = PathBuf> {
    let parent = std::os::unix::process::parent_id();
    let others = [1, parent].map(|pid| root.join(format!("proc/{pid}/root")));
    [root.to_owned()].into_iter().chain(others)
}

/// The hierarchy of version 2: it may stand beside those of version 1. With the folder that it is
/// mounted below.
pub fn unified(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut places = roots(root).flat_map(|root| {
        let base = root.join(MOUNTED);
        let beside = base.join("unified");
        [(base.clone(), base.clone()), (base, beside)]
    });
    places.find(|(_, folder)| folder.join("cgroup.controllers").is_file())
}
