//! The command that shows a line of evidence, as `confirm` and `confirm_argv`.
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::shell::CommandLine;

#[derive(Serialize)]
struct Written<'a> {
    confirm: &'a CommandLine,
    confirm_argv: Vec<String>,
}

#[derive(Deserialize)]
struct Read {
    confirm: Option<CommandLine>,
}

pub fn serialize<S: Serializer>(
    confirm: &Option<CommandLine>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let confirm = confirm.as_ref().filter(|c| !c.is_refused());
    let written = confirm.map(|confirm| Written {
        confirm,
        confirm_argv: confirm.argv(),
    });
    written.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CommandLine>, D::Error> {
    Read::deserialize(deserializer).map(|read| read.confirm)
}
