//! JUnit XML, which CI systems read.
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::output;

pub fn text(suite: &str, cases: Vec<TestCase>) -> Result<String> {
    let mut suite = TestSuite::new(suite);
    suite.add_test_cases(cases);
    let mut report = Report::new("netdiag");
    report.add_test_suite(suite);
    report.to_string().context("cannot write JUnit XML")
}

pub fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(output::clean(name), status);
    case.set_classname(output::clean(class));
    case
}

pub fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(output::clean(why));
    status
}

pub fn failure(kind: NonSuccessKind, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(output::clean(text));
    status
}
