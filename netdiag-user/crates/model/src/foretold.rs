//! What a change would do to the conversations that were seen: the document of `netdiag whatif`.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Its name and version.
pub const SCHEMA: &str = "netdiag.whatif/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Foretold {
    pub schema: String,
    pub node: String,
    /// As they were typed.
    pub commands: Vec<String>,
    /// What gets through now, and would not any more.
    pub die: u64,
    /// What would get through, and does not now.
    pub live: u64,
    /// What does the same with it.
    pub unchanged: u64,
    /// Of which nobody can tell one or the other.
    pub unknown: u64,
    /// Those that change first, then those that end elsewhere, and those that are not known; what is unchanged is counted
    /// alone. 256 at most.
    pub conversations: Vec<Changed>,
    /// What was not walked, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<super::verdict::NotChecked>,
}

/// Conversations that differ in their clients' ports alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    pub protocol: String,
    /// Who asks: an address.
    pub source: String,
    /// Whom, with the port.
    pub destination: String,
    /// How many they are.
    pub conversations: u64,
    pub now: Fate,
    pub then: Fate,
}

/// What a change does to some, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Dies,
    Lives,
    /// Or it ends elsewhere.
    Same,
    Unknown,
}

impl Changed {
    pub fn kind(&self) -> Kind {
        match (&self.now, &self.then) {
            (Fate::Unknown, _) | (_, Fate::Unknown) => Kind::Unknown,
            (Fate::GetsThrough, Fate::Ends { .. }) => Kind::Dies,
            (Fate::Ends { .. }, Fate::GetsThrough) => Kind::Lives,
            _ => Kind::Same,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Fate {
    /// There and back, as far as this node has to do with it.
    GetsThrough,
    Ends {
        /// Where, in one sentence.
        at: String,
    },
    Unknown,
}
