//! Words for terminals and documents: of others, as a log's or a daemon's, and of numbers.
mod columns;

use std::borrow::Borrow;

use netdiag_lang::t;

pub use self::columns::{Part, filled, fitting, has_wide, parts, whole_commands, width};

/// What a terminal obeys, what turns text around and what is not seen: control characters (C0, DEL
/// and C1), Unicode's Bidi_Control, ends of lines, characters without width, fillers that look like
/// nothing, variation selectors and tags (Unicode 16, DerivedCoreProperties
/// Default_Ignorable_Code_Point).
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it is printable ASCII in lines, as most of what leaves is: then nothing in it is harmful.
/// Every byte is looked at, as that is faster than to stop at one.
pub fn is_plain(text: &str) -> bool {
    let plain = |b: u8| (b == b'\n') | matches!(b, b' '..=b'~');
    text.bytes().fold(true, |all, b| all & plain(b))
}

/// The same text with what is harmful in it shown and not obeyed.
pub fn shown(text: &str) -> String {
    shown_but(text, |_| false)
}

/// The same of several lines, as an error's or a log's.
pub fn lines(text: &str) -> String {
    shown_but(text, |c| matches!(c, '\n' | '\t'))
}

fn shown_but(text: &str, wanted: fn(char) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmful(c) && !wanted(c) {
            true => clean.extend(c.escape_unicode()),
            false => clean.push(c),
        }
    }
    clean
}

/// One line without harmful characters, cut after so many characters.
pub fn line(text: &str, longest: usize) -> String {
    let clean = text.chars().map(|c| if is_harmful(c) { ' ' } else { c });
    let mut line: String = clean.clone().take(longest).collect();
    if clean.count() > longest {
        line.push('…');
    }
    line.trim().to_owned()
}

/// `1 packet`, `2 packets`. The noun is a key of the catalogue (`mark!`): its Chinese has the
/// measure word, and no plural.
pub fn counted(number: u64, of: &str) -> String {
    match (number, netdiag_lang::translated(of)) {
        (_, Some(of)) => format!("{number} {of}"),
        (1, None) => format!("1 {of}"),
        (_, None) => format!("{number} {of}s"),
    }
}

/// `a, b, c`.
pub fn listed(items: &[impl Borrow<str>]) -> String {
    items.join(t!(", "))
}

/// `a and b`, `a, b and c`.
pub fn both(items: &[impl Borrow<str>]) -> String {
    match items {
        [] => String::new(),
        [one] => one.borrow().to_owned(),
        [rest @ .., last] => t!("{} and {}", listed(rest), last.borrow()),
    }
}

/// `a, b and 3 more`.
pub fn listed_and_more(items: &[impl Borrow<str>], more: usize) -> String {
    match more {
        0 => listed(items),
        _ => t!("{} and {more} more", listed(items)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_has_nothing_harmful() {
        let all = (0..=0x10_ffff).filter_map(char::from_u32);
        for c in all.filter(|c| is_harmful(*c) && *c != '\n') {
            assert!(!is_plain(&format!("a{c}b")), "{c:?}");
        }
        assert!(is_plain("{\"a\": 1}\nb ~") && !is_plain("ä"));
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [counted(1, "packet"), counted(0, "packet")],
            ["1 packet", "0 packets"]
        );
    }

    #[test]
    fn a_list_ends_with_and() {
        assert_eq!(both(&["a", "b", "c"]), "a, b and c");
        assert_eq!(both(&["a", "b"]), "a and b");
        assert_eq!(both(&["a".to_owned()]), "a");
        assert_eq!(listed_and_more(&["a", "b"], 2), "a, b and 2 more");
        assert_eq!(listed_and_more(&["a", "b"], 0), "a, b");
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let hostile = "plugin\x1b[2J\u{202e} failed\r\n";
        assert_eq!(line(hostile, 100), "plugin [2J  failed");
        assert_eq!(line("abcdef", 3), "abc…");
        let all = "\u{9b}2J\u{7f}\u{61c}\u{200b}\u{feff}\u{2069}\u{e0041}\u{fe0f}x";
        assert_eq!(line(all, 100), "2J       x");
        assert_eq!(shown("a\u{9b}\n"), "a\\u{9b}\\u{a}");
        assert_eq!(lines("a\n\tb\r\u{202e}"), "a\n\tb\\u{d}\\u{202e}");
        assert_eq!(shown("ä-1 π 漢字 😀"), "ä-1 π 漢字 😀");
    }
}
