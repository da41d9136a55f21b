//! The one way in which netdiag reads files that somebody else may have made: at most so many bytes,
//! never waiting, never anything but a plain file.
//!
//! What stands under a path is asked before it is opened for reading (open(2), O_PATH), because to
//! open a device or a FIFO already does something: a FIFO waits for its other end, a tape rewinds.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where they are called, each within its bounds"
)]
use std::{
    fs::{DirEntry, File},
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::{
        stat::Mode,
        statfs::{NSFS_MAGIC, fstatfs},
    },
};

/// Most bytes of one of the kernel's own small files: /proc/PID/stat, a sysctl, a counter.
pub const SMALL: usize = 64 << 10;
/// Most bytes of a configuration file, manifest or certificate.
pub const CONFIG: usize = 1 << 20;
/// Most processes of a node that are looked at, in the order of their numbers.
pub const PROCESSES: usize = 32_768;
/// Most of /proc's small files are no longer.
const PAGE: usize = 4096;

/// The whole file, or an error where it is longer than `most`.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    whole(&plain(path)?, most)
}

/// The same as text.
pub fn text(path: &Path, most: usize) -> io::Result<String> {
    utf8(read(path, most)?)
}

/// The first `most` bytes, and whether there are more.
pub fn start(path: &Path, most: usize) -> io::Result<(Vec<u8>, bool)> {
    beginning(plain(path)?, most)
}

fn beginning(file: File, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    let more = bytes.len() > most;
    bytes.truncate(most);
    Ok((bytes, more))
}

/// The whole file where only root can have written it: owned by root, and writable by nobody
/// else. Who may write a folder above it may still put another such file there.
pub fn of_root(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = plain(path)?;
    let meta = file.metadata()?;
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("it can be written by others than root"));
    }
    whole(&file, most)
}

/// A file as a process sees it whose root is `root`: links of its making lead nowhere outside.
pub fn within(root: &Path, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    whole(&inside(root, path)?, most)
}

/// The first `most` bytes of such a file, and whether there are more.
pub fn start_within(root: &Path, path: &Path, most: usize) -> io::Result<(Vec<u8>, bool)> {
    beginning(inside(root, path)?, most)
}

fn inside(root: &Path, path: &Path) -> io::Result<File> {
    let folder = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root, folder, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = path.strip_prefix("/").unwrap_or(path);
    opened(openat2(&root, path, how)?)
}

/// One of the kernel's own files under /proc or /sys, as text: nobody can put anything else in its
/// place, so it is opened at once, which is what files that are read every second need.
pub fn kernel(path: &Path, most: usize) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(PAGE.min(most.saturating_add(1)));
    take(&own(path)?, most, &mut bytes)?;
    utf8(bytes)
}

/// The same line by line, for those of many megabytes. Ends where `most` bytes are read.
pub fn lines(path: &Path, most: usize, mut each: impl FnMut(&str)) -> io::Result<()> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let mut reader = BufReader::with_capacity(16 * PAGE, own(path)?.take(most));
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        each(&line);
        line.clear();
    }
    Ok(())
}

fn own(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// The entries of a folder, and whether there are more than those.
pub struct Folder {
    pub entries: Vec<DirEntry>,
    pub more: bool,
}

/// The first `most` entries of a folder, in the order in which it gives them.
pub fn list(path: &Path, most: usize) -> io::Result<Folder> {
    let mut all = std::fs::read_dir(path)?;
    let entries = all.by_ref().take(most).collect::<Result<_, _>>()?;
    let more = all.next().is_some();
    Ok(Folder { entries, more })
}

/// The entries that a folder has within `most`; none where it cannot be listed.
pub fn entries(path: &Path, most: usize) -> Vec<DirEntry> {
    list(path, most).map_or_else(|_| Vec::new(), |folder| folder.entries)
}

/// A folder itself, open for reading.
pub fn folder(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// A namespace's file, open for setns(2). What else stands there is never opened: a FIFO would
/// wait, and a link may lead anywhere.
pub fn namespace(path: &Path) -> io::Result<File> {
    let at = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if fstatfs(&at)?.filesystem_type() != NSFS_MAGIC {
        return Err(io::Error::other("it is no namespace"));
    }
    reopened(&at)
}

/// A plain file, open for reading.
pub fn plain(path: &Path) -> io::Result<File> {
    opened(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// What `at` stands for, if that is a plain file (of /proc and /sys too).
fn opened(at: OwnedFd) -> io::Result<File> {
    let kind = nix::sys::stat::fstat(at.as_fd())?.st_mode & libc::S_IFMT;
    if kind != libc::S_IFREG {
        return Err(io::Error::other("it is no plain file"));
    }
    reopened(&at)
}

/// What was asked with O_PATH, now for reading.
fn reopened(at: &OwnedFd) -> io::Result<File> {
    let again = format!("/proc/self/fd/{}", at.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(open(again.as_str(), flags, Mode::empty())?.into())
}

pub(crate) fn whole(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    take(file, most, &mut bytes)?;
    Ok(bytes)
}

fn take(file: &File, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::other(format!("it is longer than {most} bytes"))),
        false => Ok(()),
    }
}

pub(crate) fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_plain_files_of_that_length_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "12345").expect("written");
        assert_eq!(read(&file, 5).expect("read"), b"12345");
        let longer = read(&file, 4).expect_err("longer").to_string();
        assert_eq!(longer, "it is longer than 4 bytes");
        assert_eq!(start(&file, 4).expect("read"), (b"1234".to_vec(), true));
        assert_eq!(start(&file, 5).expect("read"), (b"12345".to_vec(), false));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("made");
        for odd in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let why = read(odd, 5).expect_err("no file").to_string();
            assert_eq!(why, "it is no plain file", "{}", odd.display());
        }
        assert!(text(Path::new("/proc/self/stat"), SMALL).is_ok());
    }

    #[test]
    fn a_folder_is_listed_up_to_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let listed = |most| list(folder.path(), most).map(|f| (f.entries.len(), f.more));
        assert_eq!(listed(3).expect("listed"), (3, false));
        assert_eq!(listed(2).expect("listed"), (2, true));
        assert_eq!(entries(&folder.path().join("a"), 2).len(), 0);
    }

    #[test]
    fn only_a_namespace_is_opened_as_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("made");
        let link = folder.path().join("link");
        symlink("/dev/zero", &link).expect("linked");
        for odd in [&pipe, &link, folder.path()] {
            let why = namespace(odd).expect_err("no namespace").to_string();
            assert_eq!(why, "it is no namespace", "{}", odd.display());
        }
        assert!(namespace(Path::new("/proc/self/ns/net")).is_ok());
    }

    #[test]
    fn the_kernels_files_are_read_at_once() {
        let status = Path::new("/proc/self/status");
        let text = kernel(status, SMALL).expect("read");
        let mut seen = 0;
        lines(status, SMALL, |_| seen += 1).expect("read");
        assert_eq!(seen, text.lines().count());
        assert!(kernel(status, 10).is_err());
    }

    #[test]
    fn links_of_a_process_stay_within_its_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("etc")).expect("made");
        std::fs::write(folder.path().join("secret"), "secret").expect("written");
        std::fs::write(root.join("plain"), "plain").expect("written");
        symlink("../../secret", root.join("etc/out")).expect("linked");
        symlink("/plain", root.join("etc/in")).expect("linked");
        assert!(within(&root, Path::new("/etc/out"), 99).is_err());
        let inside = within(&root, Path::new("etc/in"), 99);
        assert_eq!(inside.expect("read"), b"plain");
    }

    #[test]
    fn what_others_may_write_is_not_roots() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let mode = |mode| {
            let to = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, to).expect("set");
            of_root(&file, 9).is_ok()
        };
        let root = nix::unistd::geteuid().is_root();
        assert_eq!(
            (mode(0o644), mode(0o664), mode(0o646)),
            (root, false, false)
        );
    }
}
