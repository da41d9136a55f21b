//! `netdiag completions` and `netdiag man`.
use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, exit};

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    pub shell: Shell,
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

pub fn man() -> Result<i32> {
    let man = clap_mangen::Man::new(Cli::command());
    man.render(&mut std::io::stdout())
        .context("writing the man page")?;
    Ok(exit::OK)
}
