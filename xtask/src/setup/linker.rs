//! bpf-linker, built for the LLVM of our compilers.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{apt, detect};
use crate::{
    paths,
    sh::{self, say},
};

pub const VERSION: &str = "0.13.0";

const LLVM: [&str; 6] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "libxml2-dev",
    "libffi-dev",
];

/// Where ours goes when cargo's folder holds another version, which is not ours to replace.
pub fn private_root() -> PathBuf {
    paths::target().join("tools")
}

pub fn install() -> Result<PathBuf> {
    let llvm = ensure_llvm()?;
    let root = install_root();
    say(&format!(
        "building bpf-linker {VERSION} into {}: it turns LLVM bitcode into BPF objects \
         and must match the compiler's LLVM 22 (a minute or two)",
        root.display()
    ));
    let mut command = sh::cargo();
    command.args([
        "install",
        "bpf-linker",
        "--version",
        &format!("={VERSION}"),
        "--locked",
        "--force",
    ]);
    command
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(&root);
    // Both are needed: without the first, another LLVM's llvm-config on PATH wins.
    command
        .env("LLVM_PREFIX", &llvm)
        .env("LLVM_SYS_221_PREFIX", &llvm);
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("CARGO_TARGET_DIR", paths::target().join("tools/build"));
    sh::run(&mut command).context(
        "bpf-linker was not built; check the network, \
         or put a bpf-linker 0.13.0 made for LLVM 22 on PATH",
    )?;
    // What is left is only needed for building it again.
    let _ = std::fs::remove_dir_all(paths::target().join("tools/build"));
    detect::linker().context("bpf-linker was built, but does not start")
}

fn install_root() -> PathBuf {
    let cargo = paths::cargo_home();
    if cargo.join("bin/bpf-linker").exists() {
        private_root()
    } else {
        cargo
    }
}

fn ensure_llvm() -> Result<PathBuf> {
    let mut packages = LLVM.to_vec();
    if !detect::has_cxx() {
        packages.push("g++");
    }
    if apt::exists() || detect::llvm().is_none() {
        apt::install(&packages, "LLVM 22, which bpf-linker is built with")?;
    }
    detect::llvm().context("LLVM 22 is not where it was expected; set LLVM_PREFIX to its folder")
}
