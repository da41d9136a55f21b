//! Words for terminals and documents: of others, as a log's or a daemon's, and of numbers.

/// One line without control characters, cut after so many characters.
pub fn line(text: &str, longest: usize) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean = text.chars().map(|c| if hostile(c) { ' ' } else { c });
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
