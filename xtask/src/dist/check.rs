//! Whether the same commit makes the same bytes: two clones in folders of other names and depths,
//! each built from nothing.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use super::{Options, about, sums_name, target};
use crate::{
    paths,
    setup::cargo_tool::CYCLONEDX,
    sh::{self, say, tell},
};

/// Below the target's folder.
const FOLDERS: [&str; 2] = ["dist-check/a", "dist-check/another/of/greater/depth"];

pub fn command(options: &Options) -> Result<ExitCode> {
    let target = target::find(options.target.as_deref())?;
    // Once, for both.
    CYCLONEDX.ensure()?;
    let all = paths::target().join("dist-check");
    // Who works here may commit meanwhile, and the packages have the commit's time.
    let commit = about::git(&["rev-parse", "HEAD"])?;
    let mut sums = Vec::new();
    for folder in FOLDERS.map(|it| paths::target().join(it)) {
        let _ = fs::remove_dir_all(&folder);
        clone(&folder, &commit)?;
        build(&folder, target.triple)?;
        let file = folder.join("target/dist").join(sums_name(target));
        sums.push(fs::read_to_string(file).context("read the sums")?);
        // A second one beside it takes gigabytes.
        fs::remove_dir_all(&folder).context("remove the clone")?;
    }
    let _ = fs::remove_dir_all(all);
    tell(sums[0].trim_end());
    if sums[0] == sums[1] {
        tell("both folders made the same bytes");
        return Ok(ExitCode::SUCCESS);
    }
    tell("the other folder made others:");
    tell(sums[1].trim_end());
    Ok(ExitCode::FAILURE)
}

/// What is committed, and nothing else.
fn clone(to: &Path, commit: &str) -> Result<()> {
    say(&format!("cloning {commit} into {}", to.display()));
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-checkout"]);
    sh::run(git.arg(paths::root()).arg(to))?;
    let mut git = Command::new("git");
    git.args(["checkout", "--quiet", "--detach", commit]);
    sh::run(git.current_dir(to))
}

fn build(folder: &Path, triple: &str) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.current_dir(folder);
    cargo.args(["xtask", "dist", "--target", triple]);
    // What says where this xtask was built is not true there.
    for name in ["CARGO_TARGET_DIR", "NETDIAG_BPF_OBJECT"] {
        cargo.env_remove(name);
    }
    // Programs that this clone built for itself serve there too.
    let own = paths::target().join("tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).chain([own]).collect();
    cargo.env("PATH", env::join_paths(folders)?);
    sh::run(&mut cargo)
}
