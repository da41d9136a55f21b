//! What each command of every recording's verdict does is said beside it: evidence is shown by what
//! changes nothing, fixes are apart from what only looks, and nothing goes on for ever.
use std::collections::BTreeMap;

use netdiag_tests::{recordings, workdir::Workdir};
use serde_json::Value;

fn texts(value: &Value) -> Vec<&str> {
    let all = value.as_array().into_iter().flatten();
    all.map(|text| text.as_str().expect("text")).collect()
}

/// Every command under `value`, with its kind and the kinds that may stand there.
fn commands<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a str, [&'static str; 3])>) {
    const LOOKS: [&str; 3] = ["show", "watch", "watch"];
    const CONFIRMS: [&str; 3] = ["show", "watch", "elsewhere"];
    const REPAIRS: [&str; 3] = ["change", "elsewhere", "elsewhere"];
    match value {
        Value::Array(all) => all.iter().for_each(|one| commands(one, found)),
        Value::Object(members) => {
            if let Some(line) = members.get("confirm").and_then(Value::as_str) {
                let kind = members["confirm_kind"].as_str().expect("its kind");
                found.push((line, kind, CONFIRMS));
            }
            for (name, kinds, allowed) in [
                ("commands", "kinds", REPAIRS),
                ("look", "look_kinds", LOOKS),
            ] {
                let Some(lines) = members.get(name).map(texts) else {
                    continue;
                };
                let kinds = texts(&members[kinds]);
                assert_eq!(lines.len(), kinds.len(), "{lines:?}");
                let rows = lines.into_iter().zip(kinds);
                found.extend(rows.map(|(line, kind)| (line, kind, allowed)));
            }
            members.values().for_each(|one| commands(one, found));
        }
        _ => {}
    }
}

#[test]
fn every_command_is_of_the_kind_that_may_stand_there() {
    let workdir = Workdir::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in recordings::names() {
        let file = workdir.put("one.ndr", &recordings::bytes(&name));
        let verdict = workdir.replay(&[&file, "-o", "json"]).json();
        let mut found = Vec::new();
        commands(&verdict["findings"], &mut found);
        for (line, kind, allowed) in found {
            assert!(allowed.contains(&kind), "{name}: {line:?} is {kind}");
            let ends = line.contains("timeout 10 ") || line.contains(" sleep 5 ");
            assert!(kind != "watch" || ends, "{name}: {line:?} never ends");
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    println!("{counts:?}");
    let kinds: Vec<_> = counts.keys().collect();
    assert_eq!(kinds, ["change", "elsewhere", "show", "watch"]);
    assert!(counts.values().all(|count| *count > 10), "{counts:?}");
}
