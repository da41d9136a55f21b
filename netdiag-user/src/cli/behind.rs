//! What stands behind a `--` is for another netdiag, on a node: what that would refuse is refused here, by
//! its own parser.
use anyhow::Result;
use clap::{
    ArgMatches, CommandFactory, builder::Resettable, error::ErrorKind, parser::ValueSource,
    value_parser,
};

use super::{Cli, Usage};

/// The command that is started there.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    pub command: &'static str,
    /// As a sentence calls it.
    pub called: &'static str,
}

impl Started {
    /// As on a node: this machine's environment and files are not asked.
    pub fn parse(self, words: impl IntoIterator<Item = String>) -> Result<ArgMatches> {
        let command = Cli::command().mut_subcommand(self.command, |it| {
            let it = it.mut_args(|it| match it.get_id() == "root" {
                // Whether that folder is there is known on the nodes alone.
                true => it.value_parser(value_parser!(std::path::PathBuf)),
                false => it.env(Resettable::Reset),
            });
            // None of them is run: what is wrong with one is that it is there.
            it.mut_subcommands(|it| it.mut_args(|it| it.required(false)))
        });
        let line = ["netdiag", self.command].map(str::to_owned).into_iter();
        match command.try_get_matches_from(line.chain(words)) {
            Ok(mut all) => match all.remove_subcommand() {
                Some((_, own)) => Ok(own),
                None => Err(refused("nothing is started")),
            },
            Err(error) => Err(refused(&self.sentence(&error))),
        }
    }

    fn sentence(self, error: &clap::Error) -> String {
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            return "behind the -- --help and --version watch nothing".to_owned();
        }
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let why = first.trim_start_matches("error: ");
        format!("behind the -- stands what {} takes: {why}", self.called)
    }
}

/// Whether the option of that ID was typed, however it was spelt.
pub fn is_typed(given: &ArgMatches, id: &str) -> bool {
    given.value_source(id) == Some(ValueSource::CommandLine)
}

pub fn refused(why: &str) -> anyhow::Error {
    Usage(why.to_owned()).into()
}
