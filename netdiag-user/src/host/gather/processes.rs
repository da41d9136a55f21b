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
