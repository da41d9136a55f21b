//! What could not be decided, for lack of an answer.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FlowRef, PodRef, nodes};

/// Hypotheses between which one answer would have decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CannotTell {
    /// The causes that it may be.
    pub causes: Vec<String>,
    /// What should have been found out.
    pub what: String,
    /// Why it was not.
    pub why: String,
    /// What suffers meanwhile; nothing where the question is about the node itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl CannotTell {
    /// Where it is.
    pub fn say_of(&mut self, node: &str) {
        self.node = Some(node.to_owned());
        nodes::say_of(&mut self.flows, &mut self.pods, node);
    }
}
