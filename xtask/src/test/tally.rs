//! What passed, failed and was skipped, and how a test run ends.
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::sh::tell;

#[derive(Default, Debug)]
pub struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// What was done one after the other, and when it began.
    parts: Vec<(&'static str, Instant)>,
}

impl Tally {
    /// What follows belongs to it, as the time that it takes does.
    pub fn part(&mut self, name: &'static str) {
        self.parts.push((name, Instant::now()));
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
    fn a_parts_time_is_told() {
        let line = took("the lab", Duration::from_secs(754));
        assert_eq!(line, " 12 min 34 s  the lab");
    }
}
