//! The bodies of property tests, fed by libFuzzer: bytes that lead further are kept, and led on from.
use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    paths,
    setup::{self, Way, cargo_tool::FUZZ},
    sh::{run, say, without_our_package},
};

/// By the names of their files in tests/fuzz/fuzz_targets.
pub const TARGETS: [&str; 4] = ["ipsets", "legacy", "nf_tables", "xtables"];
/// Bytes of an input at most.
const LARGEST: usize = 4096;

pub fn command(via: Option<Way>, only: Option<&str>, seconds: u64) -> Result<ExitCode> {
    let compiler = setup::ensure(via)?.compiler;
    if compiler.way != Way::Rustup {
        bail!("fuzzing takes a nightly compiler: use rustup's (`--via rustup`)");
    }
    let program = FUZZ.ensure()?;
    let (folder, built) = (
        paths::root().join("tests/fuzz"),
        paths::target().join("fuzz"),
    );
    for target in TARGETS
        .iter()
        .filter(|it| only.is_none_or(|only| **it == only))
    {
        say(&format!("fuzzing {target} for {seconds} s"));
        let corpus = built.join("corpus").join(target);
        fs::create_dir_all(&corpus).context("making a folder for inputs")?;
        let failing = built.join(format!("{target}-"));
        let mut command = std::process::Command::new(&program);
        without_our_package(&mut command);
        command
            .env("CARGO", &compiler.cargo)
            .env("RUSTC", &compiler.rustc)
            .env_remove("RUSTUP_TOOLCHAIN")
            .args(["fuzz", "run", "--fuzz-dir"])
            .arg(&folder)
            .arg("--target-dir")
            .arg(&built)
            .arg(target)
            .arg(&corpus)
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={LARGEST}"))
            .arg(format!("-artifact_prefix={}", failing.display()));
        run(&mut command)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_target() {
        let folder = paths::root().join("tests/fuzz/fuzz_targets");
        let files = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = files
            .map(|file| file.expect("a file").path())
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        assert_eq!(names, TARGETS);
    }
}
