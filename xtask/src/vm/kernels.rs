//! The one table of kernel lines, and what a kernel is once it is at hand.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Own, arch::Arch, fetch, modules};
use crate::paths;

pub struct Line {
    pub name: &'static str,
    /// Where Debian keeps it.
    pub suite: &'static str,
    pub archive: Archive,
    /// How many CPUs QEMU's emulation carries without trouble.
    pub emulated_cpus: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    Main,
    Security,
}

const fn line(name: &'static str, suite: &'static str, archive: Archive, cpus: u8) -> Line {
    Line {
        name,
        suite,
        archive,
        emulated_cpus: cpus,
    }
}

pub static LINES: [Line; 4] = [
    line("5.10", "bullseye-security", Archive::Security, 2),
    line("6.1", "bookworm", Archive::Main, 2),
    // Two CPUs double-fault under QEMU 7.2's emulation.
    line("6.12", "bookworm-backports", Archive::Main, 1),
    line("7.2", "sid", Archive::Main, 2),
];

/// What `cargo xtask test` boots.
pub const TESTED: &str = "6.1";

/// Whose drops have no reasons.
pub const WITHOUT_REASONS: &str = "5.10";

/// A kernel ready to boot.
#[derive(Clone)]
pub struct Kernel {
    pub name: String,
    pub arch: Arch,
    pub image: PathBuf,
    /// Decompressed, in load order.
    pub modules: Vec<PathBuf>,
    pub emulated_cpus: u8,
    /// QEMU's `-smp`, where another number is wanted.
    pub smp: Option<String>,
    /// Where what it boots from and what it says are put.
    pub scratch: PathBuf,
}

impl Kernel {
    pub fn with_cpus(self, smp: &str) -> Self {
        let smp = Some(smp.to_owned());
        Self { smp, ..self }
    }

    /// The same for a boot beside others of this kernel, whose files it leaves alone.
    pub fn beside(self, boot: usize) -> Self {
        let scratch = self.scratch.join(format!("boot-{boot}"));
        Self { scratch, ..self }
    }
}

pub fn names() -> [&'static str; LINES.len()] {
    LINES.each_ref().map(|it| it.name)
}

pub fn named(name: &str) -> Result<&'static Line> {
    let found = LINES.iter().find(|it| it.name == name);
    found.with_context(|| format!("no kernel line {name}"))
}

/// The newest kernel of a line for this processor, from the cache or from Debian.
pub fn fetch(name: &str) -> Result<Kernel> {
    fetch_for(name, Arch::here())
}

/// The same for that processor.
pub fn fetch_for(line: &str, arch: Arch) -> Result<Kernel> {
    let line = named(line)?;
    let name = match arch.is_here() {
        true => line.name.to_owned(),
        false => format!("{}-{}", line.name, arch.name()),
    };
    let dir = paths::target().join("vm").join(&name);
    let unpacked = fetch::unpacked(line, arch, &dir)?;
    let modules = modules::in_load_order(&unpacked.modules, &dir.join(fetch::MODULES))?;
    Ok(Kernel {
        name,
        scratch: dir,
        arch,
        image: unpacked.image,
        modules,
        emulated_cpus: line.emulated_cpus,
        smp: None,
    })
}

/// A kernel given as a file, with the modules given beside it or none.
pub fn own(own: Own, arch: Arch) -> Result<Kernel> {
    let image = own
        .image
        .canonicalize()
        .with_context(|| own.image.display().to_string())?;
    let scratch = paths::target().join("vm/own");
    let cache = scratch.join("modules");
    // Another kernel's modules may be left there.
    let _ = std::fs::remove_dir_all(&cache);
    let modules = match own.modules {
        Some(dir) => modules::in_load_order(&dir, &cache)?,
        None => Vec::new(),
    };
    Ok(Kernel {
        name: "own".to_owned(),
        scratch,
        arch,
        image,
        modules,
        emulated_cpus: 1,
        smp: None,
    })
}
