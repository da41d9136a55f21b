//! Which language people are answered in.
use clap::ValueEnum;
use netdiag_lang::{Lang, from_environment};

use super::Command;
use crate::output::Format;

/// What `--lang` names.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

/// Pages for people in the language that was asked for, or else the locale's; what programs
/// read is English.
pub fn of(command: &Command, asked: Option<Language>) -> Lang {
    match asked {
        _ if !is_for_people(command) => Lang::English,
        Some(Language::En) => Lang::English,
        Some(Language::Zh) => Lang::Chinese,
        None => from_environment(),
    }
}

fn is_for_people(command: &Command) -> bool {
    let people = |format: Format| matches!(format, Format::Table | Format::Wide);
    match command {
        Command::Explain(_) => true,
        Command::Run(args) => people(args.output),
        Command::Diagnose(args) => people(args.output),
        Command::Audit(args) => args.output.format().is_some_and(people),
        Command::Path(args) => people(args.output),
        Command::Replay(args) => people(args.output),
        Command::Doctor(args) => people(args.output),
        #[cfg(feature = "top")]
        Command::Top(_) => true,
        #[cfg(feature = "report")]
        Command::Report(_) => true,
        _ => false,
    }
}
