//! What xtask reads of the verdicts that netdiag prints as JSON.
use std::collections::BTreeSet;

use serde_json::Value;

/// The root causes that are bad enough to be named, as `lab run` counts them.
pub fn named(verdict: &Value) -> BTreeSet<String> {
    let findings = verdict["findings"].as_array();
    let findings = findings.map(Vec::as_slice).unwrap_or_default();
    let roots = findings
        .iter()
        .filter(|f| f["severity"] != "info" && f["consequence_of"].is_null());
    roots
        .filter_map(|f| f["cause"].as_str().map(str::to_owned))
        .collect()
}

pub fn texts(array: &Value) -> BTreeSet<String> {
    let all = array.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = all.iter().filter_map(|it| it.as_str().map(str::to_owned));
    texts.collect()
}

pub fn words(causes: &BTreeSet<String>) -> String {
    match causes.is_empty() {
        true => "nothing".to_owned(),
        false => causes
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The findings, and what stays open, in a line each.
pub fn told(verdict: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![format!("         verdict: {}", word(&verdict["verdict"]))];
    for part in ["findings", "cannot_tell", "unexplained"] {
        for it in verdict[part].as_array().into_iter().flatten() {
            let causes = texts(&it["causes"]);
            let what = ["cause", "severity", "confidence", "summary", "what", "why"];
            let what = what.into_iter().filter_map(|key| it[key].as_str());
            let what = causes.iter().map(String::as_str).chain(what);
            let below = it["consequence_of"].as_str();
            let below = below.map_or(String::new(), |root| format!(" (below {root})"));
            let text = what.collect::<Vec<_>>().join(", ");
            lines.push(format!("         {part}: {text}{below}"));
            let flows = it["flows"].as_array().into_iter().flatten();
            lines.extend(flows.map(|flow| format!("           {}", way(flow))));
        }
    }
    lines.join("\n")
}

/// Whose traffic, and what the node's translation made of it: a run fails for that as well.
fn way(flow: &Value) -> String {
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or("-").to_owned();
    let ends = |of: &Value| format!("{} -> {}", text(of, "source"), text(of, "destination"));
    let legs = flow["legs"].as_array().into_iter().flatten();
    let legs = legs.map(|leg| format!(", as {}", ends(leg)));
    format!("{}{}", ends(flow), legs.collect::<String>())
}

/// The last line of what a program said on stderr.
pub fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().last().unwrap_or("said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_weight_are_named() {
        let verdict = serde_json::json!({ "findings": [
            { "cause": "a", "severity": "critical", "consequence_of": null },
            { "cause": "b", "severity": "warning" },
            { "cause": "c", "severity": "critical", "consequence_of": "a" },
            { "cause": "d", "severity": "info" },
        ]});
        let named = named(&verdict);
        assert_eq!(named.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(words(&named), "a b");
    }

    #[test]
    fn flows_are_told_with_their_legs() {
        let verdict = serde_json::json!({
            "verdict": "findings",
            "findings": [{ "cause": "a", "flows": [{
                "source": "10.0.0.1", "destination": "10.96.0.1:80",
                "legs": [{ "source": "10.0.0.1", "destination": "10.0.0.2:8080" }],
            }]}],
        });
        let told = told(&verdict);
        let last = "10.0.0.1 -> 10.96.0.1:80, as 10.0.0.1 -> 10.0.0.2:8080";
        assert!(told.ends_with(last), "{told}");
    }

    #[test]
    fn what_is_open_is_told() {
        let verdict = serde_json::json!({
            "verdict": "incomplete",
            "cannot_tell": [{ "causes": ["a", "b"], "what": "its rules", "why": "no nft" }],
        });
        let told = told(&verdict);
        assert!(
            told.ends_with("cannot_tell: a, b, its rules, no nft"),
            "{told}"
        );
    }
}
