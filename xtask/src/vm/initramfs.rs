//! The VM's whole file system.
use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

use super::{
    cpio::{Archive, Mode},
    kernels::Kernel,
    programs, sysroot,
};
use crate::build::Guest;

const DIRS: [&str; 14] = [
    "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var",
    "var/lib", "var/run",
];
/// As on a machine with a merged /usr.
const LINKS: [(&str, &str); 2] = [("bin", "usr/bin"), ("sbin", "usr/sbin")];

pub fn write(path: &Path, guest: &Guest, kernel: &Kernel, plan: &[u8]) -> Result<()> {
    let mut archive = Archive::default();
    for (name, to) in LINKS {
        archive.link(name, to)?;
    }
    for dir in DIRS {
        archive.dir(dir)?;
    }
    // The kernel opens it for init before anything is mounted.
    archive.put("dev/console", Mode::Console, &[])?;
    archive.put("init", Mode::Program, &read(&guest.init)?)?;
    archive.put("usr/bin/netdiag", Mode::Program, &read(&guest.netdiag)?)?;
    archive.put("commands", Mode::File, plan)?;
    archive.put("etc/hostname", Mode::File, b"netdiag-vm\n")?;
    archive.put(
        "etc/hosts",
        Mode::File,
        b"127.0.0.1 localhost\n::1 localhost\n",
    )?;
    // Pods' own are mounted over it.
    archive.put("etc/resolv.conf", Mode::File, &[])?;
    archive.put("etc/passwd", Mode::File, b"root:x:0:0:root:/root:/bin/sh\n")?;
    let mut files = BTreeSet::new();
    match &guest.root {
        Some(root) => sysroot::put(root, &mut archive)?,
        None => files = programs::files(&guest.netdiag),
    }
    if let Some(test) = &guest.test {
        archive.put(
            super::TEST.trim_start_matches('/'),
            Mode::Program,
            &read(test)?,
        )?;
        files.extend(programs::files(test));
    }
    for file in files {
        let inside = file.to_string_lossy();
        archive.put(inside.trim_start_matches('/'), Mode::Program, &read(&file)?)?;
    }
    modules(&mut archive, kernel)?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, archive.finish()?).with_context(|| format!("write {}", path.display()))
}

fn modules(archive: &mut Archive, kernel: &Kernel) -> Result<()> {
    let mut list = String::new();
    for module in &kernel.modules {
        let name = module
            .file_name()
            .context("a module without a name")?
            .to_string_lossy();
        let inside = format!("lib/modules/{name}");
        archive.put(&inside, Mode::File, &read(module)?)?;
        list += &format!("/{inside}\n");
    }
    archive.put("modules.list", Mode::File, list.as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
