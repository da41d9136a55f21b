//! Words for terminals and documents: of others, as a log's or a daemon's, and of numbers.

/// Whether a terminal obeys it, or shows something else than what is there: controls, what turns
/// the direction of writing (Bidi_Control), separators of lines, what has no width.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        )
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
        || matches!(c, '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// One line without control characters, cut after so many characters.
pub fn line(text: &str, longest: usize) -> String {
    let clean = text.chars().map(|c| if misleads(c) { ' ' } else { c });
    let mut line: String = clean.clone().take(longest).collect();
    if clean.count() > longest {
        line.push('…');
    }
    line.trim().to_owned()
}

/// `1 packet`, `2 packets`.
pub fn counted(number: u64, of: &str) -> String {
    match number {
        1 => format!("1 {of}"),
        _ => format!("{number} {of}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [counted(1, "packet"), counted(0, "packet")],
            ["1 packet", "0 packets"]
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let hostile = "plugin\x1b[2J\u{202e} failed\r\n";
        assert_eq!(line(hostile, 100), "plugin [2J  failed");
        assert_eq!(line("abcdef", 3), "abc…");
    }
}
