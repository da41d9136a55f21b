//! `netdiag completions` and `netdiag man`.
use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, exit, power::is_anothers};

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    pub shell: Shell,
}

#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write the page of each command into this folder, which it makes: netdiag.1,
    /// netdiag-diagnose.1 and so on.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl ManArgs {
    /// Whether only root's rights lead into the folder, or to where it is made.
    pub fn into_anothers(&self) -> bool {
        let dir = self.dir.as_deref();
        dir.is_some_and(|dir| is_anothers(dir) || is_anothers(&dir.join("netdiag.1")))
    }
}

pub fn completions(args: &CompletionsArgs) -> Result<i32> {
    // By way of memory: clap_complete panics where the reader has gone away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "netdiag", &mut script);
    std::io::stdout()
        .write_all(&script)
        .context("writing the completions")?;
    Ok(exit::OK)
}

pub fn man(args: &ManArgs) -> Result<i32> {
    if let Some(dir) = &args.dir {
        return pages(dir);
    }
    let man = clap_mangen::Man::new(Cli::command());
    man.render(&mut std::io::stdout())
        .context("writing the man page")?;
    Ok(exit::OK)
}

fn pages(dir: &Path) -> Result<i32> {
    let tried = || format!("writing man pages into {}", dir.display());
    std::fs::create_dir_all(dir).with_context(tried)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(tried)?;
    Ok(exit::OK)
}
