//! P7, P8 and P10: what netdiag's own process takes, and whether it tells all that was dropped.
use serde_json::Value;

use super::levels::Levels;
use super::row::{Bound, Row, State, mib, percent};
use crate::bench::lines::number;

const MIB: f64 = 1048576.0;
const NOT_RUN: &str = "netdiag was not measured so";
/// What P7 speaks of; a storm may be a tenth smaller.
const STORM: f64 = 300_000.0;
const NEARLY: f64 = 0.9;
/// What P8 speaks of.
const FLOWS: f64 = 1e6;
const DROPS: f64 = 1e7;
/// Possible processors that P8's budget of maps is for, and what each beyond adds.
const USUAL_CPUS: f64 = 64.0;
const BYTES_PER_CPU: f64 = 65536.0;
/// What P10 wants to be exact.
const STORMS: f64 = 100.0;

pub fn p7(document: &Value, levels: &Levels) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, judged) in levels.all() {
        let bound = |most| Bound::AtMost(most).held(judged);
        let at = |path: &str| number(document, &format!("own/{name}/storm/{path}"));
        let row = Row::new("P7", "netdiag's process in a drop storm").of(name);
        let row = row.single(bound(0.02), &percent, at("cpu_share"), NOT_RUN);
        let rate = at("sent").zip(at("seconds"));
        rows.push(match rate {
            Some((sent, seconds)) => at_rate(row, sent / seconds),
            None => row,
        });
        let idle = number(document, &format!("own/{name}/idle/cpu_share"));
        let row = Row::new("P7", "netdiag's process, idle").of(name);
        rows.push(row.single(bound(0.003), &percent, idle, NOT_RUN));
    }
    or_none(rows, "P7", "netdiag's process")
}

/// A smaller storm proves nothing of a larger one.
fn at_rate(row: Row, rate: f64) -> Row {
    let row = row.noted(&format!(" at {:.2} M drops/s", rate / 1e6));
    if row.state == State::Met && rate < STORM * NEARLY {
        return row.not_measured("this machine made fewer than 0.3 M drops/s");
    }
    row
}

pub fn p8(document: &Value, levels: &Levels) -> Vec<Row> {
    let cpus = number(document, "about/possible_cpus").unwrap_or(1.0);
    let budget = 16.0 * MIB + (cpus - USUAL_CPUS).max(0.0) * BYTES_PER_CPU;
    let mut rows = Vec::new();
    for (name, judged) in levels.all() {
        let at = |path: &str| number(document, &format!("own/{name}/{path}"));
        let bound = |most| Bound::AtMost(most).held(judged);
        let row = |what: &str| Row::new("P8", what).of(name);
        let idle = row("resident memory, idle");
        rows.push(idle.single(bound(16.0 * MIB), &mib, at("idle/rss_bytes"), NOT_RUN));
        if let (Some(flows), Some(sent)) = (at("flooded/flows"), at("flooded/sent")) {
            let storm = row("resident memory after 10 M drops over 1 M flows");
            let storm = storm.single(bound(32.0 * MIB), &mib, at("flooded/rss_bytes"), NOT_RUN);
            rows.push(after(storm, flows, sent));
        }
        let maps = row(&format!("maps for {cpus:.0} possible CPUs"));
        rows.push(maps.single(bound(budget), &mib, at("idle/map_bytes"), NOT_RUN));
    }
    or_none(rows, "P8", "resident memory and maps")
}

fn after(row: Row, flows: f64, sent: f64) -> Row {
    if row.state == State::Missed || (flows >= FLOWS && sent >= DROPS) {
        return row;
    }
    let (drops, flows) = (sent / 1e6, flows / 1e6);
    row.not_measured(format!("only {drops:.1} M drops over {flows:.2} M flows"))
}

pub fn p10(document: &Value, levels: &Levels) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, _) in levels.all() {
        let row = Row::new("P10", "storms of which every drop was told").of(name);
        let row = row.goal("100 of 100");
        let at = |path: &str| number(document, &format!("identity/{name}/{path}"));
        let (Some(storms), Some(exact)) = (at("storms"), at("exact")) else {
            rows.push(row.not_measured(NOT_RUN));
            continue;
        };
        let largest = at("largest_difference").unwrap_or(f64::NAN);
        let (sent, lost) = (at("sent").unwrap_or(0.0), at("lost").unwrap_or(0.0));
        let state = match (exact < storms, storms >= STORMS) {
            (true, _) => State::Missed,
            (false, true) => State::Met,
            _ => State::NotMeasured("too few storms: --long makes a hundred".to_owned()),
        };
        rows.push(Row {
            value: format!("{exact:.0} of {storms:.0}"),
            spread: format!("{sent:.0} drops, at most {largest:.0} apart; {lost:.0} samples or drops named as lost"),
            state,
            ..row
        });
    }
    or_none(rows, "P10", "drops that were told")
}

fn or_none(rows: Vec<Row>, id: &'static str, what: &str) -> Vec<Row> {
    match rows.is_empty() {
        true => vec![Row::new(id, what).not_measured(NOT_RUN)],
        false => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, row};
    use super::*;

    #[test]
    fn a_small_storm_proves_nothing() {
        let mut document = document();
        let storm = row(&document, "P7", "storm");
        assert_eq!(storm.state, State::Met);
        assert_eq!(storm.value, "1.00 % of a core at 0.30 M drops/s");
        assert_eq!(row(&document, "P7", "idle").state, State::Met);
        document["own"]["netdiag"]["storm"]["sent"] = 500_000.into();
        let small = row(&document, "P7", "storm");
        assert!(matches!(small.state, State::NotMeasured(_)), "{small:?}");
    }

    #[test]
    fn memory_has_a_budget() {
        let mut document = document();
        assert_eq!(row(&document, "P8", "idle").state, State::Met);
        assert_eq!(row(&document, "P8", "10 M drops").state, State::Missed);
        assert_eq!(row(&document, "P8", "maps").goal, "≤ 16.0 MiB");
        document["about"]["possible_cpus"] = 128.into();
        assert_eq!(row(&document, "P8", "maps").goal, "≤ 20.0 MiB");
        let flooded = &mut document["own"]["netdiag"]["flooded"];
        flooded["rss_bytes"] = (20 << 20).into();
        assert_eq!(row(&document, "P8", "10 M drops").state, State::Met);
        document["own"]["netdiag"]["flooded"]["sent"] = 1000.into();
        let short = row(&document, "P8", "10 M drops").state;
        assert!(matches!(short, State::NotMeasured(_)));
    }

    #[test]
    fn ten_storms_are_not_a_hundred() {
        let mut document = document();
        let some = row(&document, "P10", "storms");
        assert_eq!(some.value, "10 of 10");
        assert!(matches!(some.state, State::NotMeasured(_)));
        let own = &mut document["identity"]["netdiag"];
        (own["storms"], own["exact"]) = (100.into(), 100.into());
        assert_eq!(row(&document, "P10", "storms").state, State::Met);
        document["identity"]["netdiag"]["exact"] = 99.into();
        assert_eq!(row(&document, "P10", "storms").state, State::Missed);
    }
}
