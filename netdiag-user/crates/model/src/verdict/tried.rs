//! Fixes that were tried before anybody is told of them.
use netdiag_lang::t;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The commands of a fix, carried out on the state that was read, nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Of the conversations that the finding explains, those whose computed way ends: the first ones.
    pub conversations: u64,
    /// Of these, how many get through, there and back, with the commands.
    pub get_through: u64,
    /// What stops the first of the others then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

impl Tried {
    pub fn told(&self) -> String {
        let (through, all) = (self.get_through, self.conversations);
        let told = t!("tried on the state as read: {through} of {all} conversations get through");
        match &self.behind {
            Some(behind) => t!("{told}; behind it: {behind}"),
            None => told,
        }
    }
}
