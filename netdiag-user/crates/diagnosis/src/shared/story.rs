//! What a finding tells of those that end at one step.
use crate::{
    model::verdict::{Confidence, Evidence, Finding, Fix, Severity, Subject},
    pipeline::facts::Facts,
    shared::{
        dead_end::Told,
        losses::{self, DropGroup},
    },
};

pub struct Story {
    pub confidence: Confidence,
    pub summary: String,
    pub evidence: Vec<Evidence>,
    /// The one thing at which they end, and the words for that.
    pub blames: Option<(Subject, Option<String>)>,
    pub fix: Fix,
}

/// A finding about packets that this node drops at one step.
pub fn dropped(
    facts: &Facts<'_>,
    (cause, severity): (&str, Severity),
    patterns: &[DropGroup<'_>],
    story: Story,
) -> Finding {
    let summary = story.summary.clone();
    let mut finding = losses::finding(facts, cause, severity, patterns, summary);
    finding.confidence = story.confidence;
    story.fill(&mut finding);
    finding
}

impl Story {
    /// What was only inferred, with nothing to blame yet.
    pub fn suspected(
        summary: String,
        evidence: impl IntoIterator<Item = Evidence>,
        fix: Fix,
    ) -> Self {
        Self {
            confidence: Confidence::Suspected,
            summary,
            evidence: evidence.into_iter().collect(),
            blames: None,
            fix,
        }
    }

    /// Where packets die for a reason that the kernel tells nothing is inferred.
    pub fn confirmed(self) -> Self {
        Self {
            confidence: Confidence::Confirmed,
            ..self
        }
    }

    /// As the walk ends.
    pub fn of(told: Told, summary: String) -> Self {
        let because = told.what;
        Self {
            confidence: Confidence::Confirmed,
            summary,
            evidence: vec![told.evidence],
            blames: told.subject.map(|subject| (subject, Some(because))),
            fix: told.fix,
        }
    }

    pub fn fill(self, finding: &mut Finding) {
        finding.evidence.extend(self.evidence);
        if let Some((subject, because)) = self.blames {
            if let Some(because) = because {
                finding.ties.blame(subject.clone(), because);
            }
            finding.blames(subject);
        }
        finding.fix = self.fix;
    }
}
