//! Which findings stand: those that were named lately. A fault that is gone is named as long as its
//! packets are in the view; then it stands a while longer, so that one that comes and goes is not
//! withdrawn and named again each time.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    model::verdict::{Confidence, Finding, Severity},
    series::Workload,
};

/// A finding as it was named last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    pub cause: String,
    pub severity: Severity,
    pub confidence: Confidence,
    pub summary: String,
    /// The cause behind it, where it is no root.
    pub consequence_of: Option<String>,
    /// Whose packets it takes.
    pub workloads: BTreeSet<Workload>,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Named(Stands),
    Withdrawn(Stands),
}

#[derive(Debug)]
pub struct Standing {
    hold: Duration,
    by_id: BTreeMap<String, (Stands, Instant)>,
}

impl Standing {
    /// Who is not named for so long stands no more.
    pub fn new(hold: Duration) -> Self {
        Self {
            hold,
            by_id: BTreeMap::new(),
        }
    }

    /// Takes what was found just now.
    pub fn found(&mut self, now: Instant, findings: &[Finding]) -> Vec<News> {
        let mut news = Vec::new();
        let named: BTreeSet<&str> = findings.iter().map(|it| it.id.as_str()).collect();
        for finding in findings {
            let stands = Stands::of(finding);
            let replaced = self.replaced(&named, &stands);
            let before = self.by_id.insert(finding.id.clone(), (stands.clone(), now));
            let before = before.or(replaced);
            let rank = |it: &Stands| (it.severity, it.confidence);
            if before.is_none_or(|(before, _)| rank(&before) != rank(&stands)) {
                news.push(News::Named(stands));
            }
        }
        let hold = self.hold;
        let over = |(_, named): &(Stands, Instant)| now.duration_since(*named) >= hold;
        let gone = self.by_id.extract_if(.., |_, row| over(row));
        news.extend(gone.map(|(_, (stands, _))| News::Withdrawn(stands)));
        news
    }

    /// Takes out what this one tells better: the same cause for the same pods, whose subject is known
    /// now, say, and which is named no more as it was.
    fn replaced(&mut self, named: &BTreeSet<&str>, by: &Stands) -> Option<(Stands, Instant)> {
        let is_older = |(id, (it, _)): &(&String, &(Stands, Instant))| {
            !named.contains(id.as_str())
                && it.cause == by.cause
                && it.workloads.is_subset(&by.workloads)
        };
        let older = self.by_id.iter().find(is_older).map(|(id, _)| id.clone())?;
        self.by_id.remove(&older)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stands> {
        self.by_id.values().map(|(stands, _)| stands)
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Stands {
    fn of(finding: &Finding) -> Self {
        let mut workloads: BTreeSet<Workload> = finding.pods.iter().map(Workload::of).collect();
        if workloads.is_empty() {
            workloads.insert(Workload::default());
        }
        Self {
            cause: finding.cause.clone(),
            severity: finding.severity,
            confidence: finding.confidence,
            summary: finding.summary.clone(),
            consequence_of: finding.consequence_of.clone(),
            workloads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn finding(id: &str, severity: Severity) -> Finding {
        let summary = "it is gone".to_owned();
        Finding {
            id: id.into(),
            ..Finding::new("no-route", severity, Confidence::Confirmed, summary)
        }
    }

    #[test]
    fn who_is_not_named_any_more_is_withdrawn_in_time() {
        let hold = Duration::from_secs(60);
        let (mut standing, start) = (Standing::new(hold), Instant::now());
        let found = [finding("a", Severity::Warning)];
        assert_eq!(standing.found(start, &found).len(), 1);
        assert_eq!(standing.found(start + hold / 2, &found), [], "it is known");
        assert_eq!(standing.found(start + hold, &[]), []);
        assert!(!standing.is_empty());
        let news = standing.found(start + hold + hold / 2, &[]);
        assert!(matches!(news.as_slice(), [News::Withdrawn(_)]), "{news:?}");
        assert!(standing.is_empty());
    }

    #[test]
    fn who_is_known_better_takes_the_place_of_the_other() {
        let (mut standing, now) = (Standing::new(Duration::from_secs(60)), Instant::now());
        standing.found(now, &[finding("a", Severity::Warning)]);
        let news = standing.found(now, &[finding("a of b", Severity::Warning)]);
        assert_eq!((news, standing.iter().count()), (vec![], 1));
        let both = [
            finding("a of b", Severity::Warning),
            finding("a of c", Severity::Warning),
        ];
        assert_eq!(standing.found(now, &both).len(), 1, "another one");
        assert_eq!(standing.iter().count(), 2);
    }

    #[test]
    fn who_becomes_worse_is_named_again() {
        let (mut standing, now) = (Standing::new(Duration::from_secs(60)), Instant::now());
        standing.found(now, &[finding("a", Severity::Warning)]);
        let news = standing.found(now, &[finding("a", Severity::Critical)]);
        assert!(matches!(news.as_slice(), [News::Named(it)] if it.severity == Severity::Critical));
        assert_eq!(standing.iter().count(), 1);
    }
}
