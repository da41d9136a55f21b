//! What a command line prints, where that is not in the words of the evidence that it stands below.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shows {
    /// One of these words.
    Any(Vec<String>),
    /// Nothing at all: there is no such entry.
    Nothing,
    /// What is asked for is refused: it says so, and its exit code is not 0.
    Failure,
}
