//! Programs that cargo builds: PATH's, whatever its version, or one of our own.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::linker::private_root;
use crate::{
    paths,
    sh::{self, is_program, say, which},
};

pub struct Tool {
    pub name: &'static str,
    pub version: &'static str,
    /// What it does here, in the third person.
    pub does: &'static str,
}

/// Judges dependencies.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    does: "judges the dependencies' licences and sources",
};

/// Lists them.
pub const CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    does: "lists what the program is made of",
};

/// Builds with libFuzzer and runs it.
pub const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    does: "builds with libFuzzer",
};

impl Tool {
    pub fn ensure(&self) -> Result<PathBuf> {
        match self.find() {
            Some(found) => Ok(found),
            None => self.install(),
        }
    }

    fn find(&self) -> Option<PathBuf> {
        let own = private_root().join("bin").join(self.name);
        which(self.name).or_else(|| is_program(&own).then_some(own))
    }

    /// Without optimisation: it takes a minute to build then, and seconds to run.
    fn install(&self) -> Result<PathBuf> {
        let (name, root) = (self.name, private_root());
        say(&format!(
            "building {name} {} into {}: it {} (a minute)",
            self.version,
            root.display(),
            self.does
        ));
        let built = paths::target().join("tools/build");
        let version = format!("={}", self.version);
        let mut command = sh::cargo();
        command.args(["install", name, "--version", &version]);
        command.args(["--locked", "--debug", "--root"]).arg(&root);
        command.env("CARGO_TARGET_DIR", &built);
        command
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        sh::run(&mut command).with_context(|| format!("{name} was not built"))?;
        // What is left is only needed for building it again.
        let _ = std::fs::remove_dir_all(built);
        let found = self.find();
        found.with_context(|| format!("{name} was built, but is not there"))
    }
}
