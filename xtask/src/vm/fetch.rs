//! Gets a kernel's packages from Debian's archive and unpacks them; nothing is installed.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{arch::Arch, archive::Apt, kernels::Line};
use crate::sh::{self, say};

/// Where a line's decompressed modules are kept.
pub const MODULES: &str = "modules";

/// A kernel's files as they came.
pub struct Unpacked {
    pub image: PathBuf,
    /// Its lib/modules/VERSION.
    pub modules: PathBuf,
}

/// From the cache in `dir` when it was completed once; remove `dir` to get a newer one.
pub fn unpacked(line: &Line, arch: Arch, dir: &Path) -> Result<Unpacked> {
    let root = dir.join("root");
    if let Ok(found) = find(&root) {
        return Ok(found);
    }
    let suite = line.suite;
    say(&format!(
        "fetching Debian's kernel {} ({suite}) into {}",
        line.name,
        dir.display()
    ));
    let apt = Apt::new(line, arch, dir)?;
    let packages = apt.packages(&format!("linux-image-cloud-{}", arch.debian()))?;
    let partial = dir.join("root.partial");
    let _ = fs::remove_dir_all(&partial);
    for package in &packages {
        unpack(&apt.download(package)?, &partial)?;
    }
    // Under its final name only when whole; the last one's modules do not fit this one.
    let _ = fs::remove_dir_all(&root);
    let _ = fs::remove_dir_all(dir.join(MODULES));
    fs::rename(&partial, &root)?;
    find(&root)
}

pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    sh::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))
}

/// Newer packages have the image beside the modules, older ones under /boot.
fn find(root: &Path) -> Result<Unpacked> {
    for modules in ["lib/modules", "usr/lib/modules"] {
        let Ok(mut versions) = root.join(modules).read_dir() else {
            continue;
        };
        let Some(Ok(version)) = versions.next() else {
            continue;
        };
        let boot = format!("vmlinuz-{}", version.file_name().to_string_lossy());
        let images = [version.path().join("vmlinuz"), root.join("boot").join(boot)];
        if let Some(image) = images.into_iter().find(|it| it.is_file()) {
            return Ok(Unpacked {
                image,
                modules: version.path(),
            });
        }
    }
    bail!("no kernel under {}", root.display())
}
