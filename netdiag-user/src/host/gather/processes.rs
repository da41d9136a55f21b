//! Processes under the node's root (proc(5)).
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    host::namespaces,
    model::command::{self, Command},
};

/// A process as its folder in /proc shows it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    /// With the program's name as it was started; never empty.
    pub arguments: Vec<String>,
    /// Inode of its network namespace.
    pub netns: u32,
    folder: PathBuf,
}

/// Longer command lines than this are cut: nothing that is looked for has one.
const LONGEST: usize = 64 << 10;

impl Process {
    fn read(folder: PathBuf) -> Option<Self> {
        let pid = folder.file_name()?.to_str()?.parse().ok()?;
        let mut bytes = std::fs::read(folder.join("cmdline")).ok()?;
        bytes.truncate(LONGEST);
        let netns = std::fs::metadata(folder.join("ns/net")).ok()?.ino();
        Some(Self {
            pid,
            arguments: words(&bytes),
            netns: u32::try_from(netns).ok()?,
            folder,
        })
        .filter(|p| !p.arguments.is_empty())
    }

    /// Its cgroup of version 2, `/kubepods/…`, as the first process sees it.
    pub fn cgroup(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("cgroup")).ok()?;
        let own = |line: &str| line.strip_prefix("0::").map(str::to_owned);
        text.lines().find_map(own)
    }

    /// Which of these programs of eBPF it holds, itself or by a link (bpf_prog_show_fdinfo,
    /// bpf_link_show_fdinfo).
    pub fn holds(&self, programs: &[u32]) -> Vec<u32> {
        let files = std::fs::read_dir(self.folder.join("fd"))
            .into_iter()
            .flatten();
        let bpf = files.flatten().filter(|file| {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            let name = target.to_string_lossy();
            name.contains("bpf-prog") || name.contains("bpf_link") || name.contains("bpf-link")
        });
        let ids = bpf.filter_map(|file| {
            let info = self.folder.join("fdinfo").join(file.file_name());
            let text = std::fs::read_to_string(info).ok()?;
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            id.trim().parse().ok()
        });
        ids.filter(|id| programs.contains(id)).collect()
    }

    /// The program's name without its folder.
    pub fn name(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Its environment, `NAME=value`; nothing where it may not be read.
    pub fn environment(&self) -> Vec<String> {
        words(&std::fs::read(self.folder.join("environ")).unwrap_or_default())
    }
}

/// All of them; one that ends meanwhile is left out. Kernel threads have no command line.
pub fn all(root: &Path) -> Vec<Process> {
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten();
    let folders = entries.flatten().map(|e| e.path());
    folders.filter_map(Process::read).collect()
}

/// Words that end with a zero byte each.
fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    match text {
        "" => Vec::new(),
        text => text.split('\0').map(str::to_owned).collect(),
    }
}

/// The value of a flag; the last counts.
pub fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    command::flags(arguments, name).pop()
}

/// Programs of that name in the node's own namespace, where its daemons run.
pub fn of_node(root: &Path, name: &str) -> Vec<Command> {
    let own = namespaces::own();
    let found = all(root).into_iter();
    let found = found.filter(|p| p.name() == name && Some(p.netns) == own);
    let command = |p: Process| Command {
        pid: p.pid,
        arguments: p.arguments,
    };
    found.map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_a_zero_byte() {
        assert_eq!(words(b"a\0-b\0"), ["a", "-b"]);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn finds_this_process() {
        let own = std::process::id();
        assert!(all(Path::new("/")).iter().any(|p| p.pid == own));
    }
}
