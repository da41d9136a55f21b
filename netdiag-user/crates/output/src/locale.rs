//! Terminals that show no more than ASCII.
use std::env;

use netdiag_lang::{Lang, chosen};

/// The characters of a terminal, by locale(7): the first of these that is set says it.
const NAMED_BY: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// What lines are drawn with here, and what stands for it.
const DRAWN: &[(char, &str)] = &[
    ('→', "->"),
    ('─', "-"),
    ('├', "|"),
    ('└', "`"),
    ('│', "|"),
    ('╳', "X"),
    ('✗', "x"),
    ('·', "-"),
    ('…', "..."),
    ('×', "x"),
    ('±', "+-"),
    ('≤', "<="),
    ('≥', ">="),
    ('µ', "u"),
];

pub fn is_utf8() -> bool {
    let set = NAMED_BY.iter().filter_map(|name| env::var(name).ok());
    let mut set = set.filter(|value| !value.is_empty());
    set.next().is_some_and(|value| names_utf8(&value))
}

fn names_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The same in ASCII; what stands for nothing in it is a question mark.
pub fn plain(text: &str) -> String {
    // Whoever asks for Chinese in such a locale asks for characters that it does not name.
    let wanted = chosen() == Lang::Chinese;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match DRAWN.iter().find(|(drawn, _)| *drawn == c) {
            Some((_, instead)) => out.push_str(instead),
            None if c.is_ascii() || wanted => out.push(c),
            None => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_a_form_in_ascii() {
        assert_eq!(plain("a ─╳ b → c…"), "a -X b -> c...");
        assert_eq!(plain("\x1b[1mü\x1b[0m"), "\x1b[1m?\x1b[0m");
    }

    #[test]
    fn a_locale_names_its_characters() {
        assert!(names_utf8("en_GB.UTF-8") && names_utf8("C.utf8"));
        assert!(!names_utf8("C") && !names_utf8("POSIX") && !names_utf8("de_DE.ISO-8859-1"));
    }
}
