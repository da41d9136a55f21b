//! What a run in the lab came to.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{path::FlowWay, shell::CommandKind};

/// A command of the verdict's that the lab ran, to see whether it shows what it is printed for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedCommand {
    /// Of the finding that prints it first.
    pub cause: String,
    pub command: String,
    pub kind: CommandKind,
    /// Seconds.
    pub took: f64,
    /// Why it was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it is of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What a finding says of the change that brought it about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamedChange {
    /// Nothing where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Seconds from the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<f64>,
}

/// What `lab run` adds to the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabResult {
    pub scenario: String,
    /// The scenario beside it in the same node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    pub expected: Vec<String>,
    /// The one of the two whose traffic the other's fault stops: what comes of it stands below
    /// that fault, or under `cannot_tell`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
    pub passed: bool,
    /// The printed commands that were tried: those that change nothing here, and those of a fix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CheckedCommand>,
    /// Whether the finding went away when its fix was applied, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<bool>,
    /// Seconds from the fault to the cause's first naming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_after: Option<f64>,
    /// Where the fault came while netdiag watched: the change that a root names, and how many seconds it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<NamedChange>,
    /// What of the verdict is other than wanted, for a person.
    #[serde(skip)]
    pub wrong: Vec<String>,
    /// Of its roots, for a person.
    #[serde(skip)]
    pub ways: Vec<FlowWay>,
}
