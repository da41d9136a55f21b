//! What passed, failed and was skipped, and how a test run ends.
use std::process::ExitCode;

use crate::sh::tell;

#[derive(Default, Debug)]
pub struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
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

    /// Prints what needs a reader, then the counts alone on the last line: CI reads that.
    pub fn close(self) -> ExitCode {
        tell("");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_what_ci_reads() {
        let mut tally = Tally::default();
        tally.add(2, vec!["a: b".to_owned()], vec!["c: needs IPIP".to_owned()]);
        assert_eq!(tally.counts(), "2 passed, 1 failed, 1 skipped");
    }
}
