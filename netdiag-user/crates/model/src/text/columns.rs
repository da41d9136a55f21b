//! Columns that a terminal takes for a text: a Chinese character takes two.
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What no line begins with, where another one has room for it.
const CLOSING: &str = ",.:;!?)]}%…、。，；：！？）】》」』”’";
/// What no line ends with.
const OPENING: &str = "([{（【《「『“‘";

pub fn width(text: &str) -> usize {
    text.width()
}

fn is_wide(c: char) -> bool {
    c.width().is_some_and(|columns| columns > 1)
}

pub fn has_wide(text: &str) -> bool {
    text.chars().any(is_wide)
}

/// The longest beginning that takes no more columns.
pub fn fitting(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let over = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or_default();
        taken > most
    });
    &text[..over.map_or(text.len(), |(at, _)| at)]
}

/// With spaces behind it up to so many columns.
pub fn filled(text: &str, columns: usize) -> String {
    text.to_owned() + &" ".repeat(columns.saturating_sub(width(text)))
}

/// Part of a text that is on one line, and whether a space is before it.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub text: &'a str,
    pub spaced: bool,
}

/// Where a text may be broken into lines of `room` columns: at spaces, and between Chinese
/// characters, whose text has none. A command in backticks stays whole there, if a line takes it.
pub fn parts(text: &str, room: usize) -> Vec<Part<'_>> {
    if !has_wide(text) {
        let word = |text| Part { text, spaced: true };
        return text.split_whitespace().map(word).collect();
    }
    whole_commands(text, room)
}

/// The same in any language: a command in backticks stays whole, if a line takes it.
pub fn whole_commands(text: &str, room: usize) -> Vec<Part<'_>> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for (n, piece) in text.split('`').enumerate() {
        let end = at + piece.len();
        // Every second piece is a command; the backticks around it are its own.
        let inside = n % 2 == 1;
        let closed = inside && end < text.len();
        let (from, to) = (at - usize::from(inside), end + usize::from(closed));
        match closed && width(piece) + 2 <= room {
            true => all.push((from, to)),
            false => loose(text, from, to, &mut all),
        }
        at = end + 1;
    }
    joined(text, &all)
}

/// The parts between those two places.
fn loose(text: &str, from: usize, to: usize, all: &mut Vec<(usize, usize)>) {
    let mut begin = from;
    let mut before: Option<char> = None;
    for (at, c) in text[from..to].char_indices() {
        let at = from + at;
        if c.is_whitespace() {
            all.push((begin, at));
            (begin, before) = (at + c.len_utf8(), None);
            continue;
        }
        if before.is_some_and(|before| may_break(before, c)) {
            all.push((begin, at));
            begin = at;
        }
        before = Some(c);
    }
    all.push((begin, to));
    all.retain(|(begin, end)| begin < end);
}

fn may_break(before: char, after: char) -> bool {
    let either = is_wide(before) || is_wide(after);
    either && !OPENING.contains(before) && !CLOSING.contains(after)
}

/// Parts that touch and may not be torn are one: a command, and the comma behind it.
fn joined<'a>(text: &'a str, places: &[(usize, usize)]) -> Vec<Part<'a>> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for &(begin, end) in places {
        let before = text[..begin].chars().next_back();
        let after = text[begin..].chars().next();
        let torn = before.zip(after).is_some_and(|(a, b)| may_break(a, b));
        match all.last_mut().filter(|last| last.1 == begin && !torn) {
            Some(last) => last.1 = end,
            None => all.push((begin, end)),
        }
    }
    let part = |(begin, end): (usize, usize)| Part {
        text: &text[begin..end],
        spaced: text[..begin].ends_with(char::is_whitespace),
    };
    all.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, room: usize) -> Vec<&str> {
        parts(text, room).iter().map(|part| part.text).collect()
    }

    #[test]
    fn chinese_is_broken_between_characters() {
        assert_eq!(texts("丢弃 3 个包，", 20), ["丢", "弃", "3", "个", "包，"]);
        assert_eq!(texts("节点（eth0）上", 20), ["节", "点", "（eth0）", "上"]);
        assert_eq!(texts("a 1,2 b", 20), ["a", "1,2", "b"]);
    }

    #[test]
    fn a_command_stays_whole_where_a_line_takes_it() {
        let text = "请用 `ip route get`，再看";
        let whole = ["请", "用", "`ip route get`，", "再", "看"];
        assert_eq!(texts(text, 20), whole);
        let broken = ["请", "用", "`ip", "route", "get`，", "再", "看"];
        assert_eq!(texts(text, 10), broken);
        assert_eq!(texts("一个 ` 号", 20), ["一", "个", "`", "号"]);
        assert!(parts("一 `a`", 20)[1].spaced && !parts("一`a`", 20)[1].spaced);
    }

    #[test]
    fn a_beginning_is_measured_in_columns() {
        assert_eq!(fitting("漢字a", 3), "漢");
        assert_eq!(fitting("漢字a", 5), "漢字a");
        assert_eq!(filled("漢", 4), "漢  ");
    }
}
