//! What a verdict of several nodes says of them and of the ways between them.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::TIME;

use super::{Drop, FlowRef, Observer, PodRef};

/// Where flows were counted, and where those of the pods are that have a link there.
pub fn say_of(flows: &mut [FlowRef], pods: &mut [PodRef], node: &str) {
    for flow in flows {
        flow.node = Some(node.to_owned());
    }
    let here = pods.iter_mut().filter(|p| p.interface.is_some());
    here.for_each(|p| p.node = Some(node.to_owned()));
}

/// One of the nodes of a verdict of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRef {
    pub node: String,
    pub kernel: String,
    /// By its own clock, as is the end.
    #[schemars(extend("format" = TIME))]
    pub started: String,
    #[schemars(extend("format" = TIME))]
    pub ended: String,
    pub duration: f64,
    pub observer: Observer,
}

/// What left one node for another while both were watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Between {
    pub from: String,
    pub to: String,
    /// Seconds that both were watched.
    pub duration: f64,
    /// Seconds that the other's clock is ahead, where flows that both saw tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<f64>,
    /// Seconds by which that may be wrong, where flows of both directions tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error: Option<f64>,
    pub flows: u64,
    pub packets: u64,
    /// Those of the packets that were seen to come, or may have.
    pub arrived: u64,
    /// Flows of which no packet came.
    pub never_came: u64,
    /// The flows that lost most on the way.
    pub lost: Vec<LostFlow>,
    /// What came and was dropped there.
    pub dropped: Vec<Drop>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LostFlow {
    pub protocol: String,
    pub source: String,
    pub destination: String,
    pub packets: u64,
    pub arrived: u64,
}
