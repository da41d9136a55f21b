//! Finds or installs what the eBPF build needs: a compiler with core for BPF, and bpf-linker.
//!
//! What is already there is used first; then rustup is asked, then Debian's packages.
pub mod apt;
pub mod cargo_tool;
mod debian;
mod detect;
mod linker;
pub mod pypi;
mod rustup;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

use crate::sh::{say, which};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Way {
    Rustup,
    Debian,
}

/// A compiler that can make BPF objects.
#[derive(Debug)]
pub struct Compiler {
    pub way: Way,
    pub cargo: PathBuf,
    pub rustc: PathBuf,
}

#[derive(Debug)]
pub struct Tools {
    pub compiler: Compiler,
    pub linker: PathBuf,
}

pub fn command(via: Option<Way>) -> Result<ExitCode> {
    let tools = ensure(via)?;
    say(&format!("compiler: {}", tools.compiler.rustc.display()));
    say(&format!("linker:   {}", tools.linker.display()));
    Ok(ExitCode::SUCCESS)
}

/// Everything that `build` needs, installed where it was missing.
pub fn ensure(via: Option<Way>) -> Result<Tools> {
    let compiler = match detect::compiler(via) {
        Some(found) => found,
        None => install_compiler(via)?,
    };
    let linker = match detect::linker() {
        Some(found) => found,
        None => linker::install()?,
    };
    Ok(Tools { compiler, linker })
}

fn install_compiler(via: Option<Way>) -> Result<Compiler> {
    match via {
        Some(Way::Rustup) => rustup::install(),
        Some(Way::Debian) => debian::install(),
        None => install_either(),
    }
}

/// Rustup needs no root, so it goes first; Debian's packages must stand alone.
fn install_either() -> Result<Compiler> {
    let has_rustup = which("rustup").is_some();
    if has_rustup {
        match rustup::install() {
            Ok(compiler) => return Ok(compiler),
            Err(error) => say(&format!("rustup could not: {error:#}")),
        }
    }
    if apt::exists() {
        return debian::install();
    }
    let why = if has_rustup {
        "rustup failed"
    } else {
        "there is no rustup"
    };
    bail!(
        "no compiler for eBPF: {why} and this system has no apt-get; \
         install rustup (https://rustup.rs), then run `cargo xtask setup` again"
    )
}
