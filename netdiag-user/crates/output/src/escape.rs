//! The last thing before text leaves: in JSON and YAML characters that a terminal obeys, or that turn
//! text around, are escaped (their value stays the same), and in tables nothing but colours is left
//! of them.
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::model::text::{is_harmful, is_plain};

/// One line of JSON, without its end.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).context("encoding JSON")?;
    Ok(in_json(text))
}

/// JSON for people too, without the end of its last line.
pub fn pretty_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).context("encoding JSON")?;
    Ok(in_json(text))
}

/// All of JSON's own signs are ASCII: what is harmful is inside a string (RFC 8259, 7).
fn in_json(text: String) -> String {
    if is_plain(&text) || !text.contains(|c| is_harmful(c) && c != '\n') {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match is_harmful(c) && c != '\n' {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(safe, "\\u{unit:04x}");
                }
            }
            false => safe.push(c),
        }
    }
    safe
}

pub fn yaml(value: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(value).context("encoding YAML")?;
    if !text.contains(|c| is_harmful(c) && c != '\n') {
        return Ok(text);
    }
    // Only strings in quotes have escapes: all are put in quotes then.
    let options = serde_saphyr::ser_options! { quote_all: true };
    let quoted = serde_saphyr::to_string_with_options(value, options);
    Ok(in_yaml(&quoted.context("encoding YAML")?))
}

/// Escapes within double quotes, turns single quotes into double ones where they hold something
/// harmful, and leaves nothing harmful outside of quotes (YAML 1.2, 5.7).
fn in_yaml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 64);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                safe.push('"');
                while let Some(c) = rest.next() {
                    push(&mut safe, c);
                    match c {
                        '\\' => safe.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '\'' => {
                let mut inside = String::new();
                while let Some(c) = rest.next() {
                    match c {
                        '\'' if rest.next_if_eq(&'\'').is_none() => break,
                        c => inside.push(c),
                    }
                }
                single(&mut safe, &inside);
            }
            '\n' => safe.push('\n'),
            c if is_harmful(c) => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

fn single(to: &mut String, inside: &str) {
    if !inside.contains(is_harmful) {
        let _ = write!(to, "'{}'", inside.replace('\'', "''"));
        return;
    }
    to.push('"');
    for c in inside.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            c => push(to, c),
        }
    }
    to.push('"');
}

fn push(to: &mut String, c: char) {
    let _ = match (is_harmful(c), u32::from(c)) {
        (false, _) => to.write_char(c),
        (true, code @ ..=0xffff) => write!(to, "\\u{code:04X}"),
        (true, code) => write!(to, "\\U{code:08X}"),
    };
}

/// Text for a terminal: colours stay (ECMA-48, SGR), all else that is harmful is shown.
pub fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = colour(rest).unwrap_or(c.len_utf8());
        match length == c.len_utf8() && is_harmful(c) && !matches!(c, '\n' | '\t') {
            true => safe.extend(c.escape_unicode()),
            false => safe.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    safe
}

/// How long the colour is that the text begins with.
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\x1b[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Everything that is harmful, in one name.
    fn hostile() -> String {
        let all = (0..=0x10_ffff).filter_map(char::from_u32);
        let harmful: String = all.filter(|c| is_harmful(*c)).collect();
        format!("it's \"a\\b\": {harmful}#-")
    }

    fn harmless(text: &str) {
        let bad: Vec<_> = text
            .chars()
            .filter(|c| is_harmful(*c) && *c != '\n')
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
    }

    #[test]
    fn documents_say_the_same() {
        let value = vec![BTreeMap::from([
            ("plain", "plain".to_owned()),
            ("bidi", "\u{202e}txt".to_owned()),
            ("quotes", "it's \u{200b}\\ \"so\"".to_owned()),
            ("all", hostile()),
        ])];
        for text in [json(&value), pretty_json(&value)] {
            let text = text.expect("JSON");
            harmless(&text);
            let read: Vec<BTreeMap<&str, String>> = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, value);
        }
        let text = yaml(&value).expect("YAML");
        harmless(&text);
        let read: Vec<BTreeMap<String, String>> = serde_saphyr::from_str(&text).expect("YAML");
        let read: Vec<BTreeMap<&str, String>> = read
            .iter()
            .map(|m| m.iter().map(|(k, v)| (k.as_str(), v.clone())).collect())
            .collect();
        assert_eq!(read, value);
        let honest = BTreeMap::from([("a", "it's ä")]);
        let plain = serde_saphyr::to_string(&honest).expect("YAML");
        assert_eq!(yaml(&honest).expect("YAML"), plain);
    }

    #[test]
    fn a_hostile_key_is_no_less_tamed() {
        let value = BTreeMap::from([("\u{202e}k", "v"), ("\x1b]0;k", "v")]);
        harmless(&yaml(&value).expect("YAML"));
        harmless(&json(&value).expect("JSON"));
    }

    #[test]
    fn terminals_get_colours_alone() {
        let coloured = "\x1b[1m\x1b[38;5;9mCRITICAL\x1b[0m ä\n";
        assert_eq!(terminal(coloured), coloured);
        let text = terminal("\x1b[2J\x1b]0;title\x07\u{9b}31m\u{202e}\x1b[1mx\x1b");
        assert_eq!(
            text,
            "\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{9b}31m\\u{202e}\x1b[1mx\\u{1b}"
        );
    }
}
