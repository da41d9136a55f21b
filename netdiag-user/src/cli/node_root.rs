//! Where a node's files are: below `/`, or in a container where somebody mounted them for it, as
//! `kubectl debug node/…` and the agent's DaemonSet do.
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use netdiag_lang::{mark, t};

use crate::kernel::support::Feature;

/// What the option says where nobody says anything.
pub const AUTO: &str = "auto";
const MOUNTED: &str = "/host";
const OWN: &str = "/";

/// Why that root was taken.
static FOUND: OnceLock<String> = OnceLock::new();

/// A node's root: a folder with a /proc in it.
pub fn parse(text: &str) -> Result<PathBuf, String> {
    if text == AUTO {
        return Ok(find());
    }
    let root = PathBuf::from(text);
    match root.join("proc").is_dir() {
        true => Ok(root),
        false => Err(format!("there is no {text}/proc: it is no node's root")),
    }
}

fn find() -> PathBuf {
    let root = match mounted(Path::new(MOUNTED)) {
        Some(why) => {
            // Clap asks more than once.
            FOUND.get_or_init(|| why);
            MOUNTED
        }
        None => OWN,
    };
    root.into()
}

/// Whether the node's files are found elsewhere where nobody names a place.
#[cfg(feature = "mcp")]
pub fn is_elsewhere() -> bool {
    find() != Path::new(OWN)
}

/// By what this is known for a node's root that is not this process's own; nothing where it is not.
fn mounted(root: &Path) -> Option<String> {
    let is_node = root.join("etc").is_dir() && root.join("proc/1/status").is_file();
    let there = identity(root)?;
    if !is_node || Some(there) == identity(Path::new(OWN)) {
        return None;
    }
    let name = root.display();
    match identity(&root.join("proc/1/root")) {
        // A node may have some other system's files in a folder of that name.
        Some(first) => {
            (first == there).then(|| t!("{name}, where process 1 of the node has its root"))
        }
        // Who may not look at process 1 is not root of the node, and is in a pod where kubelet says
        // so.
        None => {
            std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| t!("{name}, mounted for this pod"))
        }
    }
}

/// Which folder that is, by whatever name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = path.metadata().ok()?;
    found.is_dir().then(|| (found.dev(), found.ino()))
}

/// Says where a root was found that nobody named.
pub fn tell() {
    if let Some(why) = FOUND.get() {
        log::info!("the node's files are below {why}; --root / takes this container's own");
    }
}

/// What doctor says of it.
pub fn feature(root: &Path) -> Feature {
    let detail = match FOUND.get() {
        Some(why) if root == Path::new(MOUNTED) => t!("below {why}"),
        _ => t!("below {}", root.display()),
    };
    Feature {
        name: mark!("node's files"),
        available: true,
        essential: false,
        detail,
        remedy: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_system_is_not_the_nodes() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(mounted(root), None, "nothing is in it");
        std::fs::create_dir_all(root.join("proc/1")).expect("made");
        std::fs::create_dir(root.join("etc")).expect("made");
        std::fs::write(root.join("proc/1/status"), "").expect("written");
        std::os::unix::fs::symlink("/", root.join("proc/1/root")).expect("linked");
        assert_eq!(mounted(root), None, "process 1 has another");
    }

    #[test]
    fn the_own_root_is_nobody_elses() {
        assert_eq!(mounted(Path::new("/")), None);
    }

    #[test]
    fn what_is_no_root_is_told() {
        let why = parse("/nowhere").expect_err("no root");
        assert!(why.contains("/nowhere/proc"), "{why}");
        assert_eq!(parse("/"), Ok(PathBuf::from("/")));
    }
}
