//! Which part of netdiag may know which: each may only shrink what it asks of the others.
use std::collections::BTreeSet;

use super::source::{Source, untested};

/// The folder of these crates; `netdiag-user` itself puts them together and may know all.
const FOLDER: &str = "netdiag-user/crates/";

/// Who, and whom each may know; only those that stand before it.
type Table = [(&'static str, &'static [&'static str])];

/// Each crate by its folder, and what it may depend on. What only tests need is not asked for.
const CRATES: &Table = &[
    // What everybody may say.
    ("lang-macros", &[]),
    ("lang", &[]),
    ("model", &[]),
    ("sys", &["model"]),
    // Rules as the kernel runs them, whoever asks.
    ("ruleset", &["model"]),
    // Sources: where facts come from.
    ("cri", &[]),
    ("host", &["cri", "model", "ruleset", "sys"]),
    ("kubernetes", &["model", "sys"]),
    ("pods", &["cri", "host", "model", "sys"]),
    ("kernel", &["host", "model", "pods", "sys"]),
    // From facts to a diagnosis.
    ("changes", &["model"]),
    ("forwarding", &["model", "ruleset"]),
    ("pipeline", &["forwarding", "model"]),
    ("diagnosis", &["changes", "forwarding", "model", "pipeline"]),
    // Where it goes.
    ("recording", &["model", "pipeline", "sys"]),
    (
        "output",
        &["diagnosis", "kernel", "model", "pipeline", "sys"],
    ),
    ("report", &["diagnosis", "model", "output"]),
    (
        "agent",
        &["diagnosis", "model", "pipeline", "recording", "sys"],
    ),
    ("fleet", &["kubernetes", "model", "sys"]),
    ("otlp", &["agent", "model", "pipeline", "sys"]),
    ("lab", &["cri", "kernel", "model", "sys"]),
    ("manifests", &["diagnosis", "sys"]),
    ("top", &["diagnosis", "model", "pipeline"]),
    // What holds them against the kernel; nothing that is delivered knows it.
    (
        "oracle",
        &[
            "forwarding",
            "host",
            "model",
            "pipeline",
            "recording",
            "ruleset",
            "sys",
        ],
    ),
];

/// Parts within a crate, from the workspace's folder, and which of its other modules each may import.
const PARTS: &[(&str, &Table)] = &[(
    "netdiag-user/crates/diagnosis/src/",
    &[
        ("multi_node", &[]),
        ("need", &[]),
        ("shared", &["need"]),
        ("unexplained", &["need", "shared"]),
        ("causes", &["multi_node", "need", "shared", "unexplained"]),
        ("undecided", &["causes", "need"]),
    ],
)];

/// Dependencies that go the wrong way, and crates that nobody placed.
pub fn crates(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let folder = source.path.strip_prefix(FOLDER);
        let Some(name) = folder.and_then(|it| it.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let Some((_, may)) = CRATES.iter().find(|(own, _)| *own == name) else {
            problems.push(format!("{} has no place among the crates", source.path));
            continue;
        };
        for known in depended(&source.text) {
            if !["common", "lang", "lang-macros"].contains(&known) && !may.contains(&known) {
                problems.push(format!("{} depends on netdiag-{known}", source.path));
            }
        }
    }
    problems
}

/// Our own crates below `[dependencies]`.
fn depended(manifest: &str) -> Vec<&str> {
    let (_, rest) = manifest
        .split_once("\n[dependencies]\n")
        .unwrap_or_default();
    let own = rest.split("\n[").next().unwrap_or_default().lines();
    own.filter_map(|line| Some(word(line.strip_prefix("netdiag-")?)))
        .collect()
}

/// Imports that go the wrong way within a crate.
pub fn layers(sources: &[Source]) -> Vec<String> {
    let each = PARTS
        .iter()
        .flat_map(|(root, parts)| upward(sources, root, parts));
    let problems: BTreeSet<String> = each.collect();
    problems.into_iter().collect()
}

fn upward(sources: &[Source], root: &str, parts: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let Some(name) = source.path.strip_prefix(root) else {
            continue;
        };
        let part = name.split(['/', '.']).next().unwrap_or_default();
        let Some((_, may)) = parts.iter().find(|(own, _)| *own == part) else {
            continue;
        };
        if is_test(sources, root, &source.path) {
            continue;
        }
        for known in imported(untested(&source.text)) {
            if is_module(sources, root, known) && known != part && !may.contains(&known) {
                problems.push(format!("{} imports {known}", source.path));
            }
        }
    }
    problems
}

fn is_module(sources: &[Source], root: &str, name: &str) -> bool {
    let (file, folder) = (format!("{root}{name}.rs"), format!("{root}{name}/"));
    let here = |it: &Source| it.path == file || it.path.starts_with(&folder);
    sources.iter().any(here)
}

/// A module that only tests have, or a file below one: its parent says so.
fn is_test(sources: &[Source], root: &str, path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return false;
    };
    let stem = file.trim_end_matches(".rs");
    let parents = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let declared = format!("#[cfg(test)]\nmod {stem};");
    let own = sources
        .iter()
        .any(|it| parents.contains(&it.path) && it.text.contains(&declared));
    own || folder.starts_with(root) && is_test(sources, root, &format!("{folder}.rs"))
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
    use crate::{check::source, paths};

    const ROOT: &str = "netdiag-user/crates/x/src/";
    const LOWER: &Table = &[("lower", &[])];

    fn file(path: &str, text: &str) -> Source {
        Source {
            path: format!("{ROOT}{path}"),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_import_that_goes_up_is_named() {
        let found = |text: &str| {
            let all = [file("lower/x.rs", text), file("upper.rs", "")];
            upward(&all, ROOT, LOWER).len()
        };
        for text in [
            "use crate::upper::findings;",
            "use crate::{\n    model::{a, b},\n    upper::findings,\n};",
            "fn f() { crate::upper::findings() }",
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
        for text in [
            "use crate::{model::{upper}, lower::facts::Facts, shell};",
            "// crate::upper knows",
            "#[cfg(test)]\nmod tests { use crate::upper; }",
        ] {
            assert_eq!(found(text), 0, "{text}");
        }
    }

    #[test]
    fn what_only_tests_have_may_know_all() {
        let all = [
            file("upper.rs", ""),
            file("lower/mod.rs", "#[cfg(test)]\nmod full;"),
            file("lower/full.rs", "use crate::upper;"),
            file("lower/full/more.rs", "use crate::upper;"),
        ];
        assert_eq!(upward(&all, ROOT, LOWER), [""; 0]);
    }

    #[test]
    fn parts_are_where_the_table_says() {
        let sources = source::all(&paths::root()).expect("read");
        for (root, parts) in PARTS {
            for (part, _) in *parts {
                assert!(is_module(&sources, root, part), "{root}{part}");
            }
        }
        for (name, _) in CRATES {
            let manifest = format!("{FOLDER}{name}/Cargo.toml");
            assert!(sources.iter().any(|it| it.path == manifest), "{manifest}");
        }
    }

    #[test]
    fn a_dependency_that_goes_up_is_named() {
        let found = |name: &str, manifest: &str| {
            let path = format!("{FOLDER}{name}/Cargo.toml");
            let text = manifest.to_owned();
            crates(&[Source { path, text }])
        };
        let up = "[package]\n\n[dependencies]\nlibc = \"0\"\nnetdiag-lab = { workspace = true }\n";
        assert_eq!(
            found("model", up),
            ["netdiag-user/crates/model/Cargo.toml depends on netdiag-lab"]
        );
        let common = up.replace("netdiag-lab", "netdiag-common");
        let tests = up.replace("[dependencies]", "[dependencies]\n\n[dev-dependencies]");
        for fine in [&common, &tests] {
            assert_eq!(found("model", fine), [""; 0], "{fine}");
        }
        assert_eq!(found("new", &common).len(), 1);
    }

    #[test]
    fn no_two_may_know_each_other() {
        for table in [CRATES].into_iter().chain(PARTS.iter().map(|(_, it)| *it)) {
            // Each may know what stands before it, and so there is no way back.
            let mut before: Vec<&str> = Vec::new();
            for (name, may) in table {
                let unknown = may.iter().find(|it| !before.contains(it));
                assert_eq!(unknown, None, "{name}");
                before.push(name);
            }
        }
    }
}
