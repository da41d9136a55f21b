//! cargo-deny: PATH's, whatever its version, or one of our own.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::linker::private_root;
use crate::{
    paths,
    sh::{self, is_program, say, which},
};

const VERSION: &str = "0.20.2";

pub fn ensure() -> Result<PathBuf> {
    match find() {
        Some(found) => Ok(found),
        None => install(),
    }
}

fn find() -> Option<PathBuf> {
    let own = private_root().join("bin/cargo-deny");
    which("cargo-deny").or_else(|| is_program(&own).then_some(own))
}

/// Without optimisation: it takes a minute to build then, and two seconds to run.
fn install() -> Result<PathBuf> {
    let root = private_root();
    say(&format!(
        "building cargo-deny {VERSION} into {}: it judges the dependencies' licences and sources \
         (a minute)",
        root.display()
    ));
    let built = paths::target().join("tools/build");
    let version = format!("={VERSION}");
    let mut command = sh::cargo();
    command.args(["install", "cargo-deny", "--version", &version]);
    command.args(["--locked", "--debug", "--root"]).arg(&root);
    command.env("CARGO_TARGET_DIR", &built);
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    sh::run(&mut command).context("cargo-deny was not built")?;
    // What is left is only needed for building it again.
    let _ = std::fs::remove_dir_all(built);
    find().context("cargo-deny was built, but is not there")
}
