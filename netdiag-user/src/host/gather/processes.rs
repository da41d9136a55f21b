//! Processes under the node's root (proc(5)).
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
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

/// The value of a flag as Go's programs take it: `--name=value`, `-name value`. The last counts.
pub fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let mut found = None;
    for (at, argument) in arguments.iter().enumerate() {
        let Some(bare) = argument.strip_prefix('-') else {
            continue;
        };
        let bare = bare.strip_prefix('-').unwrap_or(bare);
        match bare.split_once('=') {
            Some((key, value)) if key == name => found = Some(value),
            None if bare == name => found = arguments.get(at + 1).map(String::as_str),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_as_go_takes_them() {
        let line = b"/usr/bin/etcd\0--a=1\0-b\x002\0--a\x003\0";
        let arguments = words(line);
        assert_eq!(flag(&arguments, "a"), Some("3"));
        assert_eq!(flag(&arguments, "b"), Some("2"));
        assert_eq!(flag(&arguments, "c"), None);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn finds_this_process() {
        let own = std::process::id();
        assert!(all(Path::new("/")).iter().any(|p| p.pid == own));
    }
}
