//! Which findings stand: those that were named lately. A fault that is gone is named as long as its
//! packets are in the view; then it stands a while longer, so that one that comes and goes is not
//! withdrawn and named again each time.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    model::verdict::{Finding, PodRef, Scope, Ties},
    series::Workload,
};

/// That more pods suffer is told so often at most.
const SPREADS: Duration = Duration::from_secs(60);

/// A finding as it was named last.
#[derive(Clone, Debug, PartialEq)]
pub struct Stands {
    pub finding: Finding,
    /// Whose packets it takes.
    pub workloads: BTreeSet<Workload>,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Named(Stands),
    /// It is worse or less so, or is known more or less surely.
    Changed(Stands),
    /// It takes packets of more pods.
    Spread(Stands),
    /// It is known better, and has another id since.
    Renamed(Box<Renamed>),
    Withdrawn(Stands),
}

/// One fault, by the id that it had and by the one that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    pub before: Stands,
    pub now: Stands,
}

#[derive(Debug)]
struct Row {
    stands: Stands,
    named: Instant,
    told: Instant,
    /// Those that were told of.
    pods: BTreeSet<PodRef>,
}

#[derive(Debug)]
pub struct Standing {
    hold: Duration,
    by_id: BTreeMap<String, Row>,
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
            let before = self.by_id.remove(&finding.id);
            let (row, told) = match replaced {
                Some(older) => rename(older, stands, now),
                None => follow(before, stands, now),
            };
            news.extend(told);
            self.by_id.insert(finding.id.clone(), row);
        }
        let hold = self.hold;
        let over = |row: &Row| now.duration_since(row.named) >= hold;
        let gone = self.by_id.extract_if(.., |_, row| over(row));
        news.extend(gone.map(|(_, row)| News::Withdrawn(row.stands)));
        news
    }

    /// Takes out what this one tells better: the same cause for the same pods, whose subject is known
    /// now, say, and which is named no more as it was.
    fn replaced(&mut self, named: &BTreeSet<&str>, by: &Stands) -> Option<Row> {
        let is_older = |(id, row): &(&String, &Row)| {
            !named.contains(id.as_str())
                && row.stands.finding.cause == by.finding.cause
                && row.stands.workloads.is_subset(&by.workloads)
        };
        let older = self.by_id.iter().find(is_older).map(|(id, _)| id.clone())?;
        self.by_id.remove(&older)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stands> {
        self.by_id.values().map(|row| &row.stands)
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// The row that takes the place of an older one.
fn rename(older: Row, stands: Stands, now: Instant) -> (Row, Option<News>) {
    let row = Row::new(stands, now);
    let renamed = Renamed {
        before: older.stands,
        now: row.stands.clone(),
    };
    (row, Some(News::Renamed(Box::new(renamed))))
}

/// The row as it is now, and what is new in it.
fn follow(before: Option<Row>, stands: Stands, now: Instant) -> (Row, Option<News>) {
    let mut row = Row::new(stands, now);
    let Some(before) = before else {
        let news = News::Named(row.stands.clone());
        return (row, Some(news));
    };
    let rank = |it: &Stands| (it.finding.severity, it.finding.confidence);
    if rank(&before.stands) != rank(&row.stands) {
        let news = News::Changed(row.stands.clone());
        return (row, Some(news));
    }
    let spread = !row.pods.is_subset(&before.pods);
    if spread && now.duration_since(before.told) >= SPREADS {
        let news = News::Spread(row.stands.clone());
        return (row, Some(news));
    }
    (row.told, row.pods) = (before.told, before.pods);
    (row, None)
}

impl Row {
    fn new(stands: Stands, now: Instant) -> Self {
        Self {
            pods: stands.finding.pods.iter().cloned().collect(),
            named: now,
            told: now,
            stands,
        }
    }
}

impl Stands {
    /// What stands where such a finding does.
    pub fn of(finding: &Finding) -> Self {
        let mut workloads: BTreeSet<Workload> = finding.pods.iter().map(Workload::of).collect();
        if workloads.is_empty() {
            workloads.insert(Workload::default());
        }
        // What joins findings to each other is done with, and can be of thousands of flows.
        let finding = Finding {
            about: Vec::new(),
            scope: Scope::default(),
            ties: Ties::default(),
            ..finding.clone()
        };
        Self { finding, workloads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::{Confidence, Severity};

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
        let [News::Renamed(renamed)] = news.as_slice() else {
            panic!("who holds the old id is to hear of it: {news:?}");
        };
        let Renamed { before, now: by } = &**renamed;
        let ids = (before.finding.id.as_str(), by.finding.id.as_str());
        assert_eq!(
            (ids, standing.iter().count()),
            (("a", "a of b"), 1),
            "{news:?}"
        );
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
        assert!(
            matches!(news.as_slice(), [News::Changed(it)] if it.finding.severity == Severity::Critical)
        );
        assert_eq!(standing.iter().count(), 1);
    }

    #[test]
    fn more_pods_are_told_of_once_a_while() {
        let (mut standing, now) = (Standing::new(SPREADS * 9), Instant::now());
        let of = |pods: usize| {
            let pod = |n: usize| PodRef {
                name: Some(format!("cart-{n}")),
                ..PodRef::default()
            };
            Finding {
                pods: (0..pods).map(pod).collect(),
                ..finding("a", Severity::Warning)
            }
        };
        standing.found(now, &[of(1)]);
        assert_eq!(standing.found(now + SPREADS / 2, &[of(2)]), []);
        let news = standing.found(now + SPREADS, &[of(3)]);
        assert!(matches!(news.as_slice(), [News::Spread(it)] if it.finding.pods.len() == 3));
        assert_eq!(standing.found(now + SPREADS * 3, &[of(2)]), [], "fewer");
    }
}
