//! What each cause's rule costs to keep: its lines, the conditions in it that say what it is not, and whom its manual
//! has to tell it from.
use anyhow::Result;

use crate::{
    check::source::{self, Source, code, has_word, untested},
    paths,
    sh::say,
};

const CAUSES: &str = "netdiag-user/crates/diagnosis/src/causes/";

/// Ways to say that something is not the case.
const NOT: [&str; 6] = [
    "is_none_or(",
    "is_none()",
    "is_err()",
    "!=",
    "None =>",
    "is_not_",
];
/// Ways to leave out what is something else.
const LEAVES_OUT: [&str; 3] = [".filter(", ".retain(", ".filter_map("];

#[derive(Default)]
struct Cost {
    files: usize,
    lines: usize,
    not: usize,
    left_out: usize,
    look_alikes: usize,
}

pub fn command() -> Result<()> {
    let sources = source::all(&paths::root())?;
    let stems = stems(&sources);
    let mut sum = Cost::default();
    say(&format!(
        "{:34} {:>5} {:>5} {:>5} {:>7} {:>10}",
        "cause", "files", "lines", "not", "filters", "look-alikes"
    ));
    for stem in &stems {
        let cost = cost(&sources, stem, &stems);
        tell(stem, &cost);
        sum.files += cost.files;
        sum.lines += cost.lines;
        sum.not += cost.not;
        sum.left_out += cost.left_out;
        sum.look_alikes += cost.look_alikes;
    }
    tell("all", &sum);
    Ok(())
}

fn tell(name: &str, cost: &Cost) {
    let Cost {
        files,
        lines,
        not,
        left_out,
        look_alikes,
    } = cost;
    say(&format!(
        "{name:34} {files:>5} {lines:>5} {not:>5} {left_out:>7} {look_alikes:>10}"
    ));
}

/// The file of each rule is the one that says its ID.
fn stems(sources: &[Source]) -> Vec<String> {
    let own = |source: &&Source| source.text.contains("pub const ID: &str");
    let own = sources.iter().filter(own);
    let stem = |source: &Source| {
        Some(
            source
                .path
                .strip_prefix(CAUSES)?
                .strip_suffix(".rs")?
                .to_owned(),
        )
    };
    let mut all: Vec<String> = own.filter_map(stem).collect();
    all.sort();
    all
}

fn cost(sources: &[Source], stem: &str, stems: &[String]) -> Cost {
    let (file, folder) = (format!("{CAUSES}{stem}.rs"), format!("{CAUSES}{stem}/"));
    let own = |source: &&Source| {
        let tests = source.path.contains("/tests");
        source.path == file || source.path.starts_with(&folder) && !tests
    };
    let mut cost = Cost::default();
    for source in sources.iter().filter(own) {
        cost.files += 1;
        for line in untested(&source.text).lines() {
            match line.strip_prefix("//!") {
                Some(manual) => cost.look_alikes += named(manual, stem, stems),
                None => count(&mut cost, &code(line)),
            }
        }
    }
    cost
}

/// Other causes in a line of the manual.
fn named(manual: &str, stem: &str, stems: &[String]) -> usize {
    let id = |stem: &String| format!("`{}`", stem.replace('_', "-"));
    let others = stems.iter().filter(|other| *other != stem);
    others.filter(|other| manual.contains(&id(other))).count()
}

fn count(cost: &mut Cost, code: &str) {
    cost.lines += usize::from(!code.trim().is_empty());
    let times = |what: &[&str]| -> usize { what.iter().map(|one| code.matches(one).count()).sum() };
    cost.not += times(&NOT) + negations(code);
    cost.left_out += times(&LEAVES_OUT);
    cost.left_out += usize::from(has_word(code, "continue"));
}

/// `!` before an expression, not behind a macro's name.
fn negations(code: &str) -> usize {
    let bytes = code.as_bytes();
    let negates = |at: usize| {
        let after = bytes
            .get(at + 1)
            .is_some_and(|b| b.is_ascii_alphabetic() || b"(_*&".contains(b));
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        after && !before.is_some_and(|b| b.is_ascii_alphanumeric() || b"_#".contains(b))
    };
    (0..bytes.len())
        .filter(|at| bytes[*at] == b'!' && negates(*at))
        .count()
}

#[cfg(test)]
mod tests {
    use super::negations;

    #[test]
    fn macros_and_attributes_deny_nothing() {
        assert_eq!(negations("let a = !b && !(c || d); shell!(\"\")"), 2);
        assert_eq!(negations("#![allow(x)] a != b"), 0);
    }
}
