//! How much memory this process's cgroup may take (Documentation/admin-guide/cgroup-v2.rst,
//! `memory.max`; cgroup-v1/memory.rst, `memory.limit_in_bytes`).
use std::path::{Path, PathBuf};

use crate::file::{self, SMALL};

/// Where the hierarchies are mounted; version 1 has one of its own for memory.
const MOUNTED: &str = "sys/fs/cgroup";

/// The least of what its own cgroup and those above it allow; nothing where none of them has a limit.
pub fn memory(root: &Path) -> Option<u64> {
    let text = file::text(&root.join("proc/self/cgroup"), SMALL).ok()?;
    let files = text.lines().filter_map(|line| files(root, line)).flatten();
    { files }.filter_map(|file| limit(&file)).min()
}

/// The files that may tell, of one line of /proc/self/cgroup (cgroups(7)): `0::/a/b` or `4:memory:/a/b`.
/// In a container the path may be the node's, and the mount the container's: its root counts in any case.
fn files(root: &Path, line: &str) -> Option<Vec<PathBuf>> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => (root.join(MOUNTED), "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => {
            (root.join(MOUNTED).join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let path = Path::new(path.trim_start_matches('/'));
    let folders = path.ancestors().map(|it| mount.join(it).join(file));
    Some(folders.collect())
}

/// `max`, or version 1's number that no memory has, says that there is none.
fn limit(file: &Path) -> Option<u64> {
    file::text(file, SMALL).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(cgroup: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        put("proc/self/cgroup", cgroup);
        for (name, text) in files {
            put(&format!("{MOUNTED}/{name}"), text);
        }
        memory(root.path())
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let pod = "0::/kubepods/pod1/c\n";
        let limits = [
            ("kubepods/memory.max", "max\n"),
            ("kubepods/pod1/memory.max", "1000\n"),
            ("kubepods/pod1/c/memory.max", "2000\n"),
        ];
        assert_eq!(machine(pod, &limits), Some(1000));
        assert_eq!(machine(pod, &limits[..1]), None);
        assert_eq!(machine(pod, &[]), None);
    }

    #[test]
    fn a_container_sees_its_own_at_the_mount() {
        assert_eq!(machine("0::/\n", &[("memory.max", "77\n")]), Some(77));
        let old = "4:cpu,memory:/kubepods/pod1\n1:name=systemd:/x\n0::/\n";
        let limits = [("memory/memory.limit_in_bytes", "88\n")];
        assert_eq!(machine(old, &limits), Some(88));
    }
}
