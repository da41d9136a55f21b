//! Recordings and verdicts whose names are made to be something else on a page.
use netdiag_tests::recordings::rewritten;
use serde_json::Value;

/// What is put behind names, one after the other.
pub const PAYLOADS: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></style></script><b>x",
    "<!--",
    "]]></svg><iframe src=//evil.example>",
    "[x](https://evil.example/)",
    "![x](https://evil.example/p.png)",
    "https://evil.example/",
    "<https://evil.example/>",
    "`x` ``` ~~~",
    "| x | @all #1 :smile:",
    "\n\n# heading\n\n```\n<b>\n",
    "\u{202e}evil\u{200b}&lt;b&gt;&#64;all\u{1b}[31m",
];

/// Members of a recording's objects that hold what strangers name.
const RECORDED: [&str; 7] = [
    "name",
    "namespace",
    "text",
    "message",
    "place",
    "uid",
    "cgroup",
];
/// Members of a verdict that are free text.
const TOLD: [&str; 25] = [
    "at",
    "because",
    "cause",
    "consequence_of",
    "destination",
    "first_seen",
    "from",
    "interface",
    "ip",
    "kernel",
    "last_seen",
    "last_seen_at",
    "limit_from",
    "location",
    "name",
    "namespace",
    "node",
    "reason",
    "service",
    "source",
    "started",
    "summary",
    "text",
    "what",
    "why",
];

fn put(value: &mut Value, key: &str, keys: &[&str], payload: &str) {
    match value {
        Value::String(text) if keys.contains(&key) && text.len() > 2 => text.push_str(payload),
        Value::Array(all) => all.iter_mut().for_each(|it| put(it, key, keys, payload)),
        Value::Object(members) => {
            let inner = members.iter_mut().filter(|(key, _)| *key != "header");
            inner.for_each(|(key, it)| put(it, key, keys, payload));
        }
        _ => {}
    }
}

/// The recording with other names in every line.
pub fn recording(bytes: &[u8], payload: &str) -> Vec<u8> {
    rewritten(bytes, |text| {
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            put(&mut line, "", &RECORDED, payload);
            line.to_string() + "\n"
        });
        lines.collect()
    })
}

/// The verdict with other words everywhere.
pub fn verdict(verdict: &Value, payload: &str) -> String {
    let mut verdict = verdict.clone();
    // What names a pod's source is one of a few words.
    let keys = [
        "findings",
        "drops",
        "retransmits",
        "not_checked",
        "unexplained",
        "node",
    ];
    for key in keys {
        if let Some(part) = verdict.get_mut(key) {
            put(part, key, &TOLD, payload);
        }
    }
    verdict.to_string()
}
