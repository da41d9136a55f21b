//! The document as Markdown: on the terminal and, by `cargo xtask gen`, in
//! performance.md and COST.md.
use std::collections::BTreeMap;

use serde_json::Value;

use super::axes::{on_drops, on_links};
use super::goals::{Levels, timed};
use super::lines::{EMPTY, NETDIAG, NOTHING, STORM, TCP, UDP, number, text};
use super::stats::Spread;

/// For the terminal.
pub fn all(document: &Value) -> String {
    let parts = [
        head(document),
        goals(document),
        axes(document),
        skipped(document),
    ];
    joined(&parts)
}

/// For performance.md, around a chart.
pub fn page(document: &Value, chart: &str) -> String {
    joined(&[head(document), chart.to_owned()])
}

/// What is behind it, for who works on it.
pub fn behind(document: &Value) -> String {
    let about = about(document);
    joined(&[about, goals(document), axes(document), skipped(document)])
}

fn head(document: &Value) -> String {
    format!(
        "{}
{}",
        about(document),
        loads(document)
    )
}

fn joined(parts: &[String]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.cloned().collect::<Vec<_>>().join(
        "
",
    )
}

fn about(document: &Value) -> String {
    let word = |name: &str| document["about"][name].as_str().unwrap_or("unknown");
    let number = |path: &str| number(document, path).unwrap_or(f64::NAN);
    let rounds = Spread::at(document, &format!("attached/{EMPTY}/udp/rate"));
    let smoke = match word("size") {
        "smoke" => "A smoke run: too short for any figure to mean something.\n\n",
        _ => "",
    };
    format!(
        "{smoke}Measured on {}, commit {}: Linux {}, {:.0} CPUs ({}). Medians of {} rounds of {:.1} s \
         loads, each beside nothing attached right before and after it; in parentheses the middle \
         half.\n",
        word("date"),
        word("commit"),
        word("kernel"),
        number("about/cpus"),
        word("processor"),
        rounds.map_or(0, |it| it.count),
        number("seconds"),
    )
}

/// A row for each that was attached.
fn loads(document: &Value) -> String {
    let mut rows = String::from(
        "| attached | UDP 64 B | CPU per packet | TCP | CPU per byte | drop storm | ns per run |\n\
         |---|---|---|---|---|---|---|\n",
    );
    rows += &row(NOTHING, &base(document));
    for name in names(document) {
        let cell = |path: &str| {
            let ratio = Spread::at(document, &format!("attached/{name}/{path}"));
            ratio.map_or("–".to_owned(), |it| {
                format!("{:.2} ({:.2} – {:.2})", it.median, it.low, it.high)
            })
        };
        let paths = ["udp/rate", "udp/cpu", "tcp/rate", "tcp/busy", "storm/rate"];
        let mut cells: Vec<_> = paths.iter().map(|path| cell(path)).collect();
        cells.push(nanoseconds(document, name));
        let name = match name {
            EMPTY => "empty programs on the same hooks".to_owned(),
            name if name.starts_with(NETDIAG) => format!("**{name}**"),
            name => name.to_owned(),
        };
        rows += &row(&name, &cells);
    }
    rows
}

/// What was attached: empty programs, netdiag's levels, then the other tools.
pub fn names(document: &Value) -> Vec<&str> {
    let all = document.get("attached").and_then(Value::as_object);
    let mut names: Vec<_> = all
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let levels = Levels::of(document);
    let levels: Vec<_> = levels
        .all()
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let place = |name: &&str| {
        let level = levels.iter().position(|it| it == name);
        (
            *name != EMPTY,
            level.unwrap_or(usize::MAX),
            (*name).to_owned(),
        )
    };
    names.sort_by_key(place);
    names
}

fn base(document: &Value) -> Vec<String> {
    let at = |load: &str, what: &str| Spread::at(document, &format!("nothing/{load}/{what}"));
    let cell = |text: Option<String>| text.map_or("–".to_owned(), |it| format!("1 ({it})"));
    let packets = |load| cell(at(load, "rate").map(|it| format!("{:.0} k/s", it.median / 1e3)));
    let gbits = at(TCP, "rate").map(|it| format!("{:.1} Gbit/s", it.median * 8.0 / 1e9));
    vec![
        packets(UDP),
        cell(at(UDP, "cpu").map(|it| format!("{:.1} µs", it.median * 1e6))),
        cell(gbits),
        cell(at(TCP, "busy").map(|it| format!("{:.2} ns", it.median * 1e9))),
        packets(STORM),
        String::new(),
    ]
}

/// Of programs on links in the flood of UDP, and of a drop in the storm.
fn nanoseconds(document: &Value, name: &str) -> String {
    let range = |load: &str, kind: fn(&str) -> bool| {
        let all = timed(document, name, load, kind);
        let all: Vec<_> = all.iter().map(|(_, ns)| ns.median).collect();
        let low = all.iter().copied().reduce(f64::min)?;
        let high = all.iter().copied().reduce(f64::max)?;
        Some(match format!("{low:.0}") == format!("{high:.0}") {
            true => format!("{low:.0}"),
            false => format!("{low:.0}–{high:.0}"),
        })
    };
    let links = range(UDP, on_links).map(|it| format!("links {it}"));
    let drops = range(STORM, on_drops).map(|it| format!("a drop {it}"));
    links
        .into_iter()
        .chain(drops)
        .collect::<Vec<_>>()
        .join(", ")
}

fn goals(document: &Value) -> String {
    let mut rows = String::from(
        "| | what | level | goal | measured | middle half | |\n|---|---|---|---|---|---|---|\n",
    );
    let all = document.get("goals").and_then(Value::as_array);
    for goal in all.into_iter().flatten() {
        let state = match (text(goal, "state"), text(goal, "why")) {
            ("not met", _) => "**not met**".to_owned(),
            (state, "") => state.to_owned(),
            (state, why) => format!("{state}: {why}"),
        };
        let cells =
            ["what", "level", "goal", "value", "spread"].map(|name| text(goal, name).to_owned());
        rows += &row(text(goal, "id"), &[&cells[..], &[state]].concat());
    }
    rows
}

/// Nanoseconds a run and memory, a table for each axis.
fn axes(document: &Value) -> String {
    let named = [
        ("flows", "flows"),
        ("drops", "drops a second"),
        ("links", "links"),
    ];
    let tables = named
        .iter()
        .map(|(axis, title)| axis_table(document, axis, title));
    tables
        .filter(|it| !it.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn axis_table(document: &Value, axis: &str, title: &str) -> String {
    let points = document
        .pointer(&format!("/axes/{axis}"))
        .and_then(Value::as_array);
    let mut lines: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for point in points.into_iter().flatten() {
        let at = number(point, "at").unwrap_or_default();
        lines.entry(at as u64).or_default().push(point);
    }
    let Some(first) = lines.values().next() else {
        return String::new();
    };
    let names: Vec<_> = first.iter().map(|it| text(it, "attached")).collect();
    let head: String = names
        .iter()
        .map(|name| match *name {
            EMPTY => " empty, ns per run |".to_owned(),
            name => format!(" {name}, ns per run | packets a second | RSS |"),
        })
        .collect();
    let rule = "---|".repeat(head.matches('|').count() + 1);
    let mut rows = format!("| {title} |{head}\n|{rule}\n");
    for (at, points) in lines {
        let cells: Vec<_> = points.iter().flat_map(|point| axis_cells(point)).collect();
        rows += &row(&at.to_string(), &cells);
    }
    rows
}

fn axis_cells(point: &Value) -> Vec<String> {
    let told = |path: &str, by: f64, places: usize| {
        number(point, path).map_or("–".to_owned(), |it| format!("{:.*}", places, it / by))
    };
    let ns = told("ns", 1.0, 0);
    if text(point, "attached") == EMPTY {
        return vec![ns];
    }
    let mib = told("rss_bytes", f64::from(1 << 20), 1);
    vec![ns, told("per_second", 1e3, 1) + " k", mib + " MiB"]
}

fn skipped(document: &Value) -> String {
    let all = document.get("skipped").and_then(Value::as_array);
    let line = |it: &Value| format!("Left out: {}, {}.\n", text(it, "what"), text(it, "why"));
    all.into_iter().flatten().map(line).collect()
}

fn row(first: &str, cells: &[String]) -> String {
    format!("| {first} | {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::goals::tests::document;
    use crate::bench::goals::{Row, judge};

    fn judged() -> Value {
        let mut document = document();
        let goals: Vec<_> = judge(&document).iter().map(Row::json).collect();
        document["goals"] = goals.into();
        document
    }

    #[test]
    fn a_row_for_each() {
        let text = all(&judged());
        assert!(
            text.contains("| nothing | 1 (1 k/s) | 1 (2.0 µs) |"),
            "{text}"
        );
        assert!(text.contains("| **netdiag** | 0.96 (0.9"), "{text}");
        assert!(text.contains("links 80–100, a drop 190 |"), "{text}");
        assert!(text.contains("Linux 6.18.1, 2 CPUs"), "{text}");
        let places = ["empty programs", "**netdiag**", "bpftrace printing"];
        let places = places.map(|name| text.find(name).expect(name));
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn the_page_has_what_is_attached_and_the_rest_stands_behind() {
        let (page, behind) = (page(&judged(), "CHART\n"), behind(&judged()));
        assert!(page.contains("| nothing |") && page.ends_with("CHART\n"));
        assert!(!page.contains("| P2 |") && behind.contains("| P2 |"));
    }

    #[test]
    fn a_goal_says_what_became_of_it() {
        let text = all(&judged());
        assert!(
            text.contains("| P2 | rate of 64-byte UDP |  | ≥ 0.970 | 0.960 |"),
            "{text}"
        );
        assert!(text.contains("| **not met** |"), "{text}");
        assert!(
            text.contains("| not measured: this netdiag has no such level |"),
            "{text}"
        );
    }

    #[test]
    fn an_axis_is_a_table() {
        let point = |at: u32, attached: &str, ns: f64| json!({"at": at, "attached": attached, "ns": ns, "per_second": 1500.0, "rss_bytes": 1 << 20});
        let mut document = judged();
        document["axes"] = json!({"flows": [
            point(100, "empty", 50.0), point(100, "netdiag", 80.0),
            point(1000, "empty", 51.0), point(1000, "netdiag", 90.4),
        ]});
        let text = all(&document);
        assert!(
            text.contains("| flows | empty, ns per run | netdiag, ns per run |"),
            "{text}"
        );
        assert!(
            text.contains("| 1000 | 51 | 90 | 1.5 k | 1.0 MiB |"),
            "{text}"
        );
    }

    #[test]
    fn what_was_left_out_is_named() {
        let mut document = judged();
        document["skipped"] = json!([{"what": "tcpdump", "why": "not installed"}]);
        assert!(all(&document).ends_with("Left out: tcpdump, not installed.\n"));
    }
}
