//! P1 and P6: what a run of a program costs over an empty one that is attached in the same way.
use serde_json::Value;

use super::levels::{Levels, NO_LEVEL};
use super::row::{Bound, Row, ns, plain};
use crate::bench::axes::{on_drops, on_links};
use crate::bench::lines::EMPTY;
use crate::bench::stats::Spread;

const DEAREST: &str = "dearest program on a link, of an empty one's time";
const NO_RUN: &str = "the kernel timed no such program";
/// A program that ran less often was not part of the load; its mean says nothing.
const ENOUGH_RUNS: f64 = 1000.0;

pub fn p1(document: &Value, levels: &Levels) -> Vec<Row> {
    let row = |level: &str, name: Option<&String>, most: f64| {
        let new = Row::new("P1", DEAREST).of(level);
        let bound = Bound::AtMost(most);
        let Some(name) = name else {
            return new.judged(bound, &plain, None, NO_LEVEL);
        };
        let (program, value) = dearest(document, name).unzip();
        let row = new.judged(bound, &plain, value, NO_RUN);
        row.noted(&format!(" ({})", program.unwrap_or_default()))
    };
    let mut rows = vec![
        row("light", levels.light.as_ref(), 1.35),
        row("flows", levels.flows.as_ref(), 1.8),
    ];
    for name in &levels.others {
        let (_, value) = dearest(document, name).unzip();
        let row = Row::new("P1", DEAREST).of(name);
        rows.push(row.judged(Bound::None, &plain, value, NO_RUN));
    }
    let peers = Row::new("P1", "half of netobserv's and retina's").goal("≤ 0.5");
    rows.push(peers.not_measured("neither is a package of Debian"));
    rows
}

/// The program on links with the highest ratio to the empty one in the flood of UDP.
fn dearest(document: &Value, name: &str) -> Option<(String, Spread)> {
    let (_, empty) = timed(document, EMPTY, "udp", on_links).into_iter().next()?;
    let programs = timed(document, name, "udp", on_links).into_iter();
    let ratios = programs.map(|(name, ns)| (name, ns.map(|ns| ns / empty.median)));
    ratios.max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median))
}

pub fn p6(document: &Value, levels: &Levels) -> Vec<Row> {
    let of = |name: &str| timed(document, name, "storm", on_drops).into_iter().next();
    let row = |(name, judged): (&str, bool)| {
        let own = of(name).zip(of(EMPTY));
        let over = own.map(|((_, own), (_, empty))| own.map(|ns| ns - empty.median));
        let bound = Bound::AtMost(150.0).held(judged);
        let row = Row::new("P6", "a dropped packet over the empty program").of(name);
        row.judged(bound, &ns, over, NO_RUN)
    };
    match levels.all().as_slice() {
        [] => vec![Row::new("P6", "a dropped packet").not_measured("netdiag was not measured")],
        all => all.iter().copied().map(row).collect(),
    }
}

/// Nanoseconds a run of each program of that kind which ran often.
pub fn timed(
    document: &Value,
    name: &str,
    load: &str,
    kind: fn(&str) -> bool,
) -> Vec<(String, Spread)> {
    let all = document.pointer(&format!("/attached/{name}/{load}/programs"));
    let all = all.and_then(Value::as_object).into_iter().flatten();
    let often = |it: &Value| it["runs"].as_f64().is_some_and(|runs| runs >= ENOUGH_RUNS);
    let wanted = all.filter(|(name, it)| kind(name) && often(it));
    wanted
        .filter_map(|(name, it)| Some((name.clone(), Spread::read(&it["ns"])?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::State;
    use super::super::tests::{document, row};
    use super::*;

    #[test]
    fn the_dearest_program_decides() {
        let document = document();
        let p1: Vec<_> = super::super::judge(&document).into_iter().collect();
        let of = |level: &str| p1.iter().find(|it| it.id == "P1" && it.level == level);
        let flows = of("flows").expect("a row");
        assert_eq!(flows.value, "2.00 (uplink_egress)");
        assert_eq!(flows.state, State::Missed);
        let light = of("light").expect("a row");
        assert_eq!(light.state, State::NotMeasured(NO_LEVEL.to_owned()));
        assert_eq!((light.value.as_str(), light.goal.as_str()), ("", "≤ 1.35"));
    }

    #[test]
    fn what_hardly_ran_says_nothing() {
        let mut document = document();
        let programs = &mut document["attached"]["netdiag"]["udp"]["programs"];
        programs["uplink_egress"]["runs"] = 10.into();
        let p1: Vec<_> = super::super::judge(&document).into_iter().collect();
        let flows = p1.iter().find(|it| it.level == "flows").expect("a row");
        assert_eq!(flows.value, "1.60 (hop_ingress)");
    }

    #[test]
    fn a_drop_is_told_over_the_empty_program() {
        let p6 = row(&document(), "P6", "dropped");
        assert_eq!((p6.value.as_str(), p6.state), ("140 ns", State::Met));
    }
}
