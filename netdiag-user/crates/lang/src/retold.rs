//! What was said in English before it was known who reads it: by a recording, by `diagnose -o json`.
use std::{borrow::Cow, sync::OnceLock};

use super::{CHINESE, Lang, chosen, fill};

/// Letters that a sentence needs beside its placeholders, to be known again.
const LETTERS: usize = 8;
/// What stands between sentences that are told together.
const BETWEEN: &str = "; ";
/// Between what was tried and why it failed.
const BECAUSE: &str = ": ";
/// Sentences within sentences.
const DEEPEST: usize = 4;

/// An English sentence of the catalogue, as texts are compared with it.
struct Pattern {
    /// What stands before, between and behind the values.
    literals: Vec<String>,
    /// The placeholders between them, as a translation writes them.
    keys: Vec<String>,
    said: &'static str,
}

/// The same text in the language that was chosen, if it is a sentence of the catalogue; its values
/// may be such sentences themselves.
pub fn retold(text: &str) -> Cow<'_, str> {
    match chosen() {
        Lang::English => Cow::Borrowed(text),
        Lang::Chinese => chinese(text, DEEPEST),
    }
}

fn chinese(text: &str, deepest: usize) -> Cow<'_, str> {
    if let Some(said) = super::chinese(text) {
        return Cow::Borrowed(said);
    }
    let found = patterns().iter().filter(|_| deepest > 0).find_map(|it| {
        let values = it.values(text)?;
        let values = values.into_iter().map(|it| chinese(it, deepest - 1));
        let values = it.keys.iter().map(String::as_str).zip(values);
        let values: Vec<(&str, String)> = values.map(|(k, v)| (k, v.into_owned())).collect();
        Some(fill(it.said, &values))
    });
    match found {
        Some(found) => Cow::Owned(found),
        None if deepest > 0 && text.contains(BETWEEN) => {
            let each = text.split(BETWEEN).map(|it| chinese(it, deepest - 1));
            Cow::Owned(each.collect::<Vec<_>>().join("；"))
        }
        None => chain(text, deepest).map_or(Cow::Borrowed(text), Cow::Owned),
    }
}

/// An error behind what was tried: `asking netlink: Permission denied`. What nobody here wrote stays.
fn chain(text: &str, deepest: usize) -> Option<String> {
    let (tried, why) = text.split_once(BECAUSE).filter(|_| deepest > 0)?;
    let said = chinese(tried, deepest - 1);
    (said != tried).then(|| format!("{said}：{}", chinese(why, deepest - 1)))
}

/// Those with the most words of their own first: they are the least likely to be met by chance.
fn patterns() -> &'static [Pattern] {
    static ALL: OnceLock<Vec<Pattern>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = CHINESE.iter().map(|(english, said)| pattern(english, said));
        let mut all: Vec<Pattern> = all
            .filter(|it| !it.keys.is_empty() && it.letters() >= LETTERS)
            .collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.letters()));
        all
    })
}

fn pattern(english: &str, said: &'static str) -> Pattern {
    let mut it = Pattern {
        literals: vec![String::new()],
        keys: Vec::new(),
        said,
    };
    let mut numbers = 0..;
    let mut rest = english;
    while let Some(at) = rest.find(['{', '}']) {
        let (sign, after) = rest[at..].split_at(1);
        if let Some(literal) = it.literals.last_mut() {
            literal.push_str(&rest[..at]);
        }
        if let Some(after) = after.strip_prefix(sign) {
            it.literals
                .last_mut()
                .into_iter()
                .for_each(|all| all.push_str(sign));
            rest = after;
            continue;
        }
        let Some((key, after)) = after.split_once('}') else {
            break;
        };
        it.keys.push(match key.is_empty() || key.starts_with(':') {
            true => format!("{}{key}", numbers.next().unwrap_or_default()),
            false => key.to_owned(),
        });
        it.literals.push(String::new());
        rest = after;
    }
    it.literals
        .last_mut()
        .into_iter()
        .for_each(|all| all.push_str(rest));
    it
}

impl Pattern {
    fn letters(&self) -> usize {
        let letters = |it: &String| it.chars().filter(char::is_ascii_alphabetic).count();
        self.literals.iter().map(letters).sum()
    }

    /// What stands in its places; nothing where the text is another one.
    fn values<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, others) = self.literals.split_first()?;
        let (last, between) = others.split_last()?;
        let mut rest = text.strip_prefix(first.as_str())?;
        let mut values = Vec::new();
        for literal in between {
            // Two values that touch cannot be told apart.
            let (value, after) = rest
                .split_once(literal.as_str())
                .filter(|_| !literal.is_empty())?;
            values.push(value);
            rest = after;
        }
        values.push(rest.strip_suffix(last.as_str())?);
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_between_the_words() {
        let it = pattern("{n} of {} at {link} {{x}} after {:.1} s", "");
        assert_eq!(it.keys, ["n", "0", "link", "1:.1"]);
        let text = "3 of 4 at eth0 {x} after 1.5 s";
        assert_eq!(it.values(text), Some(vec!["3", "4", "eth0", "1.5"]));
        assert_eq!(it.values("3 of 4 at eth0"), None);
    }

    #[test]
    fn a_text_that_nobody_translated_stays() {
        assert_eq!(
            chinese("a stranger's own words", 1),
            "a stranger's own words"
        );
        assert_eq!(retold("x"), "x");
    }

    /// What was tried is netdiag's own sentence, why it failed the kernel's.
    #[test]
    fn an_error_is_told_behind_what_was_tried() {
        let text = "entering the network namespace: Operation not permitted (os error 1)";
        let said = "进入网络命名空间：Operation not permitted (os error 1)";
        assert_eq!(chinese(text, DEEPEST), said);
        let socket = "connecting: it is no socket";
        assert_eq!(chinese(socket, DEEPEST), "连接：它不是套接字");
        assert_eq!(
            chinese("a stranger: his words", DEEPEST),
            "a stranger: his words"
        );
    }
}
