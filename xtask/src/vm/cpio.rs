//! An archive as the kernel unpacks it: newc cpio
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
use std::collections::BTreeSet;

use anyhow::{Context, Result};

#[derive(Clone, Copy)]
pub enum Mode {
    Dir,
    File,
    Program,
    Console,
    /// Its content is where it leads.
    Symlink,
    End,
}

impl Mode {
    /// st_mode, as in inode(7).
    fn bits(self) -> u32 {
        match self {
            Self::Dir => 0o040_755,
            Self::File => 0o100_644,
            Self::Program => 0o100_755,
            Self::Console => 0o020_600,
            Self::Symlink => 0o120_777,
            Self::End => 0,
        }
    }
}

#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    /// What has an entry already.
    dirs: BTreeSet<String>,
}

impl Archive {
    /// A file of that name, with the folders that it is in.
    pub fn put(&mut self, name: &str, mode: Mode, content: &[u8]) -> Result<()> {
        if let Some((dir, _)) = name.rsplit_once('/') {
            self.dir(dir)?;
        }
        self.entry(name, mode, content)
    }

    /// A folder, with those that it is in.
    pub fn dir(&mut self, name: &str) -> Result<()> {
        if !self.dirs.insert(name.to_owned()) {
            return Ok(());
        }
        self.put(name, Mode::Dir, &[])
    }

    /// Stands for a folder from here on: what is put into it goes where it leads.
    pub fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.dirs.insert(name.to_owned());
        self.entry(name, Mode::Symlink, to.as_bytes())
    }

    fn entry(&mut self, name: &str, mode: Mode, content: &[u8]) -> Result<()> {
        self.inodes += 1;
        let (major, minor) = if matches!(mode, Mode::Console) {
            (5, 1)
        } else {
            (0, 0)
        };
        let size = u32::try_from(content.len()).context("too large for newc")?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.bytes.extend(b"070701");
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            self.inodes,
            mode.bits(),
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", Mode::End, &[])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_sized() {
        let mut archive = Archive::default();
        archive.entry("a", Mode::File, b"hello").expect("fits");
        let text = String::from_utf8_lossy(&archive.bytes).into_owned();
        assert!(text.starts_with("07070100000001000081a4"));
        assert_eq!(&text[54..62], "00000005");
        assert_eq!(&text[110..112], "a\0");
        assert_eq!(archive.bytes.len(), 120);
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.link("bin", "usr/bin").expect("fits");
        for name in ["usr/bin/a", "usr/bin/b", "bin/c"] {
            archive.put(name, Mode::File, b"").expect("fits");
        }
        // The link, two folders, three files.
        assert_eq!(archive.inodes, 6);
        let dirs: Vec<_> = archive.dirs.iter().map(String::as_str).collect();
        assert_eq!(dirs, ["bin", "usr", "usr/bin"]);
    }
}
