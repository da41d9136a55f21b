//! How things look: colours where they are wanted, strokes that the terminal can show, and text from
//! outside that cannot do any harm.
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthChar;

use crate::model::text;

/// What a piece of text is. None of them is told by its colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Dim,
    Head,
    Critical,
    Warning,
    Info,
    Good,
    Command,
}

/// What the terminal shows.
pub struct Ink {
    pub colour: bool,
    /// Turns text into ASCII, where the terminal shows no more.
    pub ascii: Option<fn(&str) -> String>,
}

/// Characters without width that may follow one that has some.
const MARKS: usize = 2;

impl Ink {
    /// Text from outside: shown, and not obeyed.
    pub fn text(&self, text: &str) -> String {
        let shown = bounded(&text::shown(text));
        self.own(&shown)
    }

    /// Text of netdiag's own.
    pub fn own(&self, text: &str) -> String {
        match self.ascii {
            Some(ascii) => ascii(text),
            None => text.to_owned(),
        }
    }

    /// One stroke, or what stands for it.
    pub const fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        match self.ascii {
            Some(_) => ascii,
            None => unicode,
        }
    }

    pub const fn more(&self) -> &'static str {
        self.glyph("…", "~")
    }

    pub fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        let style = match tone {
            Tone::Plain | Tone::Info | Tone::Good | Tone::Command => style,
            Tone::Dim => style.add_modifier(Modifier::DIM),
            Tone::Strong | Tone::Head | Tone::Critical | Tone::Warning => {
                style.add_modifier(Modifier::BOLD)
            }
        };
        let colour = match tone {
            Tone::Critical => Color::Red,
            Tone::Warning => Color::Yellow,
            Tone::Info | Tone::Command => Color::Cyan,
            Tone::Good => Color::Green,
            Tone::Plain | Tone::Strong | Tone::Dim | Tone::Head => return style,
        };
        match self.colour {
            true => style.fg(colour),
            false => style,
        }
    }

    /// Within so many columns; what is cut off leaves a sign.
    pub fn cut(&self, text: &str, most: usize) -> String {
        if width(text) <= most {
            return text.to_owned();
        }
        let room = most.saturating_sub(width(self.more()));
        match most {
            0 => String::new(),
            _ => text::fitting(text, room).trim_end().to_owned() + self.more(),
        }
    }
}

/// Columns that a terminal takes for it.
pub fn width(text: &str) -> usize {
    text::width(text)
}

/// A heap of marks upon one letter is no name.
fn bounded(text: &str) -> String {
    let mut marks = 0;
    let fits = |c: &char| {
        marks = match c.width() {
            Some(0) => marks + 1,
            _ => 0,
        };
        marks <= MARKS
    };
    text.chars().filter(fits).collect()
}

/// Between words where it can, at `room` columns.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(4);
    let mut lines = vec![String::new()];
    for part in text::parts(text, room) {
        for (n, piece) in broken(part.text, room).into_iter().enumerate() {
            let space = if part.spaced || n > 0 { " " } else { "" };
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(&piece),
                Some(line) if width(line) + space.len() + width(&piece) <= room => {
                    line.push_str(space);
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

/// A word that is longer than a line is broken.
pub fn broken(word: &str, room: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut taken = 0;
    for c in word.chars() {
        let wide = c.width().unwrap_or_default();
        if taken + wide > room {
            parts.push(String::new());
            taken = 0;
        }
        taken += wide;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: Ink = Ink {
        colour: true,
        ascii: None,
    };

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(INK.cut("漢字漢字", 8), "漢字漢字");
        assert_eq!(INK.cut("漢字漢字", 7), "漢字漢…");
        assert_eq!(INK.cut("漢字漢字", 6), "漢字…");
        assert_eq!(INK.cut("abc", 1), "…");
        assert_eq!(INK.cut("abc", 0), "");
    }

    #[test]
    fn long_words_are_broken() {
        assert_eq!(wrap("ab abcdefgh", 4), ["ab", "abcd", "efgh"]);
        assert_eq!(wrap("漢字漢 a", 4), ["漢字", "漢 a"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn marks_do_not_pile_up() {
        let pile = format!("a{}b", "\u{301}".repeat(50));
        assert_eq!(INK.text(&pile), "a\u{301}\u{301}b");
        assert_eq!(INK.text("a\x1b[2J"), "a\\u{1b}[2J");
    }
}
