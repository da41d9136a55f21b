//! What a finding rests on, line by line.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::confirm;
use crate::{
    journal::{Thing, Translates},
    shell::CommandLine,
    words::{DIRECTIONS, LIMITS, TIME},
};

/// Where a line of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Seen in traffic or in a counter that moved during the run.
    Observed,
    /// Read from the node's configuration.
    Configured,
}

/// What a line of evidence is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    Oversize,
    Fragment,
    Retransmit,
    Drop,
    OuterAddress,
    Dns,
    Reset,
    Unreachable,
    Counter,
    Link,
    Route,
    Neighbour,
    Fdb,
    Rule,
    Socket,
    Sysctl,
    Process,
    File,
    Api,
    Log,
    /// What left one node, and how much of it came to another.
    Path,
}

/// One line of evidence that a person can check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    pub kind: EvidenceKind,
    pub origin: Origin,
    /// The sentence that a person reads.
    pub text: String,
    /// Interface, address or file where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = DIRECTIONS))]
    pub direction: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What sets the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = LIMITS))]
    pub limit_from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When it happened, of what changed while netdiag watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = TIME))]
    pub time: Option<String>,
    /// A command that shows the same thing by hand.
    #[serde(flatten, with = "confirm")]
    #[schemars(with = "Option<confirm::Written<'_>>")]
    pub confirm: Option<CommandLine>,
    /// Where it was seen, in a verdict of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it shows, for finding when that changed.
    #[serde(skip)]
    pub shows: Vec<Thing>,
    /// That no rule of that family (IPv6's) does this, for finding one that did.
    #[serde(skip)]
    pub lacks: Option<(bool, Translates)>,
}

impl Evidence {
    pub fn new(kind: EvidenceKind, origin: Origin, text: impl Into<String>) -> Self {
        Self {
            kind,
            origin,
            text: text.into(),
            at: None,
            direction: None,
            packets: None,
            largest: None,
            limit: None,
            limit_from: None,
            reason: None,
            location: None,
            time: None,
            confirm: None,
            node: None,
            shows: Vec::new(),
            lacks: None,
        }
    }

    pub fn of(mut self, thing: impl IntoIterator<Item = Thing>) -> Self {
        self.shows.extend(thing);
        self
    }
}
