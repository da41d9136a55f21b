//! Reads lines that [`CommandLine::text`](super::CommandLine::text) wrote, in a verdict: each word
//! stays one, whatever is in it, and no operator comes out of a word.
use super::{
    kind, ours,
    word::{Word, is_plain, misleads},
};

/// Programs that take their arguments apart again.
const REPARSING: [&str; 2] = ["nft", "ssh"];
/// Words of nft's own in the lines of fixes that are no names: for a chain whose policy drops, for a
/// chain that masquerades, and for everybody else.
const NFT: [&str; 3] = [
    "{ policy accept; }",
    "{ type nat hook postrouting priority 100; }",
    "!=",
];

/// Nothing where the line is not one of netdiag's.
pub fn parse(line: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = next(rest)?;
        words.extend(word);
        rest = after.trim_start_matches(' ');
    }
    let odd = |word: &Word| match word {
        Word::Text(text) => misleads(text),
        _ => false,
    };
    let of_nft = |word: &&str| is_plain(word) || word.starts_with('-') || NFT.contains(word);
    let reparsed = |words: &Vec<&str>| words.first().is_some_and(|it| REPARSING.contains(it));
    let programs_words = kind::programs(&words);
    let mut all_reparsed = programs_words.iter().filter(|it| reparsed(it));
    let plain = all_reparsed.all(|words| words.iter().all(of_nft));
    let started = |at: usize| match at.checked_sub(1).map(|before| &words[before]) {
        Some(before) => matches!(before, Word::Operator("|" | "&&" | ";" | "$(")),
        None => true,
    };
    let mut programs = words.iter().enumerate().filter(|(at, _)| started(*at));
    let known = programs.all(|(_, word)| matches!(word, Word::Text(text) if is_plain(text)));
    let safe = known && plain && !words.iter().any(odd);
    (safe && ours::is_ours(&words)).then_some(words)
}

/// The next word, with an operator before or behind it, and the rest.
fn next(line: &str) -> Option<(Vec<Word>, &str)> {
    for operator in ["|", "&&", ">", ";"] {
        if let Some(rest) = line.strip_prefix(operator) {
            return Some((vec![Word::Operator(operator)], rest));
        }
    }
    if let Some(rest) = line.strip_prefix("$(") {
        return Some((vec![Word::Operator("$(")], rest));
    }
    if let Some(rest) = line.strip_prefix(')') {
        return Some((vec![Word::Operator(")")], rest));
    }
    let (mut text, mut quote, mut escaped) = (String::new(), false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\'' => quote = !quote,
            '\\' if !quote => escaped = true,
            ' ' | ';' | ')' if !quote => return Some((vec![Word::Text(text)], &line[at..])),
            '$' | '`' | '"' | '&' | '|' | '<' | '>' | '(' | '*' | '?' | '\n' if !quote => {
                return None;
            }
            c => text.push(c),
        }
    }
    (!quote && !escaped).then_some((vec![Word::Text(text)], ""))
}
