//! From the lines of a measurement to the document that is kept of it, and that everything else
//! is made of.
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::lines::{LOADS, NETDIAG, NOTHING, attached, number, numbers, of, programs, text};
use super::stats::Spread;
use super::{axes, goals, ratios};

const SCHEMA: &str = "netdiag.cost/1";

pub fn document(about: Value, lines: &[Value]) -> Result<Value> {
    let levels: Vec<_> = attached(lines, "timed");
    let levels: Vec<_> = levels.iter().filter(|it| it.starts_with(NETDIAG)).collect();
    let mut document = json!({
        "schema": SCHEMA,
        "about": about,
        "levels": levels,
        "seconds": load_seconds(lines),
        "nothing": nothing(lines)?,
        "attached": compared(lines)?,
        "axes": axes::document(lines),
        "own": own(lines),
        "starting": starting(lines),
        "identity": identity(lines),
        "skipped": of(lines, "skipped").map(|it| json!({"what": it["what"], "why": it["why"]})).collect::<Vec<_>>(),
    });
    let judged = goals::judge(&document);
    let judged: Vec<_> = judged.iter().map(goals::Row::json).collect();
    let fields = document.as_object_mut().context("a document has fields")?;
    fields.insert("goals".to_owned(), judged.into());
    Ok(document)
}

/// How long a load of a round was.
fn load_seconds(lines: &[Value]) -> Option<f64> {
    let seconds = of(lines, "round").filter_map(|line| number(line, "seconds"));
    Some(Spread::of(seconds)?.median)
}

fn nothing(lines: &[Value]) -> Result<Value> {
    let mut loads = Map::new();
    for load in LOADS {
        let base = ratios::base(lines, load);
        let base = base.with_context(|| format!("nothing was measured of {load}"))?;
        loads.insert(load.to_owned(), base);
    }
    Ok(loads.into())
}

/// Ratios to nothing, what its process took, and its programs, by load.
fn compared(lines: &[Value]) -> Result<Value> {
    let mut all = Map::new();
    for name in attached(lines, "round") {
        if name == NOTHING {
            continue;
        }
        let mut loads = Map::new();
        for load in LOADS {
            // One that was given up has none.
            let Some(mut found) = ratios::spreads(&ratios::ratios(lines, name, load)) else {
                continue;
            };
            let fields = found.as_object_mut().context("ratios have fields")?;
            fields.insert("own".to_owned(), process(lines, name, load));
            fields.insert("programs".to_owned(), timed(lines, name, load));
            loads.insert(load.to_owned(), found);
        }
        all.insert(name.to_owned(), loads.into());
    }
    Ok(all.into())
}

/// What the process took of a core, and of memory.
fn process(lines: &[Value], name: &str, load: &str) -> Value {
    let samples = of(lines, "round");
    let samples: Vec<_> = samples
        .filter(|it| text(it, "attached") == name && text(it, "load") == load)
        .collect();
    let spread = |value: &dyn Fn(&Value) -> Option<f64>| {
        Spread::of(samples.iter().filter_map(|line| value(line))).map(Spread::json)
    };
    json!({
        "cpu_share": spread(&|it| Some(number(it, "tracer/cpu_seconds")? / number(it, "seconds")?)),
        "per_second": spread(&|it| Some(number(it, "sent")? / number(it, "seconds")?)),
        "rss_bytes": spread(&|it| number(it, "tracer/rss_bytes")),
        "map_bytes": spread(&|it| number(it, "tracer/map_bytes")),
    })
}

/// Nanoseconds a run of each program, and how often it ran.
fn timed(lines: &[Value], name: &str, load: &str) -> Value {
    let mut all: BTreeMap<&str, (f64, Vec<f64>)> = BTreeMap::new();
    let samples = of(lines, "timed");
    for line in samples.filter(|it| text(it, "attached") == name && text(it, "load") == load) {
        for (program, (runs, ns)) in programs(line) {
            let (sum, means) = all.entry(program).or_default();
            *sum += runs;
            means.push(ns / runs);
        }
    }
    let told = |(sum, means): (f64, Vec<f64>)| json!({ "runs": sum, "ns": Spread::of(means).map(Spread::json) });
    let all = all
        .into_iter()
        .map(|(name, it)| (name.to_owned(), told(it)));
    Value::Object(all.collect())
}

/// What netdiag's process takes, idle, in a storm and in the long one, by level.
fn own(lines: &[Value]) -> Value {
    let mut all = Map::new();
    for part in ["idle", "storm", "flooded"] {
        for line in of(lines, part) {
            let seconds = number(line, "seconds").unwrap_or(f64::NAN);
            let share = number(line, "tracer/cpu_seconds").map(|cpu| cpu / seconds);
            let found = json!({
                "seconds": seconds,
                "cpu_share": share,
                "rss_bytes": line.pointer("/tracer/rss_bytes"),
                "map_bytes": line.pointer("/tracer/map_bytes"),
                "flows": line.get("flows"),
                "sent": line.get("sent"),
            });
            let level = all
                .entry(text(line, "attached"))
                .or_insert_with(|| json!({}));
            level[part] = found;
        }
    }
    all.into()
}

/// Seconds until links are covered, and how long links take to be made meanwhile, in the order of
/// their number.
fn starting(lines: &[Value]) -> Value {
    let mut all = Vec::new();
    for line in of(lines, "start") {
        let (links, name) = (number(line, "links"), text(line, "attached"));
        let beside = |part| {
            let same = move |it: &&Value| number(it, "links") == links;
            of(lines, part).find(same)
        };
        let new = of(lines, "new").find(|it| text(it, "attached") == name);
        let new = new.filter(|_| links == most_links(lines));
        let spread = |values: Vec<f64>| Spread::of(values).map(Spread::json);
        let worst = |values: Vec<f64>| values.into_iter().reduce(f64::max);
        let idle = beside("adds").map(|it| numbers(it, "seconds"));
        let meanwhile = numbers(line, "adds");
        all.push(json!({
            "attached": name,
            "links": links,
            "infrastructure": line["infrastructure"],
            "covered": line["covered"],
            "add_idle": spread(idle.clone().unwrap_or_default()),
            "add_idle_worst": worst(idle.unwrap_or_default()),
            "add_meanwhile": spread(meanwhile.clone()),
            "add_meanwhile_worst": worst(meanwhile),
            "new": new.and_then(|it| spread(numbers(it, "seconds"))),
            "new_worst": new.and_then(|it| worst(numbers(it, "seconds"))),
        }));
    }
    all.into()
}

fn most_links(lines: &[Value]) -> Option<f64> {
    let all = of(lines, "start").filter_map(|it| number(it, "links"));
    all.reduce(f64::max)
}

/// Storms by level: how many there were, and of how many every packet was told.
fn identity(lines: &[Value]) -> Value {
    let mut all = Map::new();
    for name in attached(lines, "identity") {
        let storms: Vec<_> = of(lines, "identity")
            .filter(|it| text(it, "attached") == name)
            .collect();
        let sum = |of: &str| storms.iter().filter_map(|it| number(it, of)).sum::<f64>();
        let apart: Vec<_> = storms.iter().filter_map(|it| difference(it)).collect();
        all.insert(
            name.to_owned(),
            json!({
                "storms": storms.len(),
                "exact": apart.iter().filter(|it| **it == 0.0).count(),
                "sent": sum("sent"),
                "told": sum("told"),
                "lost": sum("lost"),
                "largest_difference": apart.iter().map(|it| it.abs()).reduce(f64::max),
            }),
        );
    }
    all.into()
}

/// Packets that nothing accounts for, or that were told twice. What is named as lost may be drops,
/// and may be samples of drops that are told all the same.
fn difference(line: &Value) -> Option<f64> {
    let (told, lost) = (number(line, "told")?, number(line, "lost")?);
    let missing = number(line, "sent")? - told;
    Some(if missing < 0.0 {
        missing
    } else {
        (missing - lost).max(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_accounted_for_once() {
        let of = |sent, told, lost| difference(&json!({"sent": sent, "told": told, "lost": lost}));
        assert_eq!(of(100, 100, 0), Some(0.0));
        assert_eq!(of(100, 90, 10), Some(0.0));
        // Samples.
        assert_eq!(of(100, 100, 10), Some(0.0));
        assert_eq!(of(100, 90, 4), Some(6.0));
        assert_eq!(of(100, 101, 0), Some(-1.0));
        assert_eq!(difference(&json!({"sent": 1})), None);
    }
}
