//! What readings are judged with. A live trace and a recording fill it alike, and everything
//! behind it is shared.
use serde::{Deserialize, Serialize};

use super::{
    clock::Clock,
    facts::{Facts, Known, Names},
};
use crate::model::{
    gather::Gathered, node::Node, observation::Observation, pod::PodIndex, verdict::NotChecked,
};

/// What the run itself knows: it goes into the verdict as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `CLOCK_MONOTONIC` ns.
    pub started: u64,
    pub hooks: u64,
    pub not_checked: Vec<NotChecked>,
    /// A hook or program that should be there is missing.
    pub blind: bool,
}

/// A link that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkChange {
    pub name: String,
    pub what: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Removed,
}

impl Change {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

pub struct Scene {
    pub node: Node,
    /// The node when the run began, and pods' counters when they were first seen.
    pub start: Node,
    pub pods: PodIndex,
    pub gathered: Gathered,
    pub names: Box<dyn Names + Send + Sync>,
    pub clock: Clock,
    pub run: Run,
    /// Links that came or went since the reading before.
    pub links: Vec<LinkChange>,
}

impl Scene {
    pub fn facts<'a>(&'a self, observation: &Observation) -> Facts<'a> {
        let known = Known {
            node: &self.node,
            start: &self.start,
            pods: &self.pods,
            gathered: &self.gathered,
            names: self.names.as_ref(),
            clock: self.clock,
        };
        Facts::new(&known, observation)
    }
}
