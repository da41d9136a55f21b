//! Words that netdiag does not use before its readers: those of the field say the same.
use super::{
    literal::{Literal, literals},
    source::{Source, untested},
};

/// What must not come back, and what engineers say.
const WORDS: [(&str, &str); 9] = [
    ("for want of", "out of, without"),
    ("promises", "has an MTU of, announces"),
    ("heed", "ignore, follow"),
    ("heeds", "ignores, follows"),
    ("befall", "happen to"),
    ("befalls", "happens to"),
    ("how traffic fares", "traffic"),
    ("answers for nobody", "sends no replies"),
    ("killed for", "OOM-killed"),
];

/// Help, verdicts, events and messages of netdiag, and the pages that people read first.
pub fn forbidden(sources: &[Source], pages: &[&Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|it| is_read(&it.path)) {
        for Literal { line, text } in literals(untested(&source.text)) {
            tell(&source.path, line, text, &mut found);
        }
        for (n, line) in untested(&source.text).lines().enumerate() {
            // clap makes help of these, and `netdiag explain` manuals.
            let line = line.trim_start();
            let text = line.strip_prefix("///").or(line.strip_prefix("//!"));
            if let Some(text) = text {
                tell(&source.path, n + 1, text, &mut found);
            }
        }
    }
    for page in pages {
        for (n, line) in page.text.lines().enumerate() {
            tell(&page.path, n + 1, line, &mut found);
        }
    }
    found
}

fn is_read(path: &str) -> bool {
    let own = path.starts_with("netdiag-user/") && path.ends_with(".rs");
    own && !path.contains("/tests") && !path.contains("/testing")
}

fn tell(path: &str, line: usize, text: &str, found: &mut Vec<String>) {
    // A literal may go on in the next line.
    let words = text.split(|c: char| c.is_whitespace() || c == '\\');
    let words: Vec<&str> = words.filter(|it| !it.is_empty()).collect();
    let text = words.join(" ").to_lowercase();
    for (word, instead) in WORDS {
        if has(&text, word) {
            found.push(format!("{path}:{line} says '{word}': {instead}"));
        }
    }
}

/// As a word of its own.
fn has(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !part(before) && !part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn what_is_read_is_looked_at_and_what_is_not_is_left() {
        let spoken = source(
            "netdiag-user/crates/pods/src/a.rs",
            "// heed this\nconst A: &str = \"killed for \\\n    want\";\n/// Heed.\nstruct B;\n",
        );
        let other = source("netdiag-user/crates/pods/src/tests.rs", "\"for want of\"");
        let page = source(
            "README.md",
            "It promises much.\nThe promise stays, heedless.\n",
        );
        let found = forbidden(&[spoken, other], &[&page]);
        let places: Vec<&str> = found
            .iter()
            .filter_map(|it| it.split(" says").next())
            .collect();
        let wanted = [
            "netdiag-user/crates/pods/src/a.rs:2",
            "netdiag-user/crates/pods/src/a.rs:4",
            "README.md:1",
        ];
        assert_eq!(places, wanted, "{found:?}");
    }
}
