//! P2 to P5: throughput and CPU under load, beside nothing attached.
use serde_json::Value;

use super::levels::Levels;
use super::row::{Bound, Row, State, fine, plain};
use crate::bench::stats::Spread;

const NO_SAMPLE: &str = "no round has it beside nothing";
const PRINTING: &str = "bpftrace printing";

/// A row of each level; `bound` is told whether it is light.
fn each(
    document: &Value,
    levels: &Levels,
    (id, what, path): (&'static str, &str, &str),
    bound: impl Fn(bool) -> Bound,
) -> Vec<Row> {
    let row = |(name, judged): (&str, bool)| {
        let value = Spread::at(document, &format!("attached/{name}/{path}"));
        let bound = bound(levels.is_light(name)).held(judged);
        Row::new(id, what)
            .of(name)
            .judged(bound, &fine, value, NO_SAMPLE)
    };
    let rows: Vec<_> = levels.all().into_iter().map(row).collect();
    match rows.is_empty() {
        true => vec![Row::new(id, what).not_measured("netdiag was not measured")],
        false => rows,
    }
}

pub fn p2(document: &Value, levels: &Levels) -> Vec<Row> {
    let rate = |light| Bound::AtLeast(if light { 0.98 } else { 0.97 });
    let mut rows = each(
        document,
        levels,
        ("P2", "rate of 64-byte UDP", "udp/rate"),
        rate,
    );
    let cpu = ("P2", "CPU per packet", "udp/cpu");
    rows.extend(each(document, levels, cpu, |_| Bound::AtMost(1.03)));
    rows
}

/// By the whole machine's time: TCP's is spread over many threads.
pub fn p3(document: &Value, levels: &Levels) -> Vec<Row> {
    let cpu = ("P3", "CPU per byte of TCP", "tcp/busy");
    each(document, levels, cpu, |_| Bound::AtMost(1.03))
}

pub fn p4(document: &Value, levels: &Levels) -> Vec<Row> {
    let storm = (
        "P4",
        "rate of a drop storm, counted with full keys",
        "storm/rate",
    );
    let mut rows = each(document, levels, storm, |_| Bound::AtLeast(0.96));
    let record = Row::new("P4", "rate of a drop storm with a record of every drop");
    let why = "netdiag has no option that records every drop";
    rows.push(record.goal("≥ 0.920").not_measured(why));
    rows
}

pub fn p5(document: &Value, levels: &Levels) -> Vec<Row> {
    let lost = |name: &str| {
        let rate = Spread::at(document, &format!("attached/{name}/storm/rate"));
        rate.map(|it| it.map(|rate| 1.0 - rate))
    };
    let what = "throughput that bpftrace loses by printing drops, of what netdiag loses";
    let row = |(name, judged): (&str, bool)| {
        let row = Row::new("P5", what).of(name).goal("≥ 10");
        let Some(bpftrace) = lost(PRINTING) else {
            return row.not_measured("bpftrace was not measured");
        };
        let Some(own) = lost(name) else {
            return row.not_measured(NO_SAMPLE);
        };
        compare(row, judged, bpftrace, own)
    };
    let mut rows: Vec<_> = levels.all().into_iter().map(row).collect();
    let nettrace = Row::new("P5", "the same of nettrace --drop").goal("≥ 15");
    rows.push(nettrace.not_measured("nettrace is no package of Debian"));
    rows
}

fn compare(row: Row, judged: bool, bpftrace: Spread, own: Spread) -> Row {
    let told = format!("bpftrace {:.3}, netdiag {:.3}", bpftrace.median, own.median);
    let row = row.spread(told);
    if own.median <= 0.0 {
        let value = "netdiag loses nothing that can be told".to_owned();
        let state = if judged { State::Met } else { State::Shown };
        return Row {
            value,
            state,
            ..row
        };
    }
    let times = bpftrace.median / own.median;
    let state = match (judged, times >= 10.0) {
        (false, _) => State::Shown,
        (true, true) => State::Met,
        (true, false) => State::Missed,
    };
    let value = format!("{} ×", plain(times));
    Row {
        value,
        state,
        ..row
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, row};
    use super::*;

    #[test]
    fn a_rate_is_held_against_its_goal() {
        let document = document();
        let rate = row(&document, "P2", "rate");
        assert_eq!(
            (rate.value.as_str(), rate.goal.as_str()),
            ("0.960", "≥ 0.970")
        );
        assert_eq!(rate.state, State::Missed);
        assert_eq!(row(&document, "P2", "CPU").state, State::Met);
        assert_eq!(row(&document, "P4", "full keys").state, State::Met);
        let record = row(&document, "P4", "every drop").state;
        assert!(matches!(record, State::NotMeasured(_)));
    }

    #[test]
    fn each_level_has_its_own_goal() {
        let mut document = document();
        document["levels"] = serde_json::json!(["netdiag light", "netdiag full"]);
        let netdiag = document["attached"]["netdiag"].clone();
        document["attached"]["netdiag light"] = netdiag.clone();
        document["attached"]["netdiag full"] = netdiag;
        let light = row(&document, "P2", "UDP");
        assert_eq!(
            (light.level.as_str(), light.goal.as_str()),
            ("light", "≥ 0.980")
        );
        let all = super::super::judge(&document).into_iter();
        let full: Vec<_> = all.filter(|it| it.level == "full").collect();
        assert!(full.iter().any(|it| it.state == State::Shown), "{full:?}");
        assert!(!full.iter().any(|it| it.state == State::Missed), "{full:?}");
    }

    #[test]
    fn what_is_lost_is_compared() {
        let mut document = document();
        let p5 = row(&document, "P5", "bpftrace");
        assert_eq!((p5.value.as_str(), p5.state), ("12.50 ×", State::Met));
        document["attached"]["netdiag"]["storm"]["rate"]["median"] = 1.01.into();
        assert_eq!(row(&document, "P5", "bpftrace").state, State::Met);
        document["attached"]["netdiag"]["storm"]["rate"]["median"] = 0.9.into();
        assert_eq!(row(&document, "P5", "bpftrace").state, State::Missed);
        document["attached"]["bpftrace printing"] = serde_json::json!({});
        let none = row(&document, "P5", "bpftrace").state;
        assert!(matches!(none, State::NotMeasured(_)));
    }
}
