//! A command as one types it, whole: in several lines where one is too short for it.
use super::{
    Ink,
    ink::{Tone, broken, width},
    line::Line,
};
use crate::model::shell::CommandLine;

const FIRST: &str = "    $ ";
const NEXT: &str = "        ";
/// What a shell takes for the line going on.
const GOES_ON: &str = " \\";

/// Unless a name in it could do harm.
pub fn offered(it: &CommandLine, ink: &Ink, room: usize) -> Vec<Line> {
    match it.is_refused() {
        true => Vec::new(),
        false => command(it, ink, room),
    }
}

pub fn command(command: &CommandLine, ink: &Ink, room: usize) -> Vec<Line> {
    let text = ink.text(&command.to_string());
    let pieces = pieces(&text, room.saturating_sub(NEXT.len()));
    let line = |(n, piece): (usize, String)| {
        let indent = if n == 0 { FIRST } else { NEXT };
        Line::new(format!("{indent}{piece}"), Tone::Command)
    };
    pieces.into_iter().enumerate().map(line).collect()
}

/// Broken between a shell's words, and within one only where it is longer than a line.
fn pieces(text: &str, room: usize) -> Vec<String> {
    if width(text) <= room {
        return vec![text.to_owned()];
    }
    let room = room.saturating_sub(GOES_ON.len()).max(8);
    let mut lines = vec![String::new()];
    for word in words(text) {
        let line = lines.last().map_or(0, |line| width(line));
        let fits = line == 0 || line + 1 + width(word) <= room;
        match lines.last_mut() {
            Some(line) if fits => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(GOES_ON);
                lines.push(word.to_owned());
            }
            None => {}
        }
    }
    let within = |line: String| match width(&line) > room + GOES_ON.len() {
        true => broken(&line, room),
        false => vec![line],
    };
    lines.into_iter().flat_map(within).collect()
}

/// At spaces outside quotes.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, ' ') => {
                words.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[from..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_word_for_a_shell_stays_one() {
        let text = "ip netns exec worker-2-catalog ip link set dev eth0 mtu 1400";
        assert_eq!(pieces(text, 60), [text]);
        let two = pieces(text, 40);
        assert_eq!(
            two,
            [
                "ip netns exec worker-2-catalog ip link \\",
                "set dev eth0 mtu 1400"
            ]
        );
        let quoted = pieces("timeout 10 tcpdump -c 5 -i x 'a > 1400 or b > 1400'", 36);
        assert_eq!(
            quoted,
            ["timeout 10 tcpdump -c 5 -i x \\", "'a > 1400 or b > 1400'"]
        );
    }

    #[test]
    fn nothing_of_a_long_word_is_left_out() {
        let text = format!("awk '{}' x", "y".repeat(50));
        let lines = pieces(&text, 20);
        assert!(lines.iter().all(|line| width(line) <= 20), "{lines:?}");
        let joined = lines.join("").replace(GOES_ON, "").replace(' ', "");
        assert_eq!(joined, text.replace(' ', ""));
    }
}
