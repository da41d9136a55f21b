//! What the runs came to as JUnit XML, which CI systems read.
use std::time::Duration;

use anyhow::Result;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};

use super::Outcome;
use crate::{
    cli::junit::{self, failure},
    lab::judge::named,
    model::verdict::Verdict,
};

#[derive(Default)]
pub struct Junit {
    cases: Vec<TestCase>,
}

impl Junit {
    /// One run: `name` is its scenario, `title` says with what it was run.
    pub fn add(&mut self, name: &str, title: &str, outcome: &Outcome) {
        let status = match outcome {
            Outcome::Verdict(verdict) => judged(verdict),
            Outcome::Skipped(why) => junit::skipped(why),
            Outcome::Failed(error) => failure(NonSuccessKind::Error, &format!("{error:#}")),
        };
        let mut case = junit::case(name, title, status);
        if let Outcome::Verdict(verdict) = outcome {
            let time = Duration::try_from_secs_f64(verdict.duration);
            case.set_time(time.unwrap_or_default());
        }
        self.cases.push(case);
    }

    pub fn text(self) -> Result<String> {
        junit::text("netdiag lab", self.cases)
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
