//! Names for this machine's folders, so that what is built holds none of them: the same bytes come
//! from wherever it is built.
use std::{
    fs, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{paths, sh};

/// Flags for a rustc. It takes the last one that fits: what lies deeper comes later.
pub fn flags(rustc: &Path) -> Result<Vec<String>> {
    let source = sysroot(rustc)?.join("lib/rustlib/src/rust");
    let root = iter::once((paths::root(), "/netdiag"));
    let all = root
        .chain(registries().into_iter().map(|it| (it, "/cargo")))
        .chain(iter::once((source, "/rust")));
    let flag = |(from, to): (PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    Ok(all.map(flag).collect())
}

/// Where cargo unpacks crates: a folder for each registry, whose name is another for a mirror's.
fn registries() -> Vec<PathBuf> {
    let folders = fs::read_dir(paths::cargo_home().join("registry/src"));
    let mut all: Vec<_> = folders
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path())
        .collect();
    all.sort();
    all
}

fn sysroot(rustc: &Path) -> Result<PathBuf> {
    let said = sh::text(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(said.trim()))
}

/// As cargo takes them in CARGO_ENCODED_RUSTFLAGS: a path may hold blanks.
pub fn encoded(flags: &[String]) -> String {
    flags.join("\x1f")
}
