//! Which part of netdiag may know which: each may only shrink what it asks of the others.
use super::source::{Source, untested};

const ROOT: &str = "netdiag-user/src/";

/// Each part, and what it may import. `cli` is at the top and may know all; parts that are not here
/// are no parts.
const MAY: [(&str, &[&str]); 14] = [
    ("sys", &["model"]),
    ("model", &[]),
    // Sources: where facts come from.
    ("cri", &["sys"]),
    ("host", &["cri", "model", "sys"]),
    ("kubernetes", &["model", "sys"]),
    ("pods", &["cri", "host", "model", "sys"]),
    ("kernel", &["host", "model", "pods", "sys"]),
    // From facts to a diagnosis.
    ("pipeline", &["model"]),
    ("causes", &["model", "pipeline"]),
    ("diagnosis", &["causes", "model", "pipeline"]),
    // Where it goes.
    ("recording", &["model", "pipeline", "sys"]),
    ("output", &["causes", "kernel", "model", "pipeline", "sys"]),
    ("lab", &["cri", "kernel", "model", "sys"]),
    (
        "cli",
        &[
            "causes",
            "cri",
            "diagnosis",
            "host",
            "kernel",
            "kubernetes",
            "lab",
            "model",
            "output",
            "pipeline",
            "pods",
            "recording",
            "sys",
        ],
    ),
];

/// Imports that go the wrong way.
pub fn layers(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let Some(name) = source.path.strip_prefix(ROOT) else {
            continue;
        };
        let part = name.split(['/', '.']).next().unwrap_or_default();
        let Some((_, may)) = MAY.iter().find(|(own, _)| *own == part) else {
            continue;
        };
        if is_test(sources, &source.path) {
            continue;
        }
        for known in imported(untested(&source.text)) {
            let is_part = MAY.iter().any(|(other, _)| *other == known);
            if is_part && known != part && !may.contains(&known) {
                problems.push(format!("{} imports {known}", source.path));
            }
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// A module that only tests have, or a file below one: its parent says so.
fn is_test(sources: &[Source], path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return false;
    };
    let stem = file.trim_end_matches(".rs");
    let parents = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let declared = format!("#[cfg(test)]\nmod {stem};");
    let own = sources
        .iter()
        .any(|it| parents.contains(&it.path) && it.text.contains(&declared));
    own || folder.starts_with(ROOT) && is_test(sources, &format!("{folder}.rs"))
}

/// The first names of paths that begin with `crate::`, those of a group in braces each.
fn imported(text: &str) -> Vec<&str> {
    let comments = |line: &&str| !line.trim_start().starts_with("//");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
        if !comments(&&text[line..]) {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.push(word(rest)),
        }
    }
    found
}

/// The first name of each member, up to the brace that ends the group.
fn heads(group: &str) -> Vec<&str> {
    let (mut depth, mut begins, mut found) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && (c.is_alphanumeric() || c == '_') => {
                found.push(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    found
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source {
            path: format!("{ROOT}{path}"),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_import_that_goes_up_is_named() {
        for text in [
            "use crate::diagnosis::findings;",
            "use crate::{\n    model::{a, b},\n    diagnosis::findings,\n};",
            "fn f() { crate::diagnosis::findings() }",
        ] {
            let all = [file("causes/x.rs", text)];
            assert_eq!(layers(&all).len(), 1, "{text}");
        }
        for text in [
            "use crate::{model::{diagnosis}, pipeline::facts::Facts, shell};",
            "// crate::diagnosis knows",
            "#[cfg(test)]\nmod tests { use crate::diagnosis; }",
        ] {
            let all = [file("causes/x.rs", text)];
            assert_eq!(layers(&all), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_only_tests_have_may_know_all() {
        let all = [
            file("recording/mod.rs", "#[cfg(test)]\nmod full;"),
            file("recording/full.rs", "use crate::cli;"),
            file("recording/full/more.rs", "use crate::cli;"),
        ];
        assert_eq!(layers(&all), [""; 0]);
    }

    #[test]
    fn no_two_parts_may_know_each_other() {
        // Each may know what stands before it, and so there is no way back.
        let mut before: Vec<&str> = Vec::new();
        let mut left: Vec<_> = MAY.to_vec();
        while !left.is_empty() {
            let ready = |(_, may): &(&str, &[&str])| may.iter().all(|it| before.contains(it));
            let Some(at) = left.iter().position(ready) else {
                panic!("a circle among {left:?}");
            };
            before.push(left.remove(at).0);
        }
    }
}
