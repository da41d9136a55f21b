//! Where a program is: never by PATH, which is the caller's; and only where nobody but root can have
//! put it, by whatever links lead there.
use std::{
    fs::Metadata,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::way::{self, Stop};

/// Where files are as a program sees them.
const OWN: &str = "/";

/// An administrator's own come first, as in everybody's PATH; the last is NixOS'.
pub const FOLDERS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/run/current-system/sw/bin",
];
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const RUNS: u32 = 0o111;

/// The first that may be run, without any link in its path.
pub fn find(
    name: &'static str,
    folders: &[PathBuf],
    root: Option<&Path>,
) -> Result<Found, Failure> {
    match (below(Path::new(OWN), name, folders), root) {
        // A container has none of its own: the node's are those that fit the node's rules.
        (Err(Failure::NotInstalled(_)), Some(root)) => {
            let path = below(root, name, folders)?;
            let root = Some(root.to_owned());
            Ok(Found { root, path })
        }
        (found, _) => found.map(|path| Found { root: None, path }),
    }
}

/// A program, by its path below the root that it must be run in.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub root: Option<PathBuf>,
    pub path: PathBuf,
}

fn below(root: &Path, name: &'static str, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    let mut refused = None;
    for folder in folders {
        match trusted(root, &folder.join(name)) {
            Ok(path) => return Ok(path),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => refused = refused.or(Some(e.to_string())),
        }
    }
    Err(match refused {
        Some(why) => Failure::Untrusted(name, why),
        None => Failure::NotInstalled(name),
    })
}

/// Links lead where they lead for whoever has that root.
fn trusted(root: &Path, path: &Path) -> io::Result<PathBuf> {
    // The root itself may be named by a link, as /proc/1/root is.
    folder(root, &root.metadata()?)?;
    way::walk(root, path, |stop, real, meta| {
        if meta.uid() != 0 {
            return Err(refuse(real, "does not belong to root"));
        }
        match stop {
            Stop::Link => Ok(()),
            Stop::Folder => folder(real, meta),
            Stop::End => file(real, meta),
        }
    })
}

/// Others may put something into a sticky folder, as /nix/store is one, but never in the place of
/// what is root's.
fn folder(path: &Path, meta: &Metadata) -> io::Result<()> {
    if !meta.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let open = meta.mode() & OTHERS_WRITE != 0 && meta.mode() & STICKY == 0;
    match meta.uid() == 0 && !open {
        true => Ok(()),
        false => Err(refuse(path, "can be written by others than root")),
    }
}

fn file(path: &Path, meta: &Metadata) -> io::Result<()> {
    if !meta.is_file() || meta.mode() & RUNS == 0 {
        return Err(refuse(path, "is no program"));
    }
    match meta.mode() & OTHERS_WRITE {
        0 => Ok(()),
        _ => Err(refuse(path, "can be written by others than root")),
    }
}

fn refuse(path: &Path, why: &str) -> io::Error {
    io::Error::new(
        ErrorKind::PermissionDenied,
        format!("{} {why}", path.display()),
    )
}
