//! What of the agent's readings is told, and when: deaths and legs each interval in which there are
//! any, findings at once and each hour while they stand, coverage once a minute, the node where it
//! changes.
use std::time::Duration;

use jiff::Timestamp;
use netdiag_common::loss::DropKey;

use crate::{
    agent::{baseline::Baseline, page::Page, standing::News},
    drops::Drops,
    facts::{Coverage, Who},
    finding,
    legs::Legs,
    model::observation::Observation,
    pipeline::{facts::Facts, scene::Scene},
    record::Record,
    tunnels,
};

const INTERVAL: Duration = Duration::from_secs(15);
const COVERAGE: Duration = Duration::from_secs(60);
/// A table that forgets old rows should still know who is who, and what stands.
const AGAIN: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct Watch {
    drops: Drops,
    /// The reading at which the interval began.
    base: Baseline,
    covered: (u64, Coverage),
    who: (u64, Option<Who>),
    /// When what stands was told of again.
    stood: u64,
    rest: u64,
}

impl Watch {
    pub fn new(scene: &Scene) -> Self {
        let began = scene.run.started;
        Self {
            drops: Drops::default(),
            base: Baseline::nothing(began),
            covered: (began, Coverage::default()),
            who: (began, None),
            stood: began,
            rest: 0,
        }
    }

    /// What a reading has beyond the one before.
    pub fn read(&mut self, facts: &Facts<'_>) {
        self.drops.read(facts);
    }

    /// These rows were taken out of the kernel's table.
    pub fn forget(&mut self, gone: &[DropKey]) {
        self.base.forget(gone);
    }

    pub fn news(&self, scene: &Scene, now: u64, news: &[News]) -> Vec<Record> {
        let time = scene.clock.time(now);
        let each = news.iter();
        each.flat_map(|it| finding::records(it, time)).collect()
    }

    /// What is due with this reading.
    pub fn due(&mut self, scene: &Scene, reading: &Observation, page: &Page) -> Vec<Record> {
        let mut records = Vec::new();
        self.node(scene, reading.now, &mut records);
        if has_passed(self.base.at, reading.now, INTERVAL) {
            self.interval(scene, reading, &mut records);
        }
        self.coverage(scene, reading.now, page, &mut records);
        let time = scene.clock.time(reading.now);
        self.standing(reading.now, time, page, &mut records);
        records
    }

    /// Deaths of the interval that the agent's end cuts short, and the ends of what stands: nobody
    /// would tell of them later.
    pub fn rest(mut self, scene: &Scene, page: &Page) -> Vec<Record> {
        let mut records = self.drops.take(scene.clock);
        records.extend(ends(page, Timestamp::now()));
        records
    }

    fn standing(&mut self, now: u64, time: Timestamp, page: &Page, records: &mut Vec<Record>) {
        if has_passed(self.stood, now, AGAIN) {
            self.stood = now;
            let state = page.state();
            let each = state.standing.iter();
            records.extend(each.map(|it| finding::stands(it, time)));
        }
    }

    fn interval(&mut self, scene: &Scene, reading: &Observation, records: &mut Vec<Record>) {
        let gained = self.base.since(reading);
        self.base = Baseline::new(reading);
        records.extend(self.drops.take(scene.clock));
        let rows = scene.rows(&gained);
        let facts = scene.facts(&rows);
        let legs = Legs::of(&facts);
        self.rest = self.rest.saturating_add(legs.rest);
        records.extend(legs.records);
        records.extend(tunnels::records(&facts, &legs.outers));
    }

    fn node(&mut self, scene: &Scene, now: u64, records: &mut Vec<Record>) {
        let (told, before) = &self.who;
        let who = Who::of(scene);
        if before.as_ref() != Some(&who) || has_passed(*told, now, AGAIN) {
            records.push(who.record(scene.clock.time(now)));
            self.who = (now, Some(who));
        }
    }

    fn coverage(&mut self, scene: &Scene, now: u64, page: &Page, records: &mut Vec<Record>) {
        let coverage = Coverage::of(&page.state(), self.rest);
        let (told, before) = &self.covered;
        if coverage.is_like(before) && !has_passed(*told, now, COVERAGE) {
            return;
        }
        let seconds = now.saturating_sub(*told) / 1_000_000_000;
        let level = scene.run.level.map(|it| it.to_string()).unwrap_or_default();
        records.push(coverage.record(before, seconds, &level, scene.clock.time(now)));
        self.rest = 0;
        self.covered = (now, coverage);
    }
}

fn ends(page: &Page, time: Timestamp) -> Vec<Record> {
    let state = page.state();
    let each = state.standing.iter();
    each.map(|it| finding::ends(it, time)).collect()
}

fn has_passed(since: u64, now: u64, time: Duration) -> bool {
    u128::from(now.saturating_sub(since)) >= time.as_nanos()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        agent::{page::State, standing::Standing},
        model::verdict::{Confidence, Finding, Severity},
    };

    /// A page on which one finding stands.
    fn page() -> Page {
        let mut standing = Standing::new(COVERAGE);
        let summary = "no route".to_owned();
        let finding = Finding::new(
            "no-route",
            Severity::Warning,
            Confidence::Confirmed,
            summary,
        );
        standing.found(Instant::now(), &[finding]);
        Page::new(State::new(10, standing))
    }

    fn states(records: &[Record]) -> Vec<String> {
        let all = records.iter().flat_map(|it| &it.attributes);
        let states = all.filter(|(key, _)| *key == "netdiag.state");
        states.map(|(_, value)| format!("{value:?}")).collect()
    }

    #[test]
    fn what_stands_is_told_of_each_hour_and_ends_with_the_agent() {
        let mut watch = Watch {
            drops: Drops::default(),
            base: Baseline::nothing(0),
            covered: (0, Coverage::default()),
            who: (0, None),
            stood: 0,
            rest: 0,
        };
        let (page, hour) = (page(), 3_600_000_000_000);
        let mut at = |now| {
            let mut records = Vec::new();
            watch.standing(now, Timestamp::UNIX_EPOCH, &page, &mut records);
            states(&records)
        };
        assert_eq!(at(hour - 1).len(), 0, "it was told of when it began");
        let told = at(hour);
        assert!(
            matches!(&told[..], [it] if it.contains("firing")),
            "{told:?}"
        );
        assert_eq!((at(hour + 1).len(), at(hour * 2).len()), (0, 1));
        let told = states(&ends(&page, Timestamp::UNIX_EPOCH));
        assert!(
            matches!(&told[..], [it] if it.contains("resolved")),
            "{told:?}"
        );
    }
}
