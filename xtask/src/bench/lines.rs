//! The measurements as `netdiag lab bench` tells them, a JSON line each.
use std::collections::BTreeMap;

use serde_json::Value;

pub const NOTHING: &str = "nothing";
pub const EMPTY: &str = "empty";
/// Every level's name begins so.
pub const NETDIAG: &str = "netdiag";
pub const UDP: &str = "udp";
pub const TCP: &str = "tcp";
pub const STORM: &str = "storm";
pub const LOADS: [&str; 3] = [UDP, TCP, STORM];

pub fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// At a path such as `tracer/rss_bytes`.
pub fn number(line: &Value, path: &str) -> Option<f64> {
    let found = line.pointer(&format!("/{path}"))?.as_f64()?;
    found.is_finite().then_some(found)
}

pub fn numbers(line: &Value, name: &str) -> Vec<f64> {
    let all = line.get(name).and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_f64).collect()
}

/// Those of a part, in their order.
pub fn of<'a>(lines: &'a [Value], part: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| text(line, "part") == part)
}

/// What was attached in a part, in the order in which it first came.
pub fn attached<'a>(lines: &'a [Value], part: &'a str) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for line in of(lines, part) {
        let name = text(line, "attached");
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// What a sample's programs did: runs and nanoseconds by name.
pub fn programs(line: &Value) -> BTreeMap<&str, (f64, f64)> {
    let all = line.get("programs").and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    let program = |it| Some((text(it, "name"), (number(it, "runs")?, number(it, "ns")?)));
    all.iter().filter_map(program).collect()
}

/// For people who wait.
pub fn progress(line: &Value) -> String {
    let attached = text(line, "attached");
    match text(line, "part") {
        "round" => {
            let round = number(line, "round").unwrap_or_default() + 1.0;
            format!("round {round}: {attached}")
        }
        "axis" => {
            let at = number(line, "at").unwrap_or_default();
            format!("{at} {}: {attached}", text(line, "axis"))
        }
        "skipped" => format!("without {}: {}", text(line, "what"), text(line, "why")),
        part => format!("{part} {attached}").trim_end().to_owned(),
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_read() {
        let line = json!({
            "part": "axis", "axis": "flows", "at": 100, "attached": "empty",
            "tracer": {"rss_bytes": 5}, "programs": [{"name": "empty", "runs": 2, "ns": 100}]
        });
        assert_eq!(progress(&line), "100 flows: empty");
        assert_eq!(number(&line, "tracer/rss_bytes"), Some(5.0));
        assert_eq!(number(&line, "tracer/none"), None);
        assert_eq!(programs(&line)["empty"], (2.0, 100.0));
        let lines = [line.clone(), line];
        assert_eq!(attached(&lines, "axis"), ["empty"]);
        assert_eq!(of(&lines, "round").count(), 0);
    }
}
