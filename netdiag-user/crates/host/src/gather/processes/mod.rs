//! Processes under the node's root (proc(5)), one by one.
//!
//! What the kernel itself says of a process comes first: its users, its cgroup, its program. Its
//! command line and its environment lie in its own memory, are of any size that it likes
//! (prctl(2), PR_SET_MM_MAP), and are read under a lock of its own (fs/proc/base.c,
//! get_mm_cmdline): whoever holds that lock holds up the reader. Pages that come from a file are
//! not read any more since Linux 4.17 (mm/gup.c, FOLL_ANON), so that no FUSE server can. They are
//! read of those who may be believed, see [`belief`]; of others in the node's own namespace no
//! more than the first word.
mod belief;
mod cgroups;
pub mod daemons;
#[cfg(test)]
pub mod fake;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    fcntl::{OFlag, open},
    sched::{CloneFlags, setns},
    sys::stat::Mode,
};

pub use self::{belief::Believer, cgroups::Cgroups};
use crate::{
    model::{command, text},
    sys::{
        capabilities::{self, PTRACE},
        file,
    },
};

/// Processes that are looked at; a node of 110 pods has a few thousand.
pub const MOST: usize = 50_000;
/// Open files of one process that are looked at.
const MOST_FILES: usize = 65_536;
/// Longer command lines than this are cut: nothing that is looked for has one.
const LONGEST: usize = 64 << 10;
/// Of an environment; kubelet writes some 300 bytes for each Service.
const LONGEST_ENVIRONMENT: usize = 256 << 10;
/// A name that a program is started by is shorter.
const FIRST_WORD: usize = 256;
/// Characters of one word that are kept.
const WORD: usize = 1024;
/// include/linux/sched.h, TASK_COMM_LEN.
const COMM: usize = 16;
/// linux/stat.h, S_ISUID.
const SET_UID: u32 = 0o4000;
/// include/linux/sched.h, PF_KTHREAD.
const OF_KERNEL: u64 = 0x0020_0000;

/// A process as its folder in /proc shows it.
pub struct Process {
    pub pid: u32,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Its folder by a descriptor of ours: who gets its number after it is another.
    folder: PathBuf,
    _held: OwnedFd,
}

/// Processes that were not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// There are too many.
    pub beyond: usize,
    /// They may not be looked at (kernel/ptrace.c, __ptrace_may_access): what a process of
    /// another's is, is shown to CAP_SYS_PTRACE alone, to uid 0 without it as little as to others.
    /// Who has that right counts none: what is closed to him is of an outer machine's.
    pub closed: usize,
}

/// Its executable, which only the kernel sets.
pub struct Program {
    /// Of its file, without the folder.
    pub name: String,
    pub set_uid: bool,
}

impl Process {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is opened, the folder is only held"
    )]
    fn open(at: &Path) -> io::Result<Self> {
        let pid = number(at).ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let held = open(at, flags, Mode::empty())?;
        let folder = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let netns = fs::metadata(folder.join("ns/net"))?.ino();
        Ok(Self {
            pid,
            netns: u32::try_from(netns).map_err(io::Error::other)?,
            folder,
            _held: held,
        })
    }

    /// Real, effective, saved and file system's user, as this user namespace sees them.
    pub fn users(&self) -> Option<[u32; 4]> {
        let (bytes, _) = file::start(&self.folder.join("status"), file::SMALL).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let users = line.split_ascii_whitespace().map(|word| word.parse().ok());
        let users: Option<Vec<u32>> = users.collect();
        users?.try_into().ok()
    }

    /// Nothing for a thread of the kernel's, and where it may not be seen.
    pub fn program(&self) -> Option<Program> {
        let link = self.folder.join("exe");
        let path = fs::read_link(&link).ok()?;
        let name = path.file_name()?.to_string_lossy();
        // d_path(), where the file is no longer there.
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
        Some(Program {
            name: text::line(name, WORD),
            set_uid: fs::metadata(&link).ok()?.mode() & SET_UID != 0,
        })
    }

    /// The beginning of a file as the process itself sees it.
    pub fn start_within(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        let read = file::start_within(&self.folder.join("root"), path, most);
        read.map(|(bytes, _)| bytes)
    }

    pub fn cgroups(&self) -> Cgroups {
        Cgroups::read(&self.folder.join("cgroup"))
    }

    /// As ps(1) shows it; it may have set that itself.
    pub fn comm(&self) -> String {
        let (bytes, _) = file::start(&self.folder.join("comm"), COMM).unwrap_or_default();
        text::line(&String::from_utf8_lossy(&bytes), COMM)
    }

    /// `nginx[42]`.
    pub fn label(&self) -> String {
        format!("{}[{}]", self.comm(), self.pid)
    }

    /// Its command line with the program's name as it was started, and whether more was left out.
    pub fn arguments(&self) -> (Vec<String>, bool) {
        self.whole_words("cmdline", LONGEST)
    }

    fn whole_words(&self, file: &str, most: usize) -> (Vec<String>, bool) {
        let read = file::start(&self.folder.join(file), most);
        let (mut bytes, cut) = read.unwrap_or_default();
        if cut {
            // A part of a word may mean something else.
            let whole = bytes.iter().rposition(|byte| *byte == 0);
            bytes.truncate(whole.map_or(0, |at| at + 1));
        }
        (words(&bytes), cut)
    }

    /// What it was started as, by the beginning of its command line.
    fn started_as(&self) -> String {
        let read = file::start(&self.folder.join("cmdline"), FIRST_WORD);
        let (bytes, _) = read.unwrap_or_default();
        let first = words(&bytes).into_iter().next();
        first.as_deref().map_or("", short).to_owned()
    }

    /// Its environment, `NAME=value`, and whether more was left out; nothing where it may not be
    /// read.
    pub fn environment(&self) -> (Vec<String>, bool) {
        self.whole_words("environ", LONGEST_ENVIRONMENT)
    }

    /// Which of these programs of eBPF it holds, itself or by a link (bpf_prog_show_fdinfo,
    /// bpf_link_show_fdinfo). Looks at so many open files at most, and takes them off.
    pub fn holds(&self, programs: &[u32], left: &mut usize) -> Vec<u32> {
        let files = file::entries(&self.folder.join("fd"), MOST_FILES.min(*left));
        *left -= files.len();
        let bpf = files.into_iter().filter(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let name = target.to_string_lossy();
            name.contains("bpf-prog") || name.contains("bpf_link") || name.contains("bpf-link")
        });
        let ids = bpf.filter_map(|file| {
            let info = self.folder.join("fdinfo").join(file.file_name());
            let text = file::text(&info, file::SMALL).ok()?;
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            id.trim().parse().ok()
        });
        ids.filter(|id| programs.contains(id)).collect()
    }
}

/// Shows each process in turn, with what tells who may be believed; one that ends meanwhile is
/// left out. Returns how many were not looked at.
pub fn each(root: &Path, mut look: impl FnMut(&Process, &mut Believer) + Send) -> Unseen {
    let walk = || {
        see_as_first(root);
        let mut believer = Believer::new(root);
        let mut unseen = Unseen::default();
        let able = capabilities::held(&[PTRACE]).is_ok_and(|(_, missing)| missing.is_empty());
        let (mut seen, mut first) = (0, false);
        for folder in folders(root) {
            seen += 1;
            first |= number(&folder) == Some(1);
            if seen > MOST {
                unseen.beyond += 1;
                continue;
            }
            match Process::open(&folder) {
                Ok(process) => look(&process, &mut believer),
                Err(e) if !able && is_closed(&e, &folder) => unseen.closed += 1,
                // It has ended.
                Err(_) => {}
            }
        }
        // Where others' are not even listed (proc(5), hidepid), the first is missing with them.
        unseen.closed += usize::from(!able && seen > 0 && !first);
        unseen
    };
    let joined = thread::scope(|scope| scope.spawn(walk).join());
    // Who gathers tells that it failed: nothing found is no answer.
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Shows these alone, in that order, as far as they are still there. Takes this thread to the first
/// process's namespace of cgroups, and leaves it there: for a thread that does nothing else.
pub fn these(root: &Path, pids: impl IntoIterator<Item = u32>, mut look: impl FnMut(&Process)) {
    see_as_first(root);
    for pid in pids {
        if let Ok(process) = Process::open(&root.join(format!("proc/{pid}"))) {
            look(&process);
        }
    }
}

/// A container sees paths of cgroups from its own on: whoever joins the first process's namespace
/// sees those of the machine.
fn see_as_first(root: &Path) {
    if let Ok(first) = file::namespace(&root.join("proc/1/ns/cgroup")) {
        // Without that right the paths are right unless this is a container.
        let _ = setns(first, CloneFlags::CLONE_NEWCGROUP);
    }
}

/// Whether it is one of a program that may not be looked at. The kernel's own threads are nobody's.
fn is_closed(error: &io::Error, folder: &Path) -> bool {
    let flags = || {
        let (bytes, _) = file::start(&folder.join("stat"), file::SMALL).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let fields = text.rsplit_once(')')?.1;
        fields.split_ascii_whitespace().nth(6)?.parse().ok()
    };
    let of_kernel = |flags: u64| flags & OF_KERNEL != 0;
    error.kind() == io::ErrorKind::PermissionDenied && !flags().is_some_and(of_kernel)
}

/// The folder of each, as the kernel lists them: by their numbers. Whoever walks them stops at
/// [`MOST`].
#[expect(
    clippy::disallowed_methods,
    reason = "one entry at a time is held, of a folder that is the kernel's"
)]
pub fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten();
    let folders = entries.flatten().map(|entry| entry.path());
    folders.filter(|folder| number(folder).is_some())
}

fn number(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// Words that end with a zero byte each.
fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    match text {
        "" => Vec::new(),
        words => words
            .split('\0')
            .map(|word| text::line(word, WORD))
            .collect(),
    }
}

/// A program's name without its folder; some append what they do, as `k3s server`.
fn short(argument: &str) -> &str {
    let first = argument.split_whitespace().next().unwrap_or_default();
    first.rsplit('/').next().unwrap_or(first)
}

/// The value of a flag; the last counts.
pub fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    command::flags(arguments, name).pop()
}
