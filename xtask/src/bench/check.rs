//! What a measurement must hold to be one, however fast or slow the machine was. No figure is held
//! against a limit here.
use serde_json::Value;

use super::axes::{on_drops, on_links};
use super::lines::{
    EMPTY, LOADS, NETDIAG, NOTHING, STORM, attached, number, numbers, of, programs, text,
};
use super::stats::Spread;

/// What makes no sense, in words; nothing where all does.
pub fn nonsense(lines: &[Value], document: &Value) -> Vec<String> {
    let mut all = parts(lines);
    all.extend(lines.iter().filter_map(silent));
    all.extend(missing_ratios(lines, document));
    all.extend(unseen_programs(lines));
    all
}

/// Every part has lines, and those of netdiag.
fn parts(lines: &[Value]) -> Vec<String> {
    const PARTS: [&str; 10] = [
        "round", "timed", "axis", "adds", "start", "new", "idle", "storm", "flooded", "identity",
    ];
    let lacks = |part: &&&str| {
        let mut of = of(lines, part);
        match **part {
            "adds" => of.next().is_none(),
            _ => !of.any(|line| text(line, "attached").starts_with(NETDIAG)),
        }
    };
    let mut all: Vec<_> = PARTS
        .iter()
        .filter(lacks)
        .map(|part| format!("nothing was measured of {part}"))
        .collect();
    for axis in ["flows", "drops", "links"] {
        if !of(lines, "axis").any(|line| text(line, "axis") == axis) {
            all.push(format!("the axis of {axis} has no point"));
        }
    }
    all
}

/// A measurement in which nothing happened.
fn silent(line: &Value) -> Option<String> {
    let (part, name) = (text(line, "part"), text(line, "attached"));
    let positive = |path: &str| number(line, path).is_some_and(|it| it > 0.0);
    let wanted: &[&str] = match part {
        "round" | "timed" if text(line, "load") == STORM => &["sent", "seconds"],
        "round" | "timed" => &["sent", "received", "seconds", "cpu_seconds"],
        "axis" => &["sent", "seconds"],
        "start" => &["infrastructure", "covered"],
        "idle" => &["seconds", "tracer/rss_bytes", "tracer/map_bytes"],
        "storm" | "flooded" => &["sent", "seconds", "tracer/rss_bytes"],
        "identity" => &["sent", "told"],
        _ => &[],
    };
    let lacks = wanted.iter().find(|path| !positive(path));
    if let Some(path) = lacks {
        return Some(format!("{part} of {name}: no {path}"));
    }
    let listed = matches!(part, "adds" | "new") && numbers(line, "seconds").is_empty();
    listed.then(|| format!("{part}: no link was made"))
}

/// Whatever was attached and not skipped has a ratio to nothing of each load.
fn missing_ratios(lines: &[Value], document: &Value) -> Vec<String> {
    let skipped = |name: &str| of(lines, "skipped").any(|line| text(line, "what") == name);
    let mut all = Vec::new();
    for name in attached(lines, "round") {
        if name == NOTHING || skipped(name) {
            continue;
        }
        for path in LOADS
            .iter()
            .flat_map(|load| ["rate", "cpu", "busy"].map(|it| format!("{load}/{it}")))
        {
            let ratio = Spread::at(document, &format!("attached/{name}/{path}"));
            if !ratio.is_some_and(|it| it.median > 0.0) {
                all.push(format!("{name} has no ratio of {path}"));
            }
        }
    }
    all
}

/// Programs that the kernel never ran were not attached, whatever the figures say.
fn unseen_programs(lines: &[Value]) -> Vec<String> {
    let ran = |name: &str, load: &str, kind: fn(&str) -> bool| {
        let samples = of(lines, "timed");
        let mut samples =
            samples.filter(|it| text(it, "attached") == name && text(it, "load") == load);
        samples.any(|line| {
            programs(line)
                .iter()
                .any(|(name, (runs, _))| kind(name) && *runs > 0.0)
        })
    };
    let names = attached(lines, "timed");
    let ours = names
        .iter()
        .filter(|it| **it == EMPTY || it.starts_with(NETDIAG));
    let mut all = Vec::new();
    for name in ours {
        if !ran(name, "udp", on_links) {
            all.push(format!("no program of {name} ran on a link"));
        }
        if !ran(name, STORM, on_drops) {
            all.push(format!("no program of {name} ran for a drop"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::report;

    fn sample(part: &str, attached: &str, load: &str) -> Value {
        json!({
            "part": part, "round": 0, "step": 0, "attached": attached, "load": load, "sent": 900,
            "received": 900, "seconds": 0.1, "cpu_seconds": 0.1, "busy_seconds": 0.2,
            "tracer": {"cpu_seconds": 0.01, "rss_bytes": 100, "map_bytes": 100},
            "programs": [
                {"name": "hop_ingress", "runs": 900, "ns": 9000},
                {"name": "kfree_skb", "runs": 900, "ns": 9000},
            ]
        })
    }

    /// Everything once.
    fn lines() -> Vec<Value> {
        let mut lines = Vec::new();
        for (step, name) in [NOTHING, EMPTY, NOTHING, "netdiag", NOTHING]
            .iter()
            .enumerate()
        {
            for load in LOADS {
                let mut line = sample("round", name, load);
                line["step"] = step.into();
                lines.push(line);
                if *name != NOTHING {
                    lines.push(sample("timed", name, load));
                }
            }
        }
        for axis in ["flows", "drops", "links"] {
            let mut line = sample("axis", "netdiag", "udp");
            (line["axis"], line["at"]) = (axis.into(), 10.into());
            lines.push(line);
        }
        lines.push(json!({"part": "adds", "links": 10, "seconds": [0.001]}));
        for part in ["start", "new", "idle", "storm", "flooded", "identity"] {
            let mut line = sample(part, "netdiag", "");
            (line["links"], line["told"], line["lost"]) = (10.into(), 890.into(), 10.into());
            (line["infrastructure"], line["covered"]) = (0.2.into(), 0.3.into());
            line["adds"] = json!([0.002]);
            if part == "new" {
                line["seconds"] = json!([0.01]);
            }
            lines.push(line);
        }
        lines
    }

    fn found(lines: &[Value]) -> String {
        let document = report::document(json!({}), lines).expect("a document");
        nonsense(lines, &document).join("; ")
    }

    #[test]
    fn a_whole_measurement_makes_sense() {
        assert_eq!(found(&lines()), "");
    }

    #[test]
    fn a_part_that_is_missing_is_named() {
        let mut lines = lines();
        lines.retain(|line| text(line, "part") != "idle" && text(line, "axis") != "drops");
        let found = found(&lines);
        assert!(found.contains("nothing was measured of idle"), "{found}");
        assert!(found.contains("the axis of drops has no point"), "{found}");
    }

    #[test]
    fn no_packets_are_named() {
        let mut lines = lines();
        let udp = |it: &&mut Value| text(it, "attached") == "netdiag" && text(it, "load") == "udp";
        lines
            .iter_mut()
            .filter(udp)
            .for_each(|it| it["received"] = 0.into());
        let found = found(&lines);
        assert!(found.contains("round of netdiag: no received"), "{found}");
        assert!(
            found.contains("netdiag has no ratio of udp/rate"),
            "{found}"
        );
    }

    #[test]
    fn programs_that_never_ran_are_named() {
        let mut lines = lines();
        lines.iter_mut().for_each(|it| it["programs"] = json!([]));
        let found = found(&lines);
        assert!(
            found.contains("no program of empty ran on a link"),
            "{found}"
        );
        assert!(
            found.contains("no program of netdiag ran for a drop"),
            "{found}"
        );
    }
}
