//! A file that takes another one's place when it is whole, and not before: who gives up half way
//! leaves what was there.
use std::{
    ffi::OsString,
    fs::{File, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, renameat},
    sys::stat::{FileStat, fstat},
    unistd::{UnlinkatFlags, linkat, unlinkat},
};

use super::{already_open, folder::Place, found, judge, new_file};

/// The one that is being written: whoever ends the process takes it away.
static PENDING: Mutex<Option<Place>> = Mutex::new(None);
/// A folder of ours that is nobody's any more when the process ends.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Whoever ends the process takes that folder away, with what is in it.
pub fn temporary(folder: &Path) {
    if let Ok(mut kept) = FOLDER.lock() {
        *kept = Some(folder.to_owned());
    }
}

pub struct Replacement {
    at: Place,
    file: File,
    /// What it takes the place of.
    old: Option<FileStat>,
}

impl Replacement {
    /// Makes NAME.new beside the file of that name, for its owner alone.
    pub fn of(path: &Path) -> io::Result<Self> {
        let no_file =
            || io::Error::other("it is no plain file, and is read again when it is written");
        if already_open(path).is_some() {
            return Err(no_file());
        }
        let at = Place::of(path)?;
        let old = match found(&at) {
            Ok((_, old)) => Some(old),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if let Some(old) = &old {
            judge(old, at.shared)?;
            if old.st_mode & libc::S_IFMT != libc::S_IFREG {
                return Err(no_file());
            }
        }
        let mut new = at.name.clone();
        new.push(".new");
        let beside = Place {
            folder: at.folder.try_clone()?,
            name: new,
            shared: at.shared,
        };
        let file = new_file(&beside).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => io::Error::other(format!(
                "{} is there already, from a run that was ended: remove it",
                Path::new(&beside.name).display()
            )),
            _ => e,
        })?;
        if let Ok(mut pending) = PENDING.lock() {
            *pending = Some(beside);
        }
        Ok(Self { at, file, old })
    }

    /// To write to.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// By which what was written is read, wherever its name leads by then.
    pub fn readable(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Puts it where it belongs.
    pub fn put(self) -> io::Result<()> {
        if let Some(old) = &self.old {
            self.take_after(old)?;
        }
        self.file.sync_all()?;
        let Some(new) = pending() else {
            return Err(io::Error::other("it was taken away"));
        };
        let folder = self.at.folder.as_fd();
        let (from, to) = (new.name.as_os_str(), self.at.name.as_os_str());
        let put = match self.old {
            Some(_) => renameat(folder, from, folder, to),
            None => first(&new, &self.at.name),
        };
        if put.is_err() {
            remove(&new);
        }
        Ok(put?)
    }

    /// Who owned it, and who may read it, stays as its owner said.
    fn take_after(&self, old: &FileStat) -> io::Result<()> {
        let mode = |bits| self.file.set_permissions(Permissions::from_mode(bits));
        mode(old.st_mode & 0o666)?;
        let owner = (Some(old.st_uid), Some(old.st_gid));
        let is_same = fstat(&self.file)?.st_uid == old.st_uid;
        if !is_same && fchown(&self.file, owner.0, owner.1).is_err() {
            // Without the right to, it is ours, and nobody else's.
            mode(0o600)?;
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        give_up();
    }
}

/// Takes away what is not whole, and what nobody looks at any more: for whoever ends the process.
pub fn abandon() {
    give_up();
    let folder = FOLDER.lock().ok().and_then(|mut folder| folder.take());
    if let Some(folder) = folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn give_up() {
    if let Some(new) = pending() {
        remove(&new);
    }
}

fn pending() -> Option<Place> {
    PENDING.lock().ok()?.take()
}

fn remove(new: &Place) {
    let _ = unlinkat(
        &new.folder,
        new.name.as_os_str(),
        UnlinkatFlags::NoRemoveDir,
    );
}

/// Where there was none: one that came meanwhile stays.
fn first(new: &Place, name: &OsString) -> nix::Result<()> {
    let (folder, from, to) = (new.folder.as_fd(), new.name.as_os_str(), name.as_os_str());
    match linkat(folder, from, folder, to, AtFlags::empty()) {
        // A file system without links.
        Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) if !new.shared => {
            renameat(folder, from, folder, to)
        }
        linked => linked.map(|()| remove(new)),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::symlink, sync::MutexGuard};

    use super::*;

    /// There is one of them in a process.
    static ONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn why(path: &Path) -> String {
        Replacement::of(path).err().expect("refused").to_string()
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = folder
            .read_dir()
            .expect("listed")
            .map(|it| it.expect("one").file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_of_ours_goes_with_the_process() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("own");
        std::fs::create_dir(&own).expect("made");
        std::fs::write(own.join("a.ndr"), "of a node").expect("written");
        temporary(&own);
        drop(Replacement::of(&folder.path().join("out")).expect("made"));
        assert_eq!(names(folder.path()), ["own"], "the process goes on");
        abandon();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_was_there_stays_until_it_is_whole() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        std::fs::write(&path, "old").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("set");
        let half = Replacement::of(&path).expect("made");
        half.file().expect("it").write_all(b"ha").expect("written");
        assert!(why(&path).contains("out.new is there already"));
        drop(half);
        assert_eq!(names(folder.path()), ["out"]);
        assert_eq!(std::fs::read(&path).expect("read"), b"old");
        let whole = Replacement::of(&path).expect("made");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("out.new")), 0o600);
        whole
            .file()
            .expect("it")
            .write_all(b"new")
            .expect("written");
        assert_eq!(std::fs::read(whole.readable()).expect("read"), b"new");
        whole.put().expect("put");
        assert_eq!(names(folder.path()), ["out"]);
        assert_eq!(std::fs::read(&path).expect("read"), b"new");
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn one_that_came_meanwhile_stays() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let new = Replacement::of(&path).expect("made");
        std::fs::write(&path, "theirs").expect("written");
        assert!(new.put().is_err());
        assert_eq!(names(folder.path()), ["out"]);
        assert_eq!(std::fs::read(&path).expect("read"), b"theirs");
        std::fs::remove_file(&path).expect("removed");
        Replacement::of(&path)
            .and_then(Replacement::put)
            .expect("put");
        assert_eq!(names(folder.path()), ["out"]);
        let _new = Replacement::of(&path).expect("made");
        abandon();
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn only_plain_files_are_replaced() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
        for odd in [&pipe, Path::new("/dev/stdout"), Path::new("/dev/fd/1")] {
            assert!(why(odd).contains("no plain file"), "{}", odd.display());
        }
        assert!(why(Path::new("/dev/null")).contains("no plain file"));
        symlink("pipe", folder.path().join("link")).expect("linked");
        assert!(why(&folder.path().join("link")).contains("symbolic link"));
        assert!(Replacement::of(folder.path()).is_err());
        assert_eq!(names(folder.path()), ["link", "pipe"]);
    }
}
