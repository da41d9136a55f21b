//! The compiler by Debian's packages: its rustc has a prebuilt core for BPF.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Compiler, Way, apt};
use crate::sh::{self, is_program};

const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

pub fn find() -> Option<Compiler> {
    let compiler = Compiler {
        way: Way::Debian,
        cargo: PathBuf::from("/usr/bin/cargo"),
        rustc: PathBuf::from("/usr/bin/rustc"),
    };
    let whole = is_program(&compiler.cargo) && has_core() && has_llvm_22(&compiler.rustc);
    whole.then_some(compiler)
}

/// Its bitcode must be what our bpf-linker reads; a later release may bring another LLVM.
fn has_llvm_22(rustc: &Path) -> bool {
    let version = sh::text(Command::new(rustc).arg("-vV"));
    version.is_ok_and(|it| it.lines().any(|line| line.starts_with("LLVM version: 22.")))
}

fn has_core() -> bool {
    let Ok(files) = Path::new(CORE).read_dir() else {
        return false;
    };
    files
        .flatten()
        .any(|it| it.file_name().to_string_lossy().starts_with("libcore-"))
}

pub fn install() -> Result<Compiler> {
    apt::install(&PACKAGES, "a compiler with core for the eBPF target")?;
    find().context(
        "the packages are installed, but have no core for bpfel-unknown-none, or not LLVM 22",
    )
}
