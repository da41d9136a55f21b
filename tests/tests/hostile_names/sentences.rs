//! Commands in the middle of sentences: of findings, their evidence, notes and what was not checked,
//! in a document and on a terminal. They have no words beside them, and stand between backticks.
use std::collections::BTreeSet;

use serde_json::Value;

use super::{MORE, PROGRAMS, Stubs, options, unquoted};

/// What begins like a command between two backticks. Names may have backticks of their own: none
/// of netdiag's commands in a sentence has one, so that a name only makes further pairs.
fn between(text: &str, found: &mut BTreeSet<String>) {
    let pieces: Vec<&str> = text.split('`').collect();
    // Those before the first and behind the last stand between no two.
    let inner = pieces.get(1..pieces.len().saturating_sub(1));
    for piece in inner.unwrap_or_default() {
        let program = piece.split(' ').next().unwrap_or_default();
        let own = PROGRAMS.iter().chain(&MORE).chain(&["netdiag"]);
        if piece.contains(' ') && { own }.any(|own| *own == program) {
            found.insert((*piece).to_owned());
        }
    }
}

/// Those of all strings of a document.
pub fn of_document(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => between(text, found),
        Value::Array(all) => all.iter().for_each(|one| of_document(one, found)),
        Value::Object(members) => members.values().for_each(|one| of_document(one, found)),
        _ => {}
    }
}

/// Those of a page, whose sentences are wrapped.
pub fn of_page(page: &str, found: &mut BTreeSet<String>) {
    let words: Vec<&str> = page.split_whitespace().collect();
    between(&words.join(" "), found);
}

/// The lines of a page that are there to be pasted.
pub fn pasted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
}

/// A shell starts what the sentence says, and nothing else.
pub fn check(stubs: &Stubs, span: &str, what: &str) {
    let started = stubs.started(span);
    assert_eq!(
        started.len(),
        1 + unquoted(span),
        "{what}: {span:?} {started:?}"
    );
    let first = span.split(' ').next();
    assert_eq!(
        started[0].first().map(String::as_str),
        first,
        "{what}: {span:?}"
    );
    for run in &started {
        assert!(run[0] != "TRAP", "{what}: {span:?} started {started:?}");
        options(run, what);
    }
}
