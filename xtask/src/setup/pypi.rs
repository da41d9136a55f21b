//! Programs that come as a wheel: PATH's, or one of our own that pip puts below `target/tools`.
use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::apt;
use crate::{
    paths,
    sh::{self, is_program, say, which},
};

pub struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    /// The program, and the folder that it lies in within the wheel.
    pub program: &'static str,
    pub folder: &'static str,
    /// What it is for here, in the third person.
    pub does: &'static str,
}

/// An OpenTelemetry collector.
pub const ROTEL: Wheel = Wheel {
    package: "rotel",
    version: "0.0.1a15",
    program: "rotel-agent",
    folder: "rotel",
    does: "takes what the agent sends",
};

const ALL: [&Wheel; 1] = [&ROTEL];

impl Wheel {
    pub fn ensure(&self) -> Result<()> {
        match which(self.program).is_some() || is_program(&self.own()) {
            true => Ok(()),
            false => self.install(),
        }
    }

    fn root(&self) -> PathBuf {
        paths::target().join("tools").join(self.package)
    }

    fn own(&self) -> PathBuf {
        self.root().join(self.folder).join(self.program)
    }

    fn install(&self) -> Result<()> {
        let (root, wanted) = (self.root(), format!("{}=={}", self.package, self.version));
        if !has_pip() {
            apt::install(&["python3-pip"], "it gets programs that come as wheels")?;
        }
        say(&format!("getting {wanted} by pip: it {}", self.does));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]);
        pip.args(["--disable-pip-version-check", "--root-user-action=ignore"]);
        pip.arg("--target").arg(&root).arg(&wanted);
        sh::run(&mut pip).with_context(|| format!("pip could not get {wanted}"))?;
        let there = is_program(&self.own());
        anyhow::ensure!(there, "{wanted} has no {}", self.program);
        Ok(())
    }
}

fn has_pip() -> bool {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--version"]);
    pip.stdout(Stdio::null()).stderr(Stdio::null());
    pip.status().is_ok_and(|it| it.success())
}

/// The search path of tests: what is there already comes first.
pub fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = ALL.iter().map(|wheel| wheel.root().join(wheel.folder));
    let all = env::split_paths(&path).chain(own);
    // A folder with a colon in its name is in no search path.
    env::join_paths(all).unwrap_or(path)
}
