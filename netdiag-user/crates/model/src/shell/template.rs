//! Templates of command lines: literals of this program, a `{}` for each value.
use std::fmt::Display;

use super::word::{Word, is_plain, misleads};

/// Programs that take their arguments apart again: nft joins them, the others give them to a shell.
const REPARSING: [&str; 5] = ["bash", "nft", "sh", "ssh", "watch"];

/// How many values a template takes.
pub const fn holes(template: &str) -> usize {
    let bytes = template.as_bytes();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        if bytes[at] == b'{' {
            match at + 1 < bytes.len() && bytes[at + 1] == b'{' {
                true => at += 1,
                false => count += 1,
            }
        }
        at += 1;
    }
    count
}

/// Nothing where a value cannot stand where it should.
pub fn fill(template: &'static str, values: &[&dyn Display]) -> Option<Vec<Word>> {
    let mut values = values.iter();
    let mut words: Vec<Word> = Vec::new();
    let mut reparsed = false;
    for part in split(template) {
        match operator(part) {
            Some(operator) => {
                reparsed = false;
                words.push(Word::Operator(operator));
            }
            None => {
                let (part, ends) = part.strip_suffix(';').map_or((part, false), |p| (p, true));
                reparsed |= REPARSING.contains(&part);
                words.push(word(part, reparsed, &mut values)?);
                if ends {
                    reparsed = false;
                    words.push(Word::Operator(";"));
                }
            }
        }
    }
    Some(words)
}

/// The operator that a template's word is.
fn operator(part: &str) -> Option<&'static str> {
    let all = ["|", ";", "&&", ">", "$(", ")"];
    all.into_iter().find(|operator| *operator == part)
}

/// At spaces outside of quotes.
fn split(template: &'static str) -> impl Iterator<Item = &'static str> {
    let mut quote = false;
    let parts = template.split(move |c: char| {
        quote ^= c == '\'';
        c == ' ' && !quote
    });
    parts.filter(|part| !part.is_empty())
}

/// One word of a template with its values put in.
fn word<'a>(
    part: &'static str,
    reparsed: bool,
    values: &mut impl Iterator<Item = &'a &'a dyn Display>,
) -> Option<Word> {
    let expression = part.contains('\'');
    if !part.contains(['{', '}', '\'']) {
        return Some(Word::Fixed(part));
    }
    let mut text = String::new();
    let mut rest = part.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\'', _) => {}
            ('{', Some('{')) | ('}', Some('}')) => {
                rest.next();
                text.push(c);
            }
            ('{', _) => {
                let of_option = rest.peek() == Some(&'v');
                rest.find(|c| *c == '}')?;
                let value = values.next()?.to_string();
                let option = text.is_empty() && !of_option && value.starts_with('-');
                let odd = (expression || reparsed) && !is_plain(&value);
                if value.is_empty() || option || odd || misleads(&value) {
                    return None;
                }
                text.push_str(&value);
            }
            _ => text.push(c),
        }
    }
    Some(Word::Text(text))
}
