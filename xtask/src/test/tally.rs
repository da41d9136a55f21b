//! What passed, failed and was skipped, and how a test run ends.
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::sh::{say, tell};

#[derive(Default, Debug)]
pub struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// What was done one after the other, and when it began.
    parts: Vec<(&'static str, Instant)>,
    /// After which nothing that may be left out is begun.
    limit: Option<Duration>,
}

impl Tally {
    /// One that has so much time, where somebody ends it who then counts nothing.
    pub fn within(limit: Option<Duration>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// What follows belongs to it, as the time that it takes does.
    pub fn part(&mut self, name: &'static str) {
        let now = Instant::now();
        let begun = self.parts.first().map_or(now, |(_, begun)| *begun);
        say(&format!(
            "after{}",
            took(name, now.saturating_duration_since(begun))
        ));
        self.parts.push((name, now));
    }

    /// Whether there is time for a part that may be left out; it is skipped where there is none.
    pub fn has_time(&mut self, name: &'static str) -> bool {
        self.part(name);
        let (Some(limit), Some((_, begun))) = (self.limit, self.parts.first()) else {
            return true;
        };
        if begun.elapsed() < limit {
            return true;
        }
        let minutes = limit.as_secs() / 60;
        self.skip(name, &format!("{minutes} minutes had passed before it"));
        false
    }

    pub fn pass(&mut self, name: &str) {
        tell(&format!("pass  {name}"));
        self.passed += 1;
    }

    pub fn fail(&mut self, name: &str, why: &str) {
        tell(&format!("FAIL  {name}: {why}"));
        self.failed.push(format!("{name}: {why}"));
    }

    pub fn skip(&mut self, name: &str, why: &str) {
        tell(&format!("skip  {name}: {why}"));
        self.skipped.push(format!("{name}: {why}"));
    }

    /// Counts of a test harness that prints its own names.
    pub fn add(&mut self, passed: usize, failed: Vec<String>, skipped: Vec<String>) {
        self.passed += passed;
        self.failed.extend(failed);
        self.skipped.extend(skipped);
    }

    /// What another one counted, and has told of.
    pub fn merge(&mut self, other: Self) {
        self.add(other.passed, other.failed, other.skipped);
    }

    /// Prints what needs a reader, then the counts alone on the last line: CI reads that.
    pub fn close(self) -> ExitCode {
        tell("");
        let ends = self.parts.iter().skip(1).map(|(_, begun)| *begun);
        let ends = ends.chain([Instant::now()]);
        for ((name, begun), end) in self.parts.iter().zip(ends) {
            tell(&took(name, end.saturating_duration_since(*begun)));
        }
        for name in &self.skipped {
            tell(&format!("skipped: {name}"));
        }
        for name in &self.failed {
            tell(&format!("failed: {name}"));
        }
        tell(&self.counts());
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    pub fn counts(&self) -> String {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        format!("{} passed, {failed} failed, {skipped} skipped", self.passed)
    }
}

fn took(name: &str, time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:>3} min {:>2} s  {name}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_what_ci_reads() {
        let mut tally = Tally::default();
        tally.add(2, vec!["a: b".to_owned()], vec!["c: needs IPIP".to_owned()]);
        assert_eq!(tally.counts(), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_is_late_is_skipped_and_told() {
        let mut tally = Tally::within(Some(Duration::ZERO));
        assert!(!tally.has_time("pairs"));
        assert_eq!(tally.counts(), "0 passed, 0 failed, 1 skipped");
        let mut tally = Tally::within(Some(Duration::from_secs(60)));
        assert!(tally.has_time("pairs"));
        assert!(Tally::default().has_time("pairs"));
    }

    #[test]
    fn a_parts_time_is_told() {
        let line = took("the lab", Duration::from_secs(754));
        assert_eq!(line, " 12 min 34 s  the lab");
    }
}
