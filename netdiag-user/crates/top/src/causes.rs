//! Findings as they are kept, with the ways of their flows.
use std::sync::Arc;

use super::reading::Reading;
use crate::{
    diagnosis::{diagnoser::Look, flow_way},
    model::{
        path::{Path, Way},
        verdict::{Evidence, Finding, FlowRef, Origin},
    },
};

/// A flow as a finding names it: which place it has among others changes from reading to reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    protocol: String,
    source: String,
    destination: String,
}

impl Ends {
    pub fn of(flow: &FlowRef) -> Self {
        Self {
            protocol: flow.protocol.clone(),
            source: flow.source.clone(),
            destination: flow.destination.clone(),
        }
    }

    /// As findings name flows, without what was counted.
    pub fn flow(&self) -> FlowRef {
        FlowRef {
            protocol: self.protocol.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            ..FlowRef::default()
        }
    }
}

/// Which flows' ways are followed: each costs a look at all flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Of every finding, as nobody can come back for them.
    All,
    /// Of that finding's flow alone.
    Of(String, Ends),
    None,
}

/// Flows of one finding, and of all of them, whose ways are followed.
const OF_ONE: usize = 8;
const OF_ALL: usize = 16;

#[derive(Clone, Debug)]
pub struct Cause {
    pub finding: Arc<Finding>,
    /// Packets that its evidence counted, where most were.
    pub packets: u64,
    pub ways: Vec<(Ends, Arc<Path>)>,
}

impl Cause {
    pub fn way(&self, flow: &Ends) -> Option<&Path> {
        let found = self.ways.iter().find(|(ends, _)| ends == flow);
        found.map(|(_, path)| path.as_ref())
    }

    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        let finding = &self.finding;
        let evidence: usize = finding.evidence.iter().map(|e| 256 + e.text.len()).sum();
        let refs = (finding.pods.len() + finding.flows.len()) * 256;
        let ways: usize = self.ways.iter().map(|(_, path)| size_of_path(path)).sum();
        size_of::<Finding>() + finding.summary.len() + evidence + refs + ways
    }
}

fn size_of_path(path: &Path) -> usize {
    let of = |way: &Way| way.steps.len() * 384 + way.fates.len() * 256;
    size_of::<Path>() + of(&path.request) + of(&path.reply)
}

/// The findings of a reading; one that is as it was before is not kept twice.
pub fn causes(look: &Look<'_, '_, '_>, ways: &Ways, before: Option<&Reading>) -> Vec<Cause> {
    let mut left = OF_ALL;
    let cause = |finding: &Finding| {
        let old = before.and_then(|reading| reading.cause(&finding.id));
        let same = old.filter(|old| *old.finding == *finding);
        let finding = match same {
            Some(old) => Arc::clone(&old.finding),
            None => Arc::new(finding.clone()),
        };
        let ways = match ways {
            Ways::All => followed(look, finding.flows.iter().map(Ends::of), OF_ONE.min(left)),
            Ways::Of(id, flow) if *id == finding.id => {
                followed(look, std::iter::once(flow.clone()), 1)
            }
            Ways::Of(..) | Ways::None => Vec::new(),
        };
        left = left.saturating_sub(ways.len());
        Cause {
            packets: packets(&finding),
            finding,
            ways,
        }
    };
    look.findings.iter().map(cause).collect()
}

fn followed(
    look: &Look<'_, '_, '_>,
    flows: impl Iterator<Item = Ends>,
    most: usize,
) -> Vec<(Ends, Arc<Path>)> {
    let way = |ends: Ends| {
        let mut path = flow_way(look.facts, &look.scene.run, &ends.flow())?;
        // The screen says it once for all of them.
        path.not_checked = Vec::new();
        Some((ends, Arc::new(path)))
    };
    flows.filter_map(way).take(most).collect()
}

/// Several hops count the same packets: the one that counts most has them.
fn packets(finding: &Finding) -> u64 {
    let seen = |e: &&Evidence| e.origin == Origin::Observed;
    let evidence = finding.evidence.iter().filter(seen);
    evidence.filter_map(|e| e.packets).max().unwrap_or_default()
}
