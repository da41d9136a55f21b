//! A finding for each step at which conversations end: what all of them have in common is said here, and each step tells
//! its own story of them.
use std::net::IpAddr;

use crate::{
    model::{
        flow,
        node::Link,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Origin, PodRole, Severity},
    },
    pipeline::facts::Facts,
    shell,
    unexplained::{Symptom, grouped},
};

use super::ID;
pub use crate::shared::story::Story;

/// Conversations that a finding names.
const FLOWS: usize = 10;

/// Conversations that end at one step, as their story is told.
pub struct Case<'c, 'a> {
    pub facts: &'c Facts<'a>,
    /// The first is told by name.
    all: Vec<&'c Symptom>,
    pub asked: u64,
    pub client: IpAddr,
    /// The server's port that the client asks.
    pub what: String,
}

/// A finding for each step at which some of these end and that has something to tell, in the order in which it came first.
pub fn each<'c, 'a, S: PartialEq, T: Into<Option<Story>>>(
    facts: &'c Facts<'a>,
    ended: impl IntoIterator<Item = (S, &'c Symptom)>,
    tell: impl Fn(&Case<'c, 'a>, S) -> T,
) -> Vec<Finding> {
    let steps = grouped(ended).into_iter();
    let told = steps.filter_map(|(step, all)| {
        let case = Case::of(facts, all);
        Some(case.finding(tell(&case, step).into()?))
    });
    told.collect()
}

impl<'c, 'a> Case<'c, 'a> {
    pub fn of(facts: &'c Facts<'a>, all: Vec<&'c Symptom>) -> Self {
        let refer = all[0].refer();
        Self {
            facts,
            asked: all.iter().map(|c| c.asked.max(c.retransmits)).total(),
            client: all[0].client,
            what: format!("{} {}", refer.protocol, refer.destination),
            all,
        }
    }

    pub fn worst(&self) -> &'c Symptom {
        self.all[0]
    }

    /// Who asks whom, as they ask, and as this node has them ask.
    pub fn ends(&self) -> impl Iterator<Item = (IpAddr, (IpAddr, u16))> {
        self.all.iter().flat_map(|symptom| symptom.ends())
    }

    pub fn finding(&self, story: Story) -> Finding {
        let summary = story.summary.clone();
        let mut finding = Finding::new(ID, Severity::Warning, story.confidence, summary);
        self.conversations(&mut finding);
        story.fill(&mut finding);
        finding
    }

    /// Who asks whom in vain.
    fn conversations(&self, finding: &mut Finding) {
        let facts = self.facts;
        let named = || self.all.iter().take(FLOWS);
        finding.flows = named().map(|symptom| symptom.refer()).collect();
        for symptom in &self.all {
            for (client, server) in symptom.ends() {
                finding.scope.add(symptom.protocol, (client, 0), server);
            }
        }
        let pods = named().flat_map(|symptom| {
            let asked = symptom.leg.map(|leg| flow::ends(&leg).1);
            let server = asked.unwrap_or(symptom.server);
            [
                facts.pod(symptom.client, PodRole::Source),
                facts.pod(server, PodRole::Server),
            ]
        });
        finding.pods = pods.flatten().collect();
        finding.pods.sort();
        finding.pods.dedup();
        finding.about = self.all.iter().map(|symptom| symptom.server).collect();
        let first = self.all.iter().map(|symptom| symptom.first).min();
        let last = { self.all.iter() }.filter_map(|c| Some(c.last.as_ref()?.hop.last));
        finding.first_seen = facts.clock.text(first.unwrap_or(0));
        finding.last_seen = facts.clock.text(last.max().unwrap_or(0));
    }

    /// What was seen of the one that is told by name, as it left by that link.
    pub fn leaving(&self, left: &Link, text: String) -> Evidence {
        let mut seen = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
        seen.at = Some(left.name.clone());
        seen.direction = Some("egress".into());
        seen.packets = self.worst().last.as_ref().map(|hop| hop.hop.packets);
        seen.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} dst host {}",
            left.name,
            self.worst().far()
        ));
        seen
    }
}
