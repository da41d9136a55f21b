//! What a running netdiag has put on this node's links, written down before it is put there, so
//! that the next start or `netdiag cleanup` can take away exactly that after a kill.
//!
//! Root deletes what a ledger says: only root may have written one. Whoever wrote it holds it locked
//! (flock(2)) as long as he lives: the kernel knows that, whatever pid namespace asks.
use std::{
    collections::HashSet,
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use nix::unistd::AccessFlags;
use serde::{Deserialize, Serialize};

use crate::sys::file;

/// Folder of the ledgers, one file per process.
pub const FOLDER: &str = "/run/netdiag/trace";

/// Bytes of a ledger: some hundred thousand links.
const LARGEST: usize = 16 << 20;
/// Links of one.
const MOST_ENTRIES: usize = 1 << 16;
/// Ledgers that are looked at.
const MOST: usize = 1024;
/// IFNAMSIZ.
const LONGEST_NAME: usize = 16;

/// One link that filters were attached to by clsact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub ifindex: u32,
    pub interface: String,
    /// We created the clsact qdisc: it goes too, when nobody else has used it.
    pub qdisc_ours: bool,
    /// Somebody else was at it since.
    #[serde(default)]
    pub others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub pid: u32,
    /// Start time of the process in clock ticks since boot: pids are reused.
    pub started: u64,
    /// Inode of the namespace that the links are in.
    pub netns: u32,
    /// Handle of our filters.
    pub handle: u32,
    /// Their programs, by the kernel's numbers.
    #[serde(default)]
    pub programs: Vec<u32>,
    pub entries: Vec<Entry>,
    /// It is locked while its process lives; earlier ones were not.
    #[serde(default)]
    pub locked: bool,
    #[serde(skip)]
    pub path: PathBuf,
    #[serde(skip)]
    held: Held,
}

/// The file as it was written last, which holds the lock.
#[derive(Clone, Debug, Default)]
struct Held(#[expect(dead_code, reason = "the lock goes with it")] Option<Arc<File>>);

/// Two ledgers that say the same are the same.
impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

impl Ledger {
    /// A ledger for this process.
    pub fn open(netns: u32, handle: u32, programs: Vec<u32>) -> Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid).context("reading this process's start time")?;
        // Two of one number may live, in pid namespaces of their own.
        let pids = pid_namespace().context("reading this process's pid namespace")?;
        let path = Path::new(FOLDER).join(format!("{pid}-{pids}-{netns}.json"));
        Ok(Self {
            locked: true,
            held: Held::default(),
            pid,
            started,
            netns,
            handle,
            programs,
            entries: Vec::new(),
            path,
        })
    }

    /// Writes the ledger as a whole: a reader sees the old one or the new one.
    pub fn save(&mut self) -> Result<()> {
        let folder = self.path.parent().context("a ledger without a folder")?;
        prepare(folder)?;
        let text = serde_json::to_vec(self).context("encoding the ledger")?;
        let new = self.path.with_extension("new");
        let named = || format!("writing {}", new.display());
        let file = write(&new, &text).with_context(named)?;
        // Locked before it has its name: nobody meets it unlocked.
        file.try_lock().with_context(named)?;
        std::fs::rename(&new, &self.path)
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.held = Held(Some(Arc::new(file)));
        Ok(())
    }

    pub fn remove(&self) {
        if let Err(e) = std::fs::remove_file(&self.path)
            && e.kind() != ErrorKind::NotFound
        {
            log::warn!("removing {}: {e}", self.path.display());
        }
    }

    /// Links of this namespace whose qdisc another running netdiag created.
    pub fn qdiscs_of_others(&self) -> HashSet<(u32, String)> {
        let here = |l: &Self| l.netns == self.netns && l.path != self.path && l.alive();
        let (all, _) = all(Path::new(FOLDER));
        all.into_iter()
            .filter(here)
            .flat_map(|l| l.entries)
            .filter(|e| e.qdisc_ours)
            .map(|e| (e.ifindex, e.interface))
            .collect()
    }

    /// Whether the process that wrote it lives: it has the lock; of an earlier one, whether it is still
    /// the one with its pid. In doubt it does.
    pub fn alive(&self) -> bool {
        match self.locked {
            true => is_locked(&self.path).unwrap_or(true),
            false => start_time(self.pid) == Some(self.started),
        }
    }
}

/// Whether somebody holds the file of this name; nobody holds one that is gone.
fn is_locked(path: &Path) -> std::io::Result<bool> {
    let file = match file::plain(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => return Ok(true),
        Err(TryLockError::Error(e)) => return Err(e),
        Ok(()) => {}
    }
    // Between the two its process may have put the next one in its place.
    let (opened, named) = (file.metadata()?, std::fs::symlink_metadata(path));
    Ok(match named {
        Ok(named) => (named.dev(), named.ino()) != (opened.dev(), opened.ino()),
        Err(_) => false,
    })
}

/// Inode of this process's.
fn pid_namespace() -> Option<u64> {
    let meta = std::fs::metadata("/proc/self/ns/pid").ok()?;
    Some(meta.ino())
}

/// Ledgers of processes that are gone, and a sentence for each file that is none.
pub fn orphans() -> (Vec<Ledger>, Vec<String>) {
    let (all, broken) = all(Path::new(FOLDER));
    (all.into_iter().filter(|l| !l.alive()).collect(), broken)
}

/// Why what killed ones left cannot be known: a person may not look.
pub fn hidden() -> Option<String> {
    let there = Path::new(FOLDER).exists();
    let read = AccessFlags::R_OK | AccessFlags::X_OK;
    let refused = there && nix::unistd::access(FOLDER, read).is_err();
    refused
        .then(|| format!("{FOLDER} may not be read, where it says what was left: run it as root"))
}

/// Every ledger. A file that is none is left alone.
fn all(folder: &Path) -> (Vec<Ledger>, Vec<String>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    match trusted(folder) {
        Ok(true) => {}
        Ok(false) => return (found, broken),
        Err(e) => {
            broken.push(format!("{} is not used: {e:#}", folder.display()));
            return (found, broken);
        }
    }
    // Beside each ledger there may be one that is being written.
    let entries = file::entries(folder, MOST * 4);
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut paths = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    for path in paths.by_ref().take(MOST) {
        match read(&path) {
            Ok(Some(ledger)) => found.push(ledger),
            Ok(None) => {}
            Err(e) => {
                let name = path.display();
                broken.push(format!("{name} is no ledger of netdiag's: {e:#}"));
            }
        }
    }
    if paths.next().is_some() {
        let name = folder.display();
        broken.push(format!("{name} holds more than {MOST} ledgers"));
    }
    (found, broken)
}

/// Nothing where it is gone by now.
fn read(path: &Path) -> Result<Option<Ledger>> {
    let linked = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?.is_symlink(),
    };
    if linked {
        bail!("it is a link");
    }
    let bytes = match file::of_root(path, LARGEST) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let ledger: Ledger = serde_json::from_slice(&bytes)?;
    if ledger.entries.len() > MOST_ENTRIES {
        bail!("it has more than {MOST_ENTRIES} links");
    }
    let long = |e: &Entry| e.interface.len() >= LONGEST_NAME;
    if ledger.entries.iter().any(long) {
        bail!("no interface has so long a name");
    }
    let path = path.to_owned();
    Ok(Some(Ledger { path, ..ledger }))
}

/// Makes the folder where it is not there, for root's eyes alone.
fn prepare(folder: &Path) -> Result<()> {
    let above = folder.parent().context("a folder of the root's")?;
    for (folder, mode) in [(above, 0o755), (folder, 0o700)] {
        match DirBuilder::new().mode(mode).create(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("creating {}", folder.display()));
            }
            _ => {}
        }
    }
    if !trusted(folder)? {
        bail!("{} went away", folder.display());
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
        .with_context(|| format!("closing {} to others", folder.display()))
}

/// Whether the folder is there; an error where others than root can change what is in it.
fn trusted(folder: &Path) -> Result<bool> {
    let above = folder.parent().context("a folder of the root's")?;
    let own = nix::unistd::geteuid().as_raw();
    for folder in [above, folder] {
        let meta = match std::fs::symlink_metadata(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            meta => meta.with_context(|| format!("looking at {}", folder.display()))?,
        };
        if !meta.is_dir() {
            bail!("{} is no folder", folder.display());
        }
        if ![0, own].contains(&meta.uid()) || meta.mode() & 0o022 != 0 {
            bail!("others than root can change {}", folder.display());
        }
    }
    Ok(true)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it makes a new file, in a folder that is root's"
)]
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let open = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW).open(path)
    };
    let mut file = match open() {
        // A process of our number was killed while it wrote.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(bytes)?;
    Ok(file)
}

/// Field 22 of /proc/PID/stat, nothing for a process that has ended. The name before it may hold
/// spaces and parentheses.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let bytes = file::read(&stat, file::SMALL).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    // A zombie whose parent does not reap it has ended all the same.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ledger(folder: &Path, name: &str) -> Ledger {
        let mut ledger = Ledger::open(7, 8, vec![9]).expect("this process");
        ledger.path = folder.join(name);
        ledger
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o7777
    }

    #[test]
    fn nobody_else_reads_it() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("trace");
        let mut ledger = ledger(&folder, "1-7.json");
        std::fs::create_dir(&folder).expect("made by an older one");
        // What somebody put where it is to be written is replaced, never written to.
        symlink("/dev/null", folder.join("1-7.new")).expect("linked");
        ledger.save().expect("saved");
        assert_eq!((mode(&folder), mode(&ledger.path)), (0o700, 0o600));
        assert!(ledger.path.symlink_metadata().expect("there").is_file());
        ledger.save().expect("saved again");
        if nix::unistd::geteuid().is_root() {
            assert_eq!(all(&folder), (vec![ledger], Vec::new()));
        }
    }

    #[test]
    fn a_broken_one_takes_nothing_from_the_others() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("trace");
        let mut good = ledger(&folder, "1-7.json");
        good.save().expect("saved");
        std::fs::write(folder.join("2-7.json"), "{\"pid\": 1").expect("written");
        std::fs::write(folder.join("3-7.new"), "x").expect("written");
        symlink(&good.path, folder.join("4-7.json")).expect("linked");
        std::fs::create_dir(folder.join("5-7.json")).expect("made");
        let mut wide = ledger(&folder, "6-7.json");
        wide.entries.push(Entry {
            ifindex: 1,
            interface: "x".repeat(16),
            qdisc_ours: true,
            others: false,
        });
        wide.save().expect("saved");
        let open = Permissions::from_mode(0o666);
        let mut theirs = ledger(&folder, "7-7.json");
        theirs.save().expect("saved");
        std::fs::set_permissions(&theirs.path, open).expect("set");
        let (found, broken) = all(&folder);
        let root = nix::unistd::geteuid().is_root();
        assert_eq!(found, if root { vec![good] } else { vec![] });
        assert_eq!(broken.len(), if root { 5 } else { 6 }, "{broken:#?}");
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("trace");
        let mut ledger = ledger(&folder, "1-7.json");
        ledger.save().expect("saved");
        let wide = Permissions::from_mode(0o777);
        std::fs::set_permissions(&folder, wide.clone()).expect("set");
        let (found, broken) = all(&folder);
        assert_eq!((found, broken.len()), (Vec::new(), 1));
        assert!(ledger.save().is_err());
        std::fs::remove_dir_all(&folder).expect("removed");
        symlink("/root", &folder).expect("linked");
        assert!(ledger.save().is_err() && !all(&folder).1.is_empty());
        std::fs::remove_file(&folder).expect("removed");
        std::fs::set_permissions(above.path(), wide).expect("set");
        assert!(ledger.save().is_err());
        assert_eq!(all(&above.path().join("none/trace")), (vec![], vec![]));
    }

    #[test]
    fn whoever_holds_it_lives_in_whatever_namespace() {
        let above = tempfile::tempdir().expect("a folder");
        let mut mine = ledger(&above.path().join("trace"), "1-7.json");
        assert!(!mine.alive(), "nothing is written");
        mine.save().expect("saved");
        let text = file::read(&mine.path, LARGEST).expect("read");
        let mut read: Ledger = serde_json::from_slice(&text).expect("a ledger");
        read.path.clone_from(&mine.path);
        // As from a pid namespace where that number is nobody's.
        (read.pid, read.started) = (u32::MAX, 0);
        assert!(read.alive());
        mine.save().expect("saved again");
        assert!(read.alive(), "the next one is locked, too");
        drop(mine);
        assert!(!read.alive());
        let earlier = Ledger {
            locked: false,
            ..read
        };
        assert!(!earlier.alive(), "its pid is nobody's");
    }

    #[test]
    fn a_ledger_of_before_is_read() {
        let text = r#"{"pid":1,"started":2,"netns":3,"handle":4,
            "entries":[{"ifindex":5,"interface":"a","qdisc_ours":true}]}"#;
        let ledger: Ledger = serde_json::from_str(text).expect("a ledger");
        assert!(ledger.programs.is_empty() && !ledger.entries[0].others);
    }
}
