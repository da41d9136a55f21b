//! The repository's own rules, which no lint knows.

use super::layers::{crates, layers};
use super::links;
use super::literal::{Literal, literals};
use super::source::{self, Source, code, has_word};
use super::words;
use crate::{paths, test::tally::Tally};

const MAX_LINES: usize = 500;

/// Where `unsafe` may stand; everywhere else it is denied.
const UNSAFE: [&str; 6] = [
    "netdiag-ebpf/",
    "netdiag-common/src/front.rs",
    "netdiag-common/src/lib.rs",
    "netdiag-user/crates/kernel/src/",
    "netdiag-user/crates/sys/src/",
    "netdiag-user/crates/lab/src/sys.rs",
];

/// The one folder that names aya on the user's side.
const AYA: [&str; 1] = ["netdiag-user/crates/kernel/src/"];

/// The folders that know the Kubernetes API's objects: its client, pods for one command, and
/// what a cluster is given.
const KUBE: [&str; 3] = [
    "netdiag-user/crates/fleet/src/",
    "netdiag-user/crates/kubernetes/src/",
    "netdiag-user/crates/manifests/src/",
];

const README: &str = "README.md";
const DOCS: &str = "netdiag-user/docs/";

type Rule = fn(&[Source]) -> Vec<String>;

/// Test code may show what it likes.
const SHOWN: [&str; 3] = ["/tests", "/testing", "/live.rs"];

const RULES: [(&str, Rule); 11] = [
    (
        "tidy: no value within a command in a sentence",
        glued_commands,
    ),
    ("tidy: unsafe only in its places", unsafe_places),
    ("tidy: no file over 500 lines", long_files),
    ("tidy: aya only in kernel/", aya_places),
    (
        "tidy: kube only in kubernetes/, fleet/ and manifests/",
        kube_places,
    ),
    ("tidy: every cause is registered and documented", causes),
    ("tidy: no cause knows another", strangers),
    ("tidy: crates know only those below them", crates),
    ("tidy: parts know only those below them", layers),
    ("tidy: words of the field", words_of_the_field),
    ("tidy: links of the pages", links_lead_somewhere),
];

pub fn all(tally: &mut Tally) {
    let sources = match source::all(&paths::root()) {
        Ok(sources) => sources,
        Err(error) => return tally.fail("tidy", &format!("{error:#}")),
    };
    for (name, rule) in RULES {
        match rule(&sources).as_slice() {
            [] => tally.pass(name),
            problems => tally.fail(name, &problems.join("; ")),
        }
    }
}

fn words_of_the_field(sources: &[Source]) -> Vec<String> {
    in_pages(|pages| {
        let is_read = |it: &&Source| it.path == README || it.path.starts_with(DOCS);
        let read: Vec<&Source> = pages.iter().filter(is_read).collect();
        match read.iter().any(|it| it.path == README) {
            true => words::forbidden(sources, &read),
            false => vec![format!("there is no {README}")],
        }
    })
}

fn links_lead_somewhere(_: &[Source]) -> Vec<String> {
    in_pages(|pages| links::broken(&paths::root(), pages))
}

fn in_pages(rule: impl Fn(&[Source]) -> Vec<String>) -> Vec<String> {
    match links::pages(&paths::root()) {
        Ok(pages) => rule(&pages),
        Err(error) => vec![format!("{error:#}")],
    }
}

fn unsafe_places(sources: &[Source]) -> Vec<String> {
    word_only_in(sources, &UNSAFE, |code| has_word(code, "unsafe"))
}

fn aya_places(sources: &[Source]) -> Vec<String> {
    let user: Vec<_> = sources
        .iter()
        .filter(|it| it.path.starts_with("netdiag-user/"))
        .collect();
    word_only_in(user, &AYA, |code| {
        code.contains("aya::") || has_word(code, "aya_log")
    })
}

fn kube_places(sources: &[Source]) -> Vec<String> {
    let user = sources
        .iter()
        .filter(|it| it.path.starts_with("netdiag-user/"));
    word_only_in(user, &KUBE, |code| {
        code.contains("kube::") || has_word(code, "k8s_openapi")
    })
}

fn word_only_in<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
    places: &[&str],
    is_hit: impl Fn(&str) -> bool,
) -> Vec<String> {
    let outside = |it: &&Source| !places.iter().any(|place| it.path.starts_with(place));
    let hits = |it: &'a Source| {
        let lines = it.text.lines().map(code).enumerate();
        lines
            .filter(|(_, line)| is_hit(line))
            .map(|(n, _)| format!("{}:{}", it.path, n + 1))
            .collect::<Vec<_>>()
    };
    sources.into_iter().filter(outside).flat_map(hits).collect()
}

/// What stands between backticks is pasted: a value comes there by `CommandLine::told` alone.
fn glued_commands(sources: &[Source]) -> Vec<String> {
    let own = |it: &&Source| {
        it.path.starts_with("netdiag-user/")
            && it.path.contains("/src/")
            && !SHOWN.iter().any(|s| it.path.contains(s))
    };
    let mut problems = Vec::new();
    for source in sources.iter().filter(own) {
        let code = source::untested(&source.text);
        let glued = literals(code).into_iter().filter(is_glued);
        problems.extend(glued.map(|it| format!("{}:{}", source.path, it.line)));
    }
    problems
}

/// A place for a value between two backticks, or one backtick for which another literal has the other.
fn is_glued(literal: &Literal<'_>) -> bool {
    let parts: Vec<&str> = literal.text.split('`').collect();
    let holds = |part: &str| part.replace("{{", "").contains('{');
    let alone = parts.len().is_multiple_of(2) && literal.text != "`";
    alone || parts.iter().skip(1).step_by(2).any(|part| holds(part))
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let count = |it: &Source| (it.path.clone(), it.text.lines().count());
    let long = sources
        .iter()
        .map(count)
        .filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(path, lines)| format!("{path} has {lines}"))
        .collect()
}

const CAUSES: &str = "netdiag-user/crates/diagnosis/src/causes/";
/// What they share, which knows none of them either.
const SHARED: [&str; 3] = ["shared/", "need", "unexplained"];

/// Two causes that know each other are the first of a pair for every two: which of them a verdict
/// tells, and which stands below which, is the arbiter's.
fn strangers(sources: &[Source]) -> Vec<String> {
    let rule = |it: &&Source| it.text.contains("pub const ID: &str");
    let stem = |it: &Source| {
        let name = it.path.strip_prefix("netdiag-user/crates/diagnosis/src/")?;
        let mut folders = ["causes/"].iter().chain(&SHARED);
        let name = folders.find_map(|folder| name.strip_prefix(folder))?;
        Some(name.split(['/', '.']).next()?.to_owned())
    };
    let stems: Vec<String> = sources.iter().filter(rule).filter_map(stem).collect();
    let mut problems = Vec::new();
    for source in sources {
        let Some(own) = stem(source).filter(|own| own != "mod" && own != "tests") else {
            continue;
        };
        if source.path.ends_with("/tests.rs") {
            continue;
        }
        let text = source::untested(&source.text);
        for (n, line) in text.lines().enumerate() {
            let others = stems.iter().filter(|stem| **stem != own);
            let named = others.filter(|stem| names(line, stem));
            problems.extend(named.map(|stem| format!("{}:{} names {stem}", source.path, n + 1)));
        }
    }
    problems
}

/// By its module or by its public name.
fn names(line: &str, stem: &str) -> bool {
    if line.trim_start().starts_with("//") {
        return false;
    }
    let id = format!("\"{}\"", stem.replace('_', "-"));
    has_word(&code(line), stem) || line.contains(&id)
}

/// A cause has its line in the registry, and its incident in the lab under the same stem. Its row
/// in the README is generated.
fn causes(sources: &[Source]) -> Vec<String> {
    const DIR: &str = CAUSES;
    const LAB: &str = "netdiag-user/crates/lab/src/scenarios/";
    let registry = sources.iter().find(|it| it.path == format!("{DIR}mod.rs"));
    // A long line is broken by rustfmt.
    let registry = registry.map_or(String::new(), |it| it.text.split_whitespace().collect());
    let mut problems = Vec::new();
    for source in sources
        .iter()
        .filter(|it| it.text.contains("pub const ID: &str"))
    {
        let name = source.path.strip_prefix(DIR);
        let Some(stem) = name.and_then(|it| it.strip_suffix(".rs")) else {
            continue;
        };
        let lines = ["cause!({})", "cause!({},", "rest!({})"].map(|line| line.replace("{}", stem));
        if !lines.iter().any(|line| registry.contains(line)) {
            problems.push(format!("{stem} has no line in the registry"));
        }
        let id = stem.replace('_', "-");
        if !source
            .text
            .contains(&format!("pub const ID: &str = \"{id}\""))
        {
            problems.push(format!("{stem}.rs holds another cause than {id}"));
        }
        let incident = format!("{LAB}{stem}.rs");
        if !sources.iter().any(|it| it.path == incident) {
            problems.push(format!("{id} has no incident in the lab"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_literals_alone_stand_in_sentences() {
        let file = |text: &str| Source {
            path: "netdiag-user/crates/diagnosis/src/causes/x.rs".to_owned(),
            text: text.to_owned(),
        };
        for glued in [
            "f(\n\"see `ip route get {}` \")",
            "f(\"`{c}`\")",
            "f(\"`ip \", a, \"`\")",
            "f(\"a `b` and \\\n `nft list \\\n {x}`\")",
        ] {
            let found = glued_commands(&[file(glued)]);
            assert_eq!(
                found.len(),
                glued.matches("\"`ip").count().max(1),
                "{glued}"
            );
        }
        for fine in [
            "f(\"`ip link` lists {n}: `netdiag explain` too\")",
            "// `{c}`\nf(\"`awk '{{print}}'`\")",
            "#[cfg(test)]\nmod tests { f(\"`{c}`\") }",
            "[\"`\", text, \"`\"].concat()",
        ] {
            assert!(glued_commands(&[file(fine)]).is_empty(), "{fine}");
        }
    }

    #[test]
    fn causes_are_strangers_to_each_other() {
        let file = |name: &str, more: &str| Source {
            path: format!("netdiag-user/crates/diagnosis/src/causes/{name}.rs"),
            text: format!("pub const ID: &str = \"x\";\n{more}"),
        };
        let with = |more: &str| {
            let all = [file("one", more), file("no_route", "no_route::x()")];
            strangers(&all).len()
        };
        for known in [
            "use super::no_route;",
            "no_route::fix()",
            "a == \"no-route\"",
        ] {
            assert_eq!(with(known), 1, "{known}");
        }
        let mut shared = file("one", "use crate::causes::no_route;");
        shared.path = shared.path.replace("causes", "shared");
        let all = [shared, file("no_route", "")];
        assert_eq!(strangers(&all).len(), 1, "what they share");
        for fine in ["// as no_route does", "\"there is no route\"", "one::x()"] {
            assert_eq!(with(fine), 0, "{fine}");
        }
    }

    #[test]
    fn this_repository_is_tidy() {
        let sources = source::all(&paths::root()).expect("read");
        for (name, rule) in RULES {
            assert_eq!(rule(&sources), [""; 0], "{name}");
        }
    }

    #[test]
    fn unsafe_outside_its_places_is_named() {
        let text = "fn f() {\n    unsafe { g() }\n}\n".to_owned();
        let here = Source {
            path: "netdiag-user/src/host/x.rs".to_owned(),
            text: text.clone(),
        };
        let there = Source {
            path: "netdiag-ebpf/src/x.rs".to_owned(),
            text,
        };
        assert_eq!(
            unsafe_places(&[here, there]),
            ["netdiag-user/src/host/x.rs:2"]
        );
    }
}
