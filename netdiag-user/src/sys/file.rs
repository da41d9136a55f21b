//! The one way in which netdiag reads files that somebody else may have made: at most so many bytes,
//! never waiting, never anything but a plain file.
//!
//! What stands under a path is asked before it is opened for reading (open(2), O_PATH), because to
//! open a device or a FIFO already does something: a FIFO waits for its other end, a tape rewinds.
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

/// Most bytes of one of the kernel's own small files: /proc/PID/stat, a sysctl, a counter.
pub const SMALL: usize = 64 << 10;
/// Most bytes of a configuration file, manifest or certificate.
pub const CONFIG: usize = 1 << 20;

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
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    plain(path)?.take(limit).read_to_end(&mut bytes)?;
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
    let folder = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root, folder, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = path.strip_prefix("/").unwrap_or(path);
    whole(&opened(openat2(&root, path, how)?)?, most)
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
    let again = format!("/proc/self/fd/{}", at.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(open(again.as_str(), flags, Mode::empty())?.into())
}

fn whole(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::other(format!("it is longer than {most} bytes"))),
        false => Ok(bytes),
    }
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
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
