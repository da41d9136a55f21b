//! What the runs came to as JUnit XML, which CI systems read.
use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Outcome;
use crate::lab::judge::named;
use crate::{model::verdict::Verdict, output};

#[derive(Default)]
pub struct Junit {
    cases: Vec<TestCase>,
}

impl Junit {
    /// One run: `name` is its scenario, `title` says with what it was run.
    pub fn add(&mut self, name: &str, title: &str, outcome: &Outcome) {
        let status = match outcome {
            Outcome::Verdict(verdict) => judged(verdict),
            Outcome::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(output::clean(why));
                status
            }
            Outcome::Failed(error) => failure(NonSuccessKind::Error, &format!("{error:#}")),
        };
        let mut case = TestCase::new(title, status);
        case.set_classname(name);
        if let Outcome::Verdict(verdict) = outcome {
            let time = Duration::try_from_secs_f64(verdict.duration);
            case.set_time(time.unwrap_or_default());
        }
        self.cases.push(case);
    }

    pub fn text(self) -> Result<String> {
        let mut suite = TestSuite::new("netdiag lab");
        suite.add_test_cases(self.cases);
        let mut report = Report::new("netdiag");
        report.add_test_suite(suite);
        report.to_string().context("cannot write JUnit XML")
    }
}

fn judged(verdict: &Verdict) -> TestCaseStatus {
    match &verdict.lab {
        Some(lab) if lab.passed => TestCaseStatus::success(),
        lab => {
            let expected = lab.as_ref().map(|lab| lab.expected.join(" "));
            let names: Vec<_> = named(verdict).into_iter().collect();
            let mut text = format!(
                "expected [{}], named [{}]",
                expected.unwrap_or_default(),
                names.join(" ")
            );
            for it in lab.iter().flat_map(|lab| &lab.commands) {
                if let Some(why) = &it.failure {
                    text.push_str(&format!("; {}: {why}", it.command));
                }
            }
            failure(NonSuccessKind::Failure, &text)
        }
    }
}

fn failure(kind: NonSuccessKind, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(output::clean(text));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_a_case() {
        let mut junit = Junit::default();
        let skipped = Outcome::Skipped("needs \"ipip\" <tunl0>".into());
        junit.add("ipip-mtu-too-large", "seed 1", &skipped);
        let failed = Outcome::Failed(anyhow::anyhow!("no veth"));
        junit.add("healthy", "seed 2", &failed);
        let text = junit.text().expect("XML");
        for part in [
            "tests=\"2\"",
            "<skipped",
            "&quot;ipip&quot;",
            "errors=\"1\"",
            "no veth",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
