//! Network namespaces that can be opened: the named ones, and those of processes.
use std::{
    collections::HashSet,
    fs::File,
    io,
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    cgroups,
    owner::{self, Crowds, Owner},
};
use crate::sys::file;

/// Where namespaces have names. Only root makes any there.
const NAMED: [&str; 3] = ["run/netns", "var/run/netns", "run/docker/netns"];
const MOST_NAMED: usize = 16_384;

/// A namespace that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub inode: u32,
    pub path: PathBuf,
    /// Its owner has many others.
    pub crowd: bool,
}

/// Inode of a namespace file.
pub fn inode(path: &Path) -> Option<u32> {
    u32::try_from(std::fs::metadata(path).ok()?.ino()).ok()
}

/// The same where it is one: when a namespace is no longer mounted there, or out of our sight, an
/// ordinary file stays.
pub fn mounted(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    let inode = u32::try_from(file.ino()).ok()?;
    (file.dev() == device()?).then_some(inode)
}

/// The device of the file system of all namespaces.
fn device() -> Option<u64> {
    static DEVICE: OnceLock<Option<u64>> = OnceLock::new();
    let ask = || Some(std::fs::metadata("/proc/thread-self/ns/net").ok()?.dev());
    *DEVICE.get_or_init(ask)
}

/// Inode of the namespace that this thread is in.
pub fn own() -> Option<u32> {
    inode(Path::new("/proc/thread-self/ns/net"))
}

/// Opens the namespace with that inode, if it is still the one at that path: a process's number may
/// be another's by now.
pub fn open(path: &Path, netns: u32) -> io::Result<File> {
    let file = file::namespace(path)?;
    match file.metadata()?.ino() == u64::from(netns) {
        true => Ok(file),
        false => Err(io::Error::other("it is another namespace by now")),
    }
}

/// Takes this thread to a namespace, and leaves it there. Where it already is, it need not be
/// allowed to enter.
pub fn enter(path: &Path, netns: u32) -> io::Result<()> {
    if own() == Some(netns) {
        return Ok(());
    }
    let file = open(path, netns)?;
    Ok(nix::sched::setns(
        file,
        nix::sched::CloneFlags::CLONE_NEWNET,
    )?)
}

/// What can be found under a root.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub all: Vec<Namespace>,
    /// There are more processes than were looked at.
    pub more: bool,
}

/// Every namespace that can be found under `root`: the named ones, and those of processes. One
/// path per inode, a named one where there is one.
pub fn found(root: &Path) -> Found {
    let (mut all, mut known) = (Vec::new(), HashSet::new());
    let mut crowds = Crowds::default();
    let roots = cgroups::pod_roots(root);
    let more = each(root, |mut namespace, process| {
        if known.insert(namespace.inode) {
            let owner = process.map_or(Owner::Root, |folder| owner::of(folder, &roots));
            namespace.crowd = !crowds.takes(owner, namespace.inode);
            all.push(namespace);
        }
        ControlFlow::Continue(())
    });
    Found { all, more }
}

pub fn all(root: &Path) -> Vec<Namespace> {
    found(root).all
}

/// The namespace with that inode.
pub fn find(root: &Path, inode: u32) -> Option<Namespace> {
    let mut found = None;
    each(root, |namespace, _| {
        if namespace.inode != inode {
            return ControlFlow::Continue(());
        }
        found = Some(namespace);
        ControlFlow::Break(())
    });
    found
}

/// Hands on each, named ones first, others with their process, for as long as more are wanted. Tells
/// whether there are more processes than were looked at.
fn each(root: &Path, mut take: impl FnMut(Namespace, Option<&Path>) -> ControlFlow<()>) -> bool {
    let mut one = |path: PathBuf, process: Option<&Path>| {
        let Some(inode) = mounted(&path) else {
            return ControlFlow::Continue(());
        };
        let crowd = false;
        take(Namespace { inode, path, crowd }, process)
    };
    for folder in NAMED {
        for entry in file::entries(&root.join(folder), MOST_NAMED) {
            if one(entry.path(), None).is_break() {
                return false;
            }
        }
    }
    let Ok(folder) = file::list(&root.join("proc"), file::PROCESSES) else {
        return false;
    };
    for entry in folder.entries {
        let name = entry.file_name();
        let is_process = name.to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        let process = entry.path();
        if is_process && one(process.join("ns/net"), Some(&process)).is_break() {
            return false;
        }
    }
    folder.more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found_and_can_be_opened() {
        let inode = own().expect("a namespace");
        let found = find(Path::new("/"), inode).expect("found");
        assert!(open(&found.path, inode).is_ok());
        let other = open(&found.path, inode ^ 1).expect_err("another");
        assert_eq!(other.to_string(), "it is another namespace by now");
    }

    #[test]
    fn what_is_no_namespace_is_not_found() {
        let root = tempfile::tempdir().expect("a folder");
        let named = root.path().join("run/netns");
        std::fs::create_dir_all(&named).expect("made");
        std::fs::write(named.join("stale"), "").expect("written");
        nix::unistd::mkfifo(&named.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert_eq!(all(root.path()), []);
        std::os::unix::fs::symlink("/proc/self/ns/net", named.join("own")).expect("linked");
        let found = all(root.path());
        assert_eq!(found.first().map(|n| Some(n.inode)), Some(own()));
    }
}
