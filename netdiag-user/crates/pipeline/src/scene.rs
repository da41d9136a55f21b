//! What readings are judged with. A live trace and a recording fill it alike, and everything
//! behind it is shared.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    asked::Asked,
    clock::Clock,
    facts::{Data, Facts, Known, Names, Rows},
};
use crate::model::{
    cluster::Cluster,
    filter::glob,
    gather::Gathered,
    level::Level,
    node::Node,
    observation::Observation,
    own::OwnCost,
    pod::{PodIndex, SourceUse},
    selection,
    verdict::NotChecked,
};

/// What the run itself knows: it goes into the verdict as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `CLOCK_MONOTONIC` ns.
    pub started: u64,
    /// When all hooks were there, `CLOCK_MONOTONIC` ns: hops saw what began before at different times.
    #[serde(default)]
    pub hooked: u64,
    pub hooks: u64,
    pub not_checked: Vec<NotChecked>,
    /// How much is kept of what passes the links; not of an audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// At the level light, more is kept since something looked wrong.
    #[serde(default)]
    pub lifted: bool,
    /// For a while less was kept than that, and nothing of data: it took too much.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lowered: bool,
    /// A hook or program that should be there is missing.
    pub blind: bool,
    /// Somebody asked for some links or flows only.
    #[serde(default)]
    pub partly: bool,
    /// Globs of the links that somebody asked for; none where all are watched.
    #[serde(default)]
    pub links: Vec<String>,
    /// Somebody asked for some packets only.
    #[serde(default)]
    pub filtered: bool,
    /// Where pods' names come from.
    #[serde(default)]
    pub sources: Vec<SourceUse>,
    /// What it took, known at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<OwnCost>,
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
    /// What the Kubernetes API says; empty where it is not asked.
    pub cluster: Arc<Cluster>,
    pub gathered: Gathered,
    pub names: Box<dyn Names + Send + Sync>,
    pub clock: Clock,
    pub run: Run,
    pub asked: Asked,
    /// Links that came or went since the reading before.
    pub links: Vec<LinkChange>,
}

impl Run {
    /// Keeps in mind what was asked for, beside what was asked for when it was recorded.
    pub fn ask(&mut self, asked: &Asked) {
        if !asked.links.is_empty() {
            self.links.clone_from(&asked.links);
        }
        self.filtered |= asked.of_packets() != 0;
    }

    /// Whether what a link carries is seen there, whichever it is.
    pub fn watches_all(&self) -> bool {
        !(self.blind || self.partly || self.filtered) && self.links.is_empty()
    }

    pub fn watches(&self, link: &str) -> bool {
        self.links.is_empty() || self.links.iter().any(|pattern| glob(pattern, link))
    }
}

impl Scene {
    pub fn rows(&self, observation: &Observation) -> Rows {
        Rows::new(&self.known(), observation)
    }

    pub fn facts<'a>(&'a self, rows: &'a Rows) -> Facts<'a> {
        let mut facts = Facts::new(&self.known(), rows);
        facts.data = match (self.run.level, self.run.lifted) {
            _ if self.run.lowered => Data::NotKept,
            (Some(Level::Light), true) => Data::Lately,
            (Some(Level::Light), false) => Data::NotKept,
            _ => Data::Kept,
        };
        facts.hooked = self.run.hooked;
        facts.all_watched = self.run.watches_all() && !self.asked.partly();
        facts
    }

    /// What is known of whom one may ask for.
    pub fn of_pods(&self) -> selection::Known<'_> {
        selection::Known {
            pods: &self.pods,
            cluster: &self.cluster,
            services: self.gathered.services(),
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            node: &self.node,
            start: &self.start,
            pods: &self.pods,
            cluster: &self.cluster,
            gathered: &self.gathered,
            names: self.names.as_ref(),
            clock: self.clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_some_links_sees_some() {
        let run = Run::default();
        assert!(run.watches_all());
        let links = vec!["veth*".to_owned()];
        assert!(
            !Run {
                links,
                ..run.clone()
            }
            .watches_all()
        );
        assert!(!Run { blind: true, ..run }.watches_all());
    }
}
