//! Whether a verdict is the one that a scenario wants.
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use super::case::{Case, Hidden};
use super::plan::Plan;
use super::state::Options;
use crate::model::verdict::{
    CannotTell, Confidence, Finding, FlowRef, LabResult, NamedChange, Outcome, Severity, Verdict,
};

/// The root causes that are bad enough to be named.
pub fn named(verdict: &Verdict) -> BTreeSet<&str> {
    let roots = verdict.findings.iter().filter(|finding| {
        finding.severity >= Severity::Warning && finding.consequence_of.is_none()
    });
    roots.map(|finding| finding.cause.as_str()).collect()
}

/// The change that a root names which is nearest to that time.
pub fn change(verdict: &Verdict, begun: Timestamp) -> NamedChange {
    let bad = |f: &&Finding| f.severity >= Severity::Warning && f.consequence_of.is_none();
    let lines = verdict
        .findings
        .iter()
        .filter(bad)
        .flat_map(|f| &f.evidence);
    let timed = lines.filter_map(|line| {
        let time: Timestamp = line.time.as_deref()?.parse().ok()?;
        Some((time.duration_since(begun).as_secs_f64(), &line.text))
    });
    let nearest = timed.min_by(|(a, _), (b, _)| a.abs().total_cmp(&b.abs()));
    NamedChange {
        text: nearest.map(|(_, text)| text.clone()),
        off: nearest.map(|(off, _)| off),
    }
}

/// What the run came to; its fault began at that time.
pub fn judge(case: Case, plan: &Plan, verdict: &Verdict, begun: Timestamp) -> LabResult {
    let options = &plan.options;
    let asked = match options.healthy {
        true => Vec::new(),
        false => case.translated(plan),
    };
    let expected = case.expected(options.healthy);
    let hidden = case.hidden.filter(|_| !options.healthy);
    // Numbers alone name some causes too; a scenario is about what traffic shows.
    let met = |f: &Finding| f.confidence == Confidence::Confirmed || !expected.contains(&f.cause);
    let failing: Vec<&str> = verdict
        .unexplained
        .iter()
        .filter(|u| u.here)
        .map(|u| u.what.as_str())
        .collect();
    let checks = [
        (
            named(verdict) == expected.iter().map(String::as_str).collect(),
            "other causes than these",
        ),
        (
            verdict.findings.iter().all(met),
            "a cause that no traffic confirms",
        ),
        (
            chained(case, options, verdict),
            "what follows from the cause does not stand below it",
        ),
        (
            hidden.is_none_or(|it| stands(it, &verdict.findings, &verdict.cannot_tell)),
            "what the other fault hides is neither below it nor undecided",
        ),
        (is_once(verdict), "a cause is named twice"),
        (failing.is_empty(), "unexplained traffic"),
        (
            joined(&asked, verdict),
            "a translated flow is not told once with its legs",
        ),
        (
            verdict.verdict != Outcome::Incomplete,
            "not enough was seen for a verdict",
        ),
    ];
    let wrong = checks.iter().filter(|(right, _)| !right);
    let mut wrong: Vec<String> = wrong.map(|(_, what)| (*what).to_owned()).collect();
    wrong.extend(failing.into_iter().map(str::to_owned));
    if verdict.verdict == Outcome::Incomplete {
        wrong.extend(unseen(verdict));
    }
    let passed = wrong.is_empty();
    let when = verdict
        .findings
        .iter()
        .filter(|finding| expected.contains(&finding.cause));
    let first = when
        .filter_map(|finding| finding.named_at.as_deref()?.parse::<Timestamp>().ok())
        .min();
    LabResult {
        scenario: case.first.name.to_owned(),
        with: case.second.map(|it| it.name.to_owned()),
        expected,
        hidden: hidden.map(|it| it.scenario.name.to_owned()),
        passed,
        commands: Vec::new(),
        fixed: None,
        change: None,
        // Numbers alone may name it before the traffic does.
        named_after: first.map(|time| time.duration_since(begun).as_secs_f64().max(0.0)),
        wrong,
        ways: Vec::new(),
    }
}

/// What was not seen, and what was too much to see.
fn unseen(verdict: &Verdict) -> impl Iterator<Item = String> {
    let seen = &verdict.observer;
    let lost = [
        ("lost events", seen.lost),
        ("overflowed flows", seen.overflowed_flows),
        ("unkept hops", seen.unkept),
    ];
    let lost = lost.into_iter().filter(|(_, count)| *count > 0);
    let unchecked = verdict.not_checked.iter();
    let unchecked = unchecked.map(|it| format!("{}: {}", it.what, it.why));
    let undecided = verdict.cannot_tell.iter();
    let undecided = undecided.map(|it| format!("undecided: {}", it.causes.join(", ")));
    let lost = lost.map(|(what, count)| format!("{count} {what}"));
    unchecked.chain(undecided).chain(lost)
}

/// Whether what follows from the root causes was found, and hung below them.
fn chained(case: Case, options: &Options, verdict: &Verdict) -> bool {
    let below = |cause: &'static str| {
        let mut findings = verdict.findings.iter();
        findings.any(|f| f.cause == cause && f.consequence_of.is_some())
    };
    options.healthy || case.leads_to().all(below)
}

/// Whether what another fault hides was found below it or left undecided: as a root it would be
/// one too many.
fn stands(hidden: Hidden, findings: &[Finding], undecided: &[CannotTell]) -> bool {
    let is = |cause: &String| hidden.found_as.contains(&cause.as_str());
    let mut below = findings.iter().filter(|f| f.consequence_of.is_some());
    let mut causes = undecided.iter().flat_map(|row| &row.causes);
    below.any(|f| is(&f.cause)) || causes.any(is)
}

/// Whether one finding tells each cause.
fn is_once(verdict: &Verdict) -> bool {
    let bad = |f: &&Finding| f.severity >= Severity::Warning && f.consequence_of.is_none();
    verdict.findings.iter().filter(bad).count() == named(verdict).len()
}

/// Whether each of these flows is told once with its legs, and no leg by itself. One connection may be
/// under way when the last reading is made: its first packet was seen, and not where it was sent on.
fn joined(asked: &[(IpAddr, SocketAddr)], verdict: &Verdict) -> bool {
    let flows: Vec<&FlowRef> = verdict.findings.iter().flat_map(|f| &f.flows).collect();
    let is = |f: &&FlowRef, (client, server): &(IpAddr, SocketAddr)| {
        let source = f.source.parse::<SocketAddr>().map(|s| s.ip());
        let source = source.or_else(|_| f.source.parse());
        source.is_ok_and(|s| s == *client) && f.destination == server.to_string()
    };
    let told = |of: &(IpAddr, SocketAddr)| {
        let rows = flows.iter().filter(|f| is(f, of));
        let (whole, begun): (Vec<&FlowRef>, Vec<&FlowRef>) =
            rows.copied().partition(|f| !f.legs.is_empty());
        !whole.is_empty() && begun.len() <= 1
    };
    let alone = |f: &&FlowRef| {
        let ends = (&f.source, &f.destination);
        let mut legs = flows.iter().flat_map(|f| &f.legs);
        f.legs.is_empty() && legs.any(|l| (&l.source, &l.destination) == ends)
    };
    asked.iter().all(told) && !flows.iter().any(alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    #[test]
    fn what_is_hidden_stands_below_or_stays_undecided() {
        let hidden = Hidden {
            scenario: scenarios::find("sidecar-blocked").expect("a scenario"),
            found_as: &["sidecar-blocked"],
        };
        let mut finding = Finding::new(
            "sidecar-blocked",
            Severity::Critical,
            Confidence::Confirmed,
            String::new(),
        );
        let undecided = |cause: &str| CannotTell {
            causes: vec!["no-route".to_owned(), cause.to_owned()],
            what: String::new(),
            why: String::new(),
            flows: Vec::new(),
            pods: Vec::new(),
            node: None,
        };
        assert!(!stands(hidden, &[], &[]));
        assert!(!stands(
            hidden,
            &[finding.clone()],
            &[undecided("dns-unreachable")]
        ));
        assert!(stands(hidden, &[], &[undecided("sidecar-blocked")]));
        finding.consequence_of = Some("no-route".to_owned());
        assert!(stands(hidden, &[finding.clone()], &[]));
        finding.cause = "dns-unreachable".to_owned();
        assert!(!stands(hidden, &[finding], &[]));
    }
}
