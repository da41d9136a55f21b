//! What is already there. Looks at files and asks one program: well under a second.
use std::{
    env, iter,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Compiler, Way, debian, linker, rustup};
use crate::{
    paths,
    sh::{is_program, text, which},
};

pub fn compiler(via: Option<Way>) -> Option<Compiler> {
    match via {
        Some(Way::Rustup) => rustup::find(),
        Some(Way::Debian) => debian::find(),
        None => rustup::find().or_else(debian::find),
    }
}

/// The first bpf-linker of the right version: PATH's, cargo's, or one of our own.
pub fn linker() -> Option<PathBuf> {
    let own = [paths::cargo_home(), linker::private_root()];
    let own = own.iter().map(|dir| dir.join("bin/bpf-linker"));
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = env::split_paths(&path).collect();
    let mut all = dirs.iter().map(|dir| dir.join("bpf-linker")).chain(own);
    all.find(|file| is_program(file) && is_right_version(file))
}

fn is_right_version(linker: &Path) -> bool {
    let wanted = format!("bpf-linker {}", linker::VERSION);
    // One that cannot start (its libLLVM was removed) is as good as none.
    text(Command::new(linker).arg("--version")).is_ok_and(|it| it.trim() == wanted)
}

/// The folder of LLVM 22, whoever installed it.
pub fn llvm() -> Option<PathBuf> {
    let given = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let debian = PathBuf::from("/usr/lib/llvm-22");
    given
        .into_iter()
        .chain(iter::once(debian))
        .find(|dir| is_llvm_22(dir))
}

fn is_llvm_22(prefix: &Path) -> bool {
    let config = prefix.join("bin/llvm-config");
    is_program(&config)
        && text(Command::new(config).arg("--version")).is_ok_and(|it| it.starts_with("22."))
}

pub fn has_cxx() -> bool {
    which("c++").is_some()
}
