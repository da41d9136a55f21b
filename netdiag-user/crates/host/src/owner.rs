//! Whose a network namespace is. Whoever may make namespaces makes as many as he likes: a pod with a
//! user namespace of its own has thousands within a second. A few of one owner's count as
//! everybody's do, and the rest comes last or not at all, so that nobody's crowd hides others.
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use crate::{model::pod_cgroup::PodRoots, sys::file};

/// Namespaces of one owner. A pod has one; a container engine within it makes some more.
pub const MOST: usize = 16;

/// Who made a process's namespace, as far as the kernel tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The pod of that UID: nobody leaves its cgroup.
    Pod(String),
    /// A user of the machine's, by his number.
    User(u32),
    /// Root, or not known.
    Root,
}

/// Of the process with that folder in /proc.
pub fn of(folder: &Path, roots: &PodRoots) -> Owner {
    if let Some(uid) = pod(folder, roots) {
        return Owner::Pod(uid);
    }
    match user(folder) {
        Some(uid) if uid != 0 => Owner::User(uid),
        _ => Owner::Root,
    }
}

/// UID of the pod that the process is of.
fn pod(folder: &Path, roots: &PodRoots) -> Option<String> {
    let (bytes, _) = file::start(&folder.join("cgroup"), file::SMALL).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .find_map(|path| roots.pod_and_container(path))
        .map(|(uid, _)| uid)
}

/// Its real user: the others may be root's by a set-uid program.
fn user(folder: &Path) -> Option<u32> {
    let (bytes, _) = file::start(&folder.join("status"), file::SMALL).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Namespaces by their owners, as far as each may have them.
#[derive(Debug, Default)]
pub struct Crowds {
    taken: HashMap<Owner, HashSet<u32>>,
    left: HashSet<u32>,
}

impl Crowds {
    /// Whether this namespace is one of the first that its owner has. Root's always are.
    pub fn takes(&mut self, owner: Owner, netns: u32) -> bool {
        if owner == Owner::Root {
            return true;
        }
        let of_it = self.taken.entry(owner).or_default();
        let takes = of_it.contains(&netns) || of_it.len() < MOST;
        match takes {
            true => of_it.insert(netns),
            false => self.left.insert(netns),
        };
        takes
    }

    /// How many namespaces were not.
    pub fn left(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(cgroup: &str, uids: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let status = format!("Name:\tx\nUid:\t{uids}\nGid:\t0\t0\t0\t0\n");
        for (name, text) in [("cgroup", cgroup), ("status", &status)] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn pods_come_before_users_and_root_is_nobody_in_particular() {
        let uid = "0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f";
        let pod = format!("0::/kubepods/pod{uid}/{}/inner\n", "a".repeat(64));
        let of = |cgroup: &str, uids: &str| of(process(cgroup, uids).path(), &PodRoots::default());
        assert_eq!(of(&pod, "1000\t0\t0\t0"), Owner::Pod(uid.into()));
        let session = "0::/user.slice/user-1000.slice/session-1.scope\n";
        assert_eq!(of(session, "1000\t0\t0\t0"), Owner::User(1000), "set-uid");
        let own = format!("0::/user.slice{}", &pod[3..]);
        assert_eq!(of(&own, "1000\t1000\t1000\t1000"), Owner::User(1000));
        let container = format!("0::/lxc.payload.x{}", &pod[3..]);
        let of_users = "100000\t100000\t100000\t100000";
        assert_eq!(of(&container, of_users), Owner::User(100_000));
        assert_eq!(
            of("0::/system.slice/x.service\n", "0\t0\t0\t0"),
            Owner::Root
        );
        let nowhere = Path::new("/nonexistent");
        assert_eq!(super::of(nowhere, &PodRoots::default()), Owner::Root);
    }

    #[test]
    fn each_has_a_few_and_hides_nobody_elses() {
        let mut crowds = Crowds::default();
        let pod = |n: u32| Owner::Pod(n.to_string());
        let most = MOST as u32;
        let taken = (0..most + 9).filter(|n| crowds.takes(pod(1), *n)).count();
        assert_eq!((taken, crowds.left()), (MOST, 9));
        assert!(crowds.takes(pod(1), 3), "one of its first");
        assert!(!crowds.takes(pod(1), most + 1), "the same as before");
        assert!(crowds.takes(pod(2), 1000) && crowds.takes(Owner::User(7), 1001));
        assert!((0..2000).all(|n| crowds.takes(Owner::Root, n)));
        assert_eq!(crowds.left(), 9);
    }
}
