//! What is to be done: a sentence, and commands.
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::model::shell::CommandLine;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Fix {
    pub summary: String,
    /// Those that [`CommandLine::is_refused`] are never shown.
    pub commands: Vec<CommandLine>,
}

/// Each command as its text and as the words that execve(2) takes, side by side. What cannot be
/// printed safely is left out.
impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Fix", 4)?;
        let commands: Vec<_> = self.printed().collect();
        let argv: Vec<_> = self.printed().map(CommandLine::argv).collect();
        fields.serialize_field("summary", &self.summary)?;
        fields.serialize_field("commands", &commands)?;
        fields.serialize_field("argv", &argv)?;
        match self.left_out() {
            0 => fields.skip_field("commands_left_out")?,
            some => fields.serialize_field("commands_left_out", &some)?,
        }
        fields.end()
    }
}

impl Fix {
    /// How many commands cannot be printed safely.
    pub fn left_out(&self) -> usize {
        self.commands.iter().filter(|c| c.is_refused()).count()
    }

    /// The commands that can be printed safely.
    pub fn printed(&self) -> impl Iterator<Item = &CommandLine> {
        self.commands.iter().filter(|c| !c.is_refused())
    }
}

/// A fix on another node than the finding's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFix {
    pub node: String,
    #[serde(flatten)]
    pub fix: Fix,
}
