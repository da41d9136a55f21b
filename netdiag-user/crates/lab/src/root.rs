//! A folder for each node that stands for its root: what `--root` is given. /proc, /sys and the
//! namespaces' names are the machine's, /etc and /var are the node's own.
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::plan::Node;

/// Links from a node's root to the machine's.
const SHARED: [(&str, &str); 3] = [
    ("proc", "/proc"),
    ("sys", "/sys"),
    ("run/netns", super::netns::DIR),
];

/// A node's own folders, empty at first.
const OWN: [&str; 4] = ["etc/modules-load.d", "etc/sysctl.d", "var", "run"];

pub fn dir(lab: &Path, node: &Node) -> PathBuf {
    lab.join("root").join(&node.name)
}

pub fn make(lab: &Path, node: &Node) -> Result<()> {
    make_at(&dir(lab, node))
}

/// The same of a node that no plan has.
pub fn make_at(dir: &Path) -> Result<()> {
    for own in OWN {
        let own = dir.join(own);
        fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    }
    for (name, target) in SHARED {
        match symlink(target, dir.join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot link {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}
