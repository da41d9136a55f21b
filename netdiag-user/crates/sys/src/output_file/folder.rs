//! The folder that an output's name is in, found without going through a link that somebody else can
//! have made, and whether others can put something into it.
//!
//! Each folder on the way is opened by its own name in the one before (openat(2), O_NOFOLLOW): what
//! is made in the last one is made there, whatever the way is turned into meanwhile.
use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use nix::{
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{FileStat, Mode, fstat, fstatat},
};

use super::is_trusted;

/// Links on one way (path_resolution(7)).
const MOST_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// A name in a folder.
pub struct Place {
    pub folder: OwnedFd,
    pub name: OsString,
    /// Others can put something into the folder, or something else into its place.
    pub shared: bool,
}

impl Place {
    pub fn of(path: &Path) -> io::Result<Self> {
        let is_folder = || io::Error::from_raw_os_error(libc::EISDIR);
        let name = path.file_name().ok_or_else(is_folder)?;
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(is_folder());
        }
        let mut way = Way::begin(path.is_absolute())?;
        way.go(path.parent().unwrap_or(Path::new("")))?;
        Ok(Self {
            shared: way.is_shared(),
            folder: way.at,
            name: name.to_owned(),
        })
    }
}

/// Where the walk is.
struct Way {
    at: OwnedFd,
    found: FileStat,
    /// No other user can turn the way to it.
    kept: bool,
    links: usize,
}

impl Way {
    fn begin(at_root: bool) -> io::Result<Self> {
        let at = match at_root {
            true => folder(nix::fcntl::AT_FDCWD, OsStr::new("/"))?,
            false => folder(nix::fcntl::AT_FDCWD, OsStr::new("."))?,
        };
        let found = fstat(&at)?;
        Ok(Self {
            at,
            found,
            kept: at_root || is_kept(&std::env::current_dir().unwrap_or_default()),
            links: 0,
        })
    }

    fn go(&mut self, to: &Path) -> io::Result<()> {
        for step in to.components() {
            match step {
                Component::RootDir => {
                    let links = self.links;
                    *self = Self::begin(true)?;
                    self.links = links;
                }
                Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => self.enter(OsStr::new(".."))?,
                Component::Normal(name) => self.step(name)?,
            }
        }
        Ok(())
    }

    fn step(&mut self, name: &OsStr) -> io::Result<()> {
        let found = fstatat(&self.at, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if found.st_mode & libc::S_IFMT != libc::S_IFLNK {
            return self.enter(name);
        }
        if !self.may_lead(&found) {
            let why = format!(
                "{} on the way to it is a link in a folder that others can write to: name the folder itself",
                Path::new(name).display()
            );
            return Err(io::Error::other(why));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let to = PathBuf::from(readlinkat(&self.at, name)?);
        self.go(&to)
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let next = folder(&self.at, name)?;
        self.kept = self.keeps();
        self.found = fstat(&next)?;
        self.at = next;
        Ok(())
    }

    /// A link that nobody else can have put there. In a folder like /tmp each has his own
    /// (Documentation/admin-guide/sysctl/fs.rst, protected_symlinks).
    fn may_lead(&self, link: &FileStat) -> bool {
        let sticky = self.found.st_mode & STICKY != 0;
        self.keeps() && (!sticky || !is_writable(&self.found) || is_trusted(link.st_uid))
    }

    /// What is in it is what its owner, or in a folder like /tmp the thing's own, has put there.
    fn keeps(&self) -> bool {
        self.kept && keeps(&self.found)
    }

    fn is_shared(&self) -> bool {
        !self.keeps() || is_writable(&self.found)
    }
}

/// Whether the ways through these folders are its own: what cannot be looked at was passed by
/// whoever went there before us.
fn is_kept(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1);
    above
        .all(|it| fstatat(nix::fcntl::AT_FDCWD, it, AtFlags::empty()).map_or(true, |it| keeps(&it)))
}

fn keeps(folder: &FileStat) -> bool {
    let sticky = folder.st_mode & STICKY != 0;
    is_trusted(folder.st_uid) && (sticky || !is_writable(folder))
}

/// Others than its owner can put something into it. A group that is the owner's alone (its number
/// is his, as useradd(8) makes them), or root's, is nobody else.
fn is_writable(folder: &FileStat) -> bool {
    let group = folder.st_mode & 0o020 != 0;
    let own = folder.st_gid == 0 || folder.st_gid == folder.st_uid;
    folder.st_mode & 0o002 != 0 || group && (!own || folder.st_mode & STICKY != 0)
}

fn folder(at: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{Permissions, create_dir, set_permissions},
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    use super::*;

    /// nobody
    const OTHER: u32 = 65534;

    fn is_shared(path: &Path) -> bool {
        Place::of(&path.join("out")).expect("found").shared
    }

    fn made(path: PathBuf, mode: u32) -> PathBuf {
        create_dir(&path).expect("made");
        set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn a_folder_is_private_where_nobody_else_can_write() {
        let home = tempfile::tempdir().expect("a folder");
        assert!(!is_shared(home.path()));
        assert!(!is_shared(Path::new("/dev")));
        assert!(is_shared(Path::new("/tmp")));
        for (mode, shared) in [
            (0o755, false),
            (0o777, true),
            (0o1777, true),
            (0o1770, true),
        ] {
            let folder = made(home.path().join(format!("{mode:o}")), mode);
            assert_eq!(is_shared(&folder), shared, "{mode:o}");
        }
        // What is below a folder like /tmp is one's own, below one without the bit it is not.
        assert!(!is_shared(&made(home.path().join("1777/own"), 0o755)));
        assert!(is_shared(&made(home.path().join("777/own"), 0o755)));
        for none in ["/", "..", "/tmp/", "/nowhere/at/all", "/dev/null/x"] {
            assert!(Place::of(Path::new(none)).is_err(), "{none}");
        }
    }

    #[test]
    fn another_users_folder_is_his() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().expect("a folder");
        let theirs = made(home.path().join("theirs"), 0o755);
        let below = made(theirs.join("below"), 0o755);
        let ours = made(home.path().join("ours"), 0o755);
        symlink(&ours, theirs.join("link")).expect("linked");
        symlink(&ours, home.path().join("link")).expect("linked");
        chown(&theirs, Some(OTHER), Some(OTHER)).expect("given away");
        assert!(is_shared(&theirs));
        assert!(is_shared(&below), "root's own, and the way to it is not");
        assert!(!is_shared(&home.path().join("link")));
        let why = |path: &Path| Place::of(path).err().expect("refused").to_string();
        assert!(why(&theirs.join("link/out")).contains("link on the way"));
        assert!(why(&theirs.join("below/../link/out")).contains("on the way"));
        // In a folder like /tmp by whose it is.
        let all = made(home.path().join("all"), 0o1777);
        symlink(&ours, all.join("ours")).expect("linked");
        symlink(&ours, all.join("theirs")).expect("linked");
        std::os::unix::fs::lchown(all.join("theirs"), Some(OTHER), None).expect("given away");
        assert!(!is_shared(&all.join("ours")));
        assert!(why(&all.join("theirs/out")).contains("on the way"));
    }

    #[test]
    fn links_that_go_round_end() {
        let home = tempfile::tempdir().expect("a folder");
        symlink("round", home.path().join("round")).expect("linked");
        let why = Place::of(&home.path().join("round/out")).err();
        assert_eq!(why.and_then(|it| it.raw_os_error()), Some(libc::ELOOP));
    }
}
