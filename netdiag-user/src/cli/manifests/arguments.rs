//! What stands behind the `--`: what the agent would refuse on every node is refused here, by its own
//! parser.
use std::time::Duration;

use anyhow::Result;
use clap::{ArgMatches, CommandFactory, builder::Resettable, error::ErrorKind, value_parser};

use crate::{
    cli::{Cli, Usage},
    manifests::{self, Options, Profile},
};

/// What of it concerns the objects.
pub struct Told {
    /// Zero for none.
    pub canary: Option<Duration>,
    pub events: bool,
    pub resolve_after: Option<Duration>,
}

/// What a user gives, by itself.
pub fn read(arguments: &[String]) -> Result<Told> {
    if arguments.iter().any(|it| it.starts_with("--listen")) {
        return Err(refused(
            "--listen stands before the --: ports and probes go by it",
        ));
    }
    let line = std::iter::once("agent".to_owned()).chain(arguments.iter().cloned());
    let given = parse(line)?;
    if let Some(command) = given.subcommand_name() {
        return Err(refused(&format!(
            "{command} watches nothing: behind the -- stand options of `netdiag agent` alone"
        )));
    }
    if given.contains_id("config") {
        return Err(refused(
            "--config names a file that no pod has: its settings stand behind the -- as options",
        ));
    }
    if given.get_flag("print_config") {
        return Err(refused(
            "--print-config prints and ends: it watches nothing",
        ));
    }
    Ok(Told {
        canary: given.get_one("canary").copied(),
        events: given.get_flag("events"),
        resolve_after: given.get_one("resolve_after").copied(),
    })
}

/// All that the agent is started with under a profile.
pub fn check(options: &Options, profile: Profile, told: &Told) -> Result<()> {
    if profile == Profile::Minimal && told.canary.is_some_and(|it| !it.is_zero()) {
        return Err(refused(
            "--canary needs a network namespace of its own, which CAP_SYS_ADMIN makes: the profile minimal \
             does not have it",
        ));
    }
    let options = Options {
        profile,
        ..options.clone()
    };
    parse(manifests::arguments(&options)).map(|_| ())
}

/// As on a node: this machine's environment and files are not asked.
fn parse(line: impl IntoIterator<Item = String>) -> Result<ArgMatches> {
    let command = Cli::command().mut_subcommand("agent", |agent| {
        let agent = agent.mut_args(|it| match it.get_id() == "root" {
            // Whether that folder is there is known on the nodes alone.
            true => it.value_parser(value_parser!(std::path::PathBuf)),
            false => it.env(Resettable::Reset),
        });
        // None of them is run: what is wrong with one is that it is there.
        agent.mut_subcommands(|it| it.mut_args(|it| it.required(false)))
    });
    let line = std::iter::once("netdiag".to_owned()).chain(line);
    match command.try_get_matches_from(line) {
        Ok(mut all) => match all.remove_subcommand() {
            Some((_, agent)) => Ok(agent),
            None => Err(refused("nothing is started")),
        },
        Err(error) => Err(refused(&sentence(&error))),
    }
}

fn sentence(error: &clap::Error) -> String {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return "behind the -- --help and --version watch nothing".to_owned();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let why = first.trim_start_matches("error: ");
    format!("behind the -- stands what `netdiag agent` takes: {why}")
}

fn refused(why: &str) -> anyhow::Error {
    Usage(why.to_owned()).into()
}
