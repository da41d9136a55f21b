//! The command that shows a line of evidence, as `confirm`, `confirm_argv`, `confirm_kind` and, where it
//! prints it in other words, `confirm_shows`.
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::shell::{CommandKind, CommandLine, Shows};

#[derive(Serialize, JsonSchema)]
pub struct Written<'a> {
    /// A command that shows the same thing by hand.
    confirm: &'a CommandLine,
    /// Its words, as execve(2) takes them.
    confirm_argv: Vec<String>,
    /// What it does: `show` or `watch`.
    confirm_kind: CommandKind,
    /// What it prints, where that is not in the words of `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_shows: Option<&'a Shows>,
}

#[derive(Deserialize)]
struct Read {
    confirm: Option<CommandLine>,
    confirm_shows: Option<Shows>,
}

pub fn serialize<S: Serializer>(
    confirm: &Option<CommandLine>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let confirm = confirm.as_ref().filter(|c| !c.is_refused());
    let written = confirm.map(|confirm| Written {
        confirm,
        confirm_argv: confirm.argv(),
        confirm_kind: confirm.kind(),
        confirm_shows: confirm.shows(),
    });
    written.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CommandLine>, D::Error> {
    let read = Read::deserialize(deserializer)?;
    let with = |confirm: CommandLine| confirm.with_shows(read.confirm_shows);
    Ok(read.confirm.map(with))
}
