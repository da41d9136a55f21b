//! What was checked and is not explained.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FlowRef, PodRef, nodes};

/// Traffic that fails again and again, and that no finding explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unexplained {
    /// Whose traffic with whom.
    pub what: String,
    /// What is seen of it, how far it gets, and how to look further.
    pub why: String,
    /// It ends on this node, or this node may be why it gets nowhere; else it left as it should.
    pub here: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Unexplained {
    /// Where it was seen.
    pub fn say_of(&mut self, node: &str) {
        self.node = Some(node.to_owned());
        nodes::say_of(&mut self.flows, &mut self.pods, node);
    }
}
