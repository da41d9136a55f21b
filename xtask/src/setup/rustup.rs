//! The compiler by rustup: one pinned nightly and the source of core.
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Compiler, Way};
use crate::{
    paths,
    sh::{self, is_program, say, which},
};

/// The last nightlies with LLVM 22, which is what our bpf-linker reads.
const TOOLCHAIN: &str = "nightly-2026-05-20";

pub fn find() -> Option<Compiler> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let dir = paths::rustup_home()
        .join("toolchains")
        .join(format!("{TOOLCHAIN}-{host}"));
    let compiler = Compiler {
        way: Way::Rustup,
        cargo: dir.join("bin/cargo"),
        rustc: dir.join("bin/rustc"),
    };
    // Core is built from source, for this target has no prebuilt one at rustup.
    let source = dir.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    let whole = is_program(&compiler.cargo) && is_program(&compiler.rustc) && source.is_file();
    whole.then_some(compiler)
}

pub fn install() -> Result<Compiler> {
    if which("rustup").is_none() {
        bail!(
            "there is no rustup on PATH; install it (https://rustup.rs) \
             or use Debian's compiler: `cargo xtask setup --via debian`"
        );
    }
    say(&format!(
        "installing toolchain {TOOLCHAIN} with rust-src by rustup: \
         eBPF needs core built from source by a compiler with LLVM 22"
    ));
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]);
    command.args(["--component", "rust-src", "--no-self-update"]);
    sh::run(&mut command).context(
        "rustup could not install it; check the network, \
         or use Debian's compiler: `cargo xtask setup --via debian`",
    )?;
    find().with_context(|| format!("rustup reported success, but {TOOLCHAIN} is not whole"))
}
