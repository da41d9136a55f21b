//! What differs from one machine or day to the next, and says nothing of the judgement: out of every
//! snapshot, in this one place.
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What is found, and what stands in its place.
static REDACTED: LazyLock<[(Regex, &str); 8]> = LazyLock::new(|| {
    [
        (r#""kernel": "[^"]*""#, r#""kernel": "[kernel]""#),
        (r"Linux \d[^ ]*", "Linux [kernel]"),
        (r"\bpid \d+", "pid [pid]"),
        (r"\b([a-z][a-z0-9_-]*)\[\d{3,}\]", "$1[[pid]]"),
        (r"\b40265\d{5}\b", "[netns]"),
        (r"\bnetdiag-[0-9a-f]{4}-", "netdiag-[run]-"),
        (r"\[env: (\w+)=[^\]]*\]", "[env: $1=]"),
        (WORKSPACE, "[workspace]"),
    ]
    .map(|(found, told)| (pattern(found), told))
});

static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), r"(/\.\.)?");

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

pub fn redacted(text: &str) -> String {
    let mut text = by_the_first_time(text);
    for (found, told) in REDACTED.iter() {
        text = found.replace_all(&text, *told).into_owned();
    }
    text
}

/// The first time is when the run began; of all others it matters how much later they are.
fn by_the_first_time(text: &str) -> String {
    let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let Some(first) = TIME.find(text).map(|it| time(it.as_str())) else {
        return text.to_owned();
    };
    let later = |it: &Captures<'_>| {
        let later = time(&it[0]).duration_since(first).as_secs_f64();
        match later == 0.0 {
            true => "[begin]".to_owned(),
            false => format!("[begin{later:+.3}s]"),
        }
    };
    TIME.replace_all(text, later).into_owned()
}

#[test]
fn times_are_told_from_the_beginning() {
    let text = r#""started": "2026-11-20T12:51:50.517Z", "named_at": "2026-11-20T12:51:51.916Z""#;
    let told = r#""started": "[begin]", "named_at": "[begin+1.399s]""#;
    assert_eq!(redacted(text), told);
}
