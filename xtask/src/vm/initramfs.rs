//! The VM's whole file system, as the kernel takes it: a newc cpio archive
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::kernels::Kernel;
use crate::build::Static;

const DIRS: [&str; 16] = [
    "dev",
    "etc",
    "home",
    "lib",
    "lib/modules",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "var",
    "var/lib",
    "var/run",
];

pub fn write(path: &Path, guest: &Static, kernel: &Kernel, plan: &[u8]) -> Result<()> {
    let mut archive = Archive::default();
    for dir in DIRS {
        archive.entry(dir, Mode::Dir, &[])?;
    }
    // The kernel opens it for init before anything is mounted.
    archive.entry("dev/console", Mode::Console, &[])?;
    archive.entry("init", Mode::Program, &read(&guest.init)?)?;
    archive.entry("usr/bin/netdiag", Mode::Program, &read(&guest.netdiag)?)?;
    archive.entry("commands", Mode::File, plan)?;
    archive.entry("etc/hostname", Mode::File, b"netdiag-vm\n")?;
    archive.entry(
        "etc/hosts",
        Mode::File,
        b"127.0.0.1 localhost\n::1 localhost\n",
    )?;
    archive.entry("etc/passwd", Mode::File, b"root:x:0:0:root:/root:/bin/sh\n")?;
    let mut list = String::new();
    for module in &kernel.modules {
        let name = module
            .file_name()
            .context("a module without a name")?
            .to_string_lossy();
        let inside = format!("lib/modules/{name}");
        archive.entry(&inside, Mode::File, &read(module)?)?;
        list += &format!("/{inside}\n");
    }
    archive.entry("modules.list", Mode::File, list.as_bytes())?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, archive.finish()?).with_context(|| format!("write {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[derive(Clone, Copy)]
enum Mode {
    Dir,
    File,
    Program,
    Console,
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
            Self::End => 0,
        }
    }
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
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

    fn finish(mut self) -> Result<Vec<u8>> {
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
}
