//! The one way in which netdiag opens a file that it was told to write: for its owner's eyes alone,
//! never through a link, never what somebody else has put there.
//!
//! A new file is made with mode 0600. What is there already is asked before it is opened (open(2),
//! O_PATH): a plain file must be ours and is emptied, with the mode that its owner gave it; a FIFO
//! must be ours and is written to, devices like /dev/null are opened as they are. In a folder that
//! others can write to, as /tmp, or that is somebody else's, only what is our own is written to at
//! all (as fs.protected_regular has it, Documentation/admin-guide/sysctl/fs.rst), and links of theirs
//! lead nowhere. /dev/stdout, /dev/stderr and /dev/fd/N are what they stand for.
#![expect(
    clippy::disallowed_methods,
    reason = "it opens what it was told to write, and looks before"
)]
mod folder;
mod replacement;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::{FileStat, Mode, fstat},
};

use self::folder::Place;
pub use self::replacement::{Replacement, abandon, temporary};

/// Files that were opened before the right to open them was given away.
static OPENED: Mutex<Option<HashMap<PathBuf, io::Result<File>>>> = Mutex::new(None);

/// Opens these now; who asks for one later gets it as it was opened.
pub fn open_early<'a>(paths: impl IntoIterator<Item = &'a Path>) {
    let opened = paths.into_iter().map(|path| (path.to_owned(), make(path)));
    let opened = opened.collect();
    if let Ok(mut all) = OPENED.lock() {
        *all = Some(opened);
    }
}

/// An empty file of that name to write to.
pub fn create(path: &Path) -> io::Result<File> {
    let early = OPENED.lock().ok();
    let early = early.and_then(|mut all| all.as_mut()?.remove(path));
    early.unwrap_or_else(|| make(path))
}

fn make(path: &Path) -> io::Result<File> {
    if let Some(file) = already_open(path) {
        return file;
    }
    let at = Place::of(path)?;
    match new_file(&at) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => existing(&at),
        new => new,
    }
}

fn new_file(at: &Place) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let own = Mode::S_IRUSR | Mode::S_IWUSR;
    let new = openat(&at.folder, at.name.as_os_str(), flags, own)?;
    Ok(new.into())
}

/// /dev/stdout and /dev/stderr go on where they are; a descriptor of a shell's, as of `>(gzip)`, is
/// opened by the kernel's own link to it.
fn already_open(path: &Path) -> Option<io::Result<File>> {
    let own = |fd: io::Result<OwnedFd>| Some(fd.map(File::from));
    let number = match path.to_str()? {
        "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        path => path
            .strip_prefix("/dev/fd/")
            .or_else(|| path.strip_prefix("/proc/self/fd/"))?,
    };
    match number {
        "1" => own(io::stdout().as_fd().try_clone_to_owned()),
        "2" => own(io::stderr().as_fd().try_clone_to_owned()),
        _ => {
            let fd: u32 = number.parse().ok()?;
            let link = format!("/proc/self/fd/{fd}");
            Some(OpenOptions::new().write(true).open(link))
        }
    }
}

/// What is there, not opened yet.
fn found(at: &Place) -> io::Result<(OwnedFd, FileStat)> {
    let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let it = openat(&at.folder, at.name.as_os_str(), look, Mode::empty())?;
    let found = fstat(&it)?;
    Ok((it, found))
}

fn existing(at: &Place) -> io::Result<File> {
    let (it, found) = found(at)?;
    judge(&found, at.shared)?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFREG => emptied(&it),
        _ => again(&it),
    }
}

/// Whether what is there may be written to.
fn judge(found: &FileStat, shared: bool) -> io::Result<()> {
    let owner = Owner::of(found.st_uid);
    let refuse = |why: &str| Err(io::Error::other(why.to_owned()));
    match found.st_mode & libc::S_IFMT {
        libc::S_IFREG if shared && found.st_nlink != 1 => {
            refuse("it is there already, and has another name besides")
        }
        libc::S_IFREG | libc::S_IFIFO if shared && owner != Owner::Us => {
            refuse("it is somebody else's, in a folder that others can write to: name another file")
        }
        libc::S_IFREG | libc::S_IFIFO if owner == Owner::Others => {
            refuse("it is somebody else's: remove it, or name another file")
        }
        libc::S_IFREG | libc::S_IFIFO => Ok(()),
        libc::S_IFCHR if !shared => Ok(()),
        libc::S_IFLNK => refuse("it is a symbolic link: name the file itself"),
        libc::S_IFDIR => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        _ => refuse("it is no plain file"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    /// Who called sudo(8), which says so: the pipe that a person's wireshark reads from.
    Caller,
    Others,
}

impl Owner {
    fn of(uid: u32) -> Self {
        let caller = std::env::var("SUDO_UID").ok();
        let caller = caller.and_then(|uid| uid.parse::<u32>().ok());
        match uid {
            _ if uid == nix::unistd::geteuid().as_raw() => Self::Us,
            _ if nix::unistd::geteuid().is_root() && caller == Some(uid) => Self::Caller,
            _ => Self::Others,
        }
    }
}

/// Root, who calls, or who called sudo(8).
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || Owner::of(uid) != Owner::Others
}

fn emptied(at: &OwnedFd) -> io::Result<File> {
    let file = again(at)?;
    file.set_len(0)?;
    Ok(file)
}

/// The same file, open for writing. A FIFO waits for its reader.
fn again(at: &OwnedFd) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", at.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        io::Write,
        os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").mode() & 0o7777
    }

    fn why(path: &Path) -> String {
        create(path).expect_err("refused").to_string()
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new");
        create(&path)
            .and_then(|mut file| file.write_all(b"long"))
            .expect("written");
        assert_eq!(mode(&path), 0o600);
        // Who wants others to read it says so before.
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        create(&path)
            .and_then(|mut file| file.write_all(b"x"))
            .expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!((text.as_str(), mode(&path)), ("x", 0o644));
    }

    #[test]
    fn links_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "kept").expect("written");
        let link = folder.path().join("link");
        symlink(&secret, &link).expect("linked");
        assert!(why(&link).contains("symbolic link"));
        symlink(folder.path().join("none"), folder.path().join("dangling")).expect("linked");
        assert!(why(&folder.path().join("dangling")).contains("symbolic link"));
        assert!(!folder.path().join("none").exists());
        assert!(create(folder.path()).is_err());
        // Another name of a file, in a folder for all.
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).expect("made");
        std::fs::set_permissions(&shared, Permissions::from_mode(0o1777)).expect("set");
        std::fs::hard_link(&secret, shared.join("same")).expect("linked");
        assert!(why(&shared.join("same")).contains("another name"));
        assert_eq!(std::fs::read_to_string(&secret).expect("read"), "kept");
        create(&shared.join("new")).expect("ours");
        create(&shared.join("new")).expect("ours still");
    }

    #[test]
    fn what_is_somebody_elses_stays_so() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let theirs = folder.path().join("theirs");
        std::fs::write(&theirs, "kept").expect("written");
        chown(&theirs, Some(12345), None).expect("given away");
        assert!(why(&theirs).contains("somebody else's"));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("made");
        chown(&pipe, Some(12345), None).expect("given away");
        // Not even waited for.
        assert!(why(&pipe).contains("somebody else's"));
        assert_eq!(std::fs::read_to_string(&theirs).expect("read"), "kept");
    }

    #[test]
    fn nobody_elses_link_leads_the_way() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().expect("a folder");
        let [theirs, ours] = ["theirs", "ours"].map(|name| home.path().join(name));
        for folder in [&theirs, &ours] {
            std::fs::create_dir(folder).expect("made");
        }
        symlink(&ours, theirs.join("link")).expect("linked");
        std::fs::write(ours.join("secret"), "kept").expect("written");
        std::fs::hard_link(ours.join("secret"), theirs.join("same")).expect("linked");
        chown(&theirs, Some(65534), Some(65534)).expect("given away");
        assert!(why(&theirs.join("link/new")).contains("on the way"));
        assert!(!ours.join("new").exists());
        assert!(why(&theirs.join("same")).contains("another name"));
        let secret = std::fs::read_to_string(ours.join("secret"));
        assert_eq!(secret.expect("read"), "kept");
        create(&theirs.join("new")).expect("a new one harms nobody");
    }

    #[test]
    fn pipes_and_devices_are_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("made");
        let reader = pipe.clone();
        let reader = std::thread::spawn(move || std::fs::read_to_string(reader));
        let mut file = create(&pipe).expect("opened");
        file.write_all(b"packets").expect("written");
        drop(file);
        let read = reader.join().expect("no panic").expect("read");
        assert_eq!(read, "packets");
        for device in ["/dev/null", "/dev/stderr", "/proc/self/fd/2"] {
            let written = create(Path::new(device)).and_then(|mut f| f.write_all(b""));
            written.unwrap_or_else(|e| panic!("{device}: {e}"));
        }
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        let named = format!("/dev/fd/{}", write.as_raw_fd());
        let mut file = create(Path::new(&named)).expect("opened");
        file.write_all(b"x").expect("written");
        drop((file, write));
        let mut text = String::new();
        io::Read::read_to_string(&mut File::from(read), &mut text).expect("read");
        assert_eq!(text, "x");
    }

    #[test]
    fn what_was_opened_early_is_used_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("early");
        open_early([path.as_path()]);
        std::fs::remove_file(&path).expect("made early");
        create(&path).expect("the one that was opened");
        assert!(!path.exists());
        create(&path).expect("another one");
        assert!(path.exists());
    }
}
