//! `netdiag completions` and `netdiag man`.
use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, exit};

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    pub shell: Shell,
}

pub fn completions(args: &CompletionsArgs) -> Result<i32> {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "netdiag",
        &mut std::io::stdout(),
    );
    Ok(exit::OK)
}

pub fn man() -> Result<i32> {
    let man = clap_mangen::Man::new(Cli::command());
    man.render(&mut std::io::stdout())
        .context("writing the man page")?;
    Ok(exit::OK)
}
