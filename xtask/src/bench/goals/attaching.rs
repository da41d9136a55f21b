//! P9: how soon a node is covered, and what that does to who makes links meanwhile.
use serde_json::Value;

use super::levels::Levels;
use super::row::{Bound, Row, ms, plain};
use crate::bench::lines::{number, text};
use crate::bench::stats::Spread;

const NOT_RUN: &str = "netdiag was not started so";
/// What P9 speaks of.
const LINKS: f64 = 1000.0;

pub fn p9(document: &Value, levels: &Levels) -> Vec<Row> {
    let all = document.get("starting").and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    let mut rows = Vec::new();
    for (name, judged) in levels.all() {
        let mut own = all.iter().filter(|it| text(it, "attached") == name);
        let Some(most) = own.next_back() else {
            // Levels differ in their programs and not in how these are attached.
            continue;
        };
        let few = all.iter().find(|it| text(it, "attached") == name);
        rows.extend(of(name, judged, few.unwrap_or(most), most));
    }
    match rows.is_empty() {
        true => vec![Row::new("P9", "covering a node").not_measured(NOT_RUN)],
        false => rows,
    }
}

fn of(name: &str, judged: bool, few: &Value, most: &Value) -> Vec<Row> {
    let bound = |limit| Bound::AtMost(limit).held(judged);
    let links = number(most, "links").unwrap_or(0.0);
    let beside = format!("with {links:.0} veths");
    let row = |what: &str| Row::new("P9", what).of(name);
    let live = |start: &Value, what: &str| {
        let after = number(start, "infrastructure");
        row(what).single(bound(0.3), &ms, after, NOT_RUN)
    };
    let covered = row(&format!("every link covered {beside}"));
    let covered = covered.single(bound(1.0), &ms, number(most, "covered"), NOT_RUN);
    let new = row(&format!("a new veth covered {beside}"));
    let new = new.judged(bound(0.05), &ms, Spread::read(&most["new"]), NOT_RUN);
    let new = worst(new, number(most, "new_worst"));
    let adds = format!("`ip link add` while it starts {beside}, of its idle time");
    vec![
        live(few, "bridge, tunnel and uplink live"),
        live(most, &format!("the same with {links:.0} veths")),
        enough(covered, links),
        new,
        adding(row(&adds), bound(2.0), most),
    ]
}

fn enough(row: Row, links: f64) -> Row {
    if links < LINKS {
        return row.not_measured("too few veths");
    }
    row
}

fn adding(row: Row, bound: Bound, most: &Value) -> Row {
    let idle = Spread::read(&most["add_idle"]);
    let meanwhile = Spread::read(&most["add_meanwhile"]);
    let ratio = idle
        .zip(meanwhile)
        .map(|(idle, it)| it.map(|s| s / idle.median));
    let row = row.judged(bound, &plain, ratio, "no link was made meanwhile");
    worst(row, number(most, "add_meanwhile_worst"))
}

/// The worst of a few matters more than where their middle half lies.
fn worst(mut row: Row, seconds: Option<f64>) -> Row {
    if let Some(seconds) = seconds
        && !row.spread.is_empty()
    {
        row.spread.push_str(&format!(", worst {}", ms(seconds)));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::super::row::State;
    use super::super::tests::{document, row};

    #[test]
    fn a_start_is_held_against_its_goals() {
        let mut document = document();
        assert_eq!(row(&document, "P9", "uplink live").state, State::Met);
        let every = row(&document, "P9", "every link");
        assert_eq!((every.value.as_str(), every.state), ("900 ms", State::Met));
        let new = row(&document, "P9", "new veth");
        assert_eq!(new.state, State::Met);
        assert_eq!(new.spread, "20 ms – 20 ms, worst 30 ms");
        let add = row(&document, "P9", "ip link add");
        assert_eq!((add.value.as_str(), add.state), ("3.00", State::Missed));
        document["starting"][0]["links"] = 50.into();
        let few = row(&document, "P9", "every link").state;
        assert!(matches!(few, State::NotMeasured(_)));
    }
}
