//! What an audit comes to as JUnit XML: a case for each finding and for what was not checked.
use anyhow::Result;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};

use crate::{
    cli::junit,
    model::verdict::{Finding, NotChecked, Severity, Verdict},
    output::clean,
};

pub fn text(verdict: &Verdict) -> Result<String> {
    let node = &verdict.node;
    let found = verdict.findings.iter().map(|it| found(node, it));
    let left = verdict.not_checked.iter().map(|it| left(node, it));
    let mut cases: Vec<TestCase> = found.collect();
    if cases.is_empty() {
        let status = TestCaseStatus::success();
        cases.push(junit::case(node, "no cause is named", status));
    }
    cases.extend(left);
    junit::text("netdiag audit", cases)
}

/// Findings of severity info are told, and fail nothing.
fn found(node: &str, finding: &Finding) -> TestCase {
    let evidence = finding.evidence.iter().map(|line| clean(&line.text));
    let commands = finding.fix.commands.iter();
    let commands = commands.map(|command| format!("$ {}", clean(&command.to_string())));
    let lines = std::iter::once(clean(&finding.summary)).chain(evidence);
    let lines = lines.chain([clean(&finding.fix.summary)]).chain(commands);
    let lines: Vec<String> = lines.collect();
    let fails = finding.severity > Severity::Info;
    let status = match fails {
        true => junit::failure(NonSuccessKind::Failure, &finding.summary),
        false => TestCaseStatus::success(),
    };
    let mut case = junit::case(node, &format!("{} {}", finding.cause, finding.id), status);
    case.set_system_out(lines.join("\n"));
    case
}

fn left(node: &str, row: &NotChecked) -> TestCase {
    junit::case(node, &row.what, junit::skipped(&row.why))
}
