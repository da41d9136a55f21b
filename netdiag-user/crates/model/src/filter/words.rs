//! An expression's words, each with its place.

/// One word, and the number of its first character, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    pub text: &'a str,
    pub at: usize,
}

/// Splits at spaces; `(`, `)`, `!`, `&&` and `||` are words of their own.
pub fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[begin..];
        let length = length(rest);
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        words.push(Word {
            text: &rest[..length],
            at,
        });
        rest = &rest[length..];
    }
    words
}

fn length(text: &str) -> usize {
    let sign = ["(", ")", "!", "&&", "||"];
    if let Some(sign) = sign.iter().find(|s| text.starts_with(**s)) {
        return sign.len();
    }
    let end = |c: char| c.is_whitespace() || "()!&|".contains(c);
    match text.find(end) {
        // A lone & or |: a word that nobody knows.
        Some(0) => 1,
        Some(at) => at,
        None => text.len(),
    }
}
