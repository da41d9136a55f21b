//! Text of others in Markdown (CommonMark 0.31, GitHub's additions, and what chats make of it).
use crate::model::text;

/// Characters that mean something within a line (CommonMark 2.4 and 6, GitHub's tables and `$` of
/// formulas).
const MEANT: &str = "\\*[]<>|~&$";
/// Begins and ends code; three of them a block.
const TICK: char = '`';
const FENCE: &str = "\u{60}\u{60}\u{60}";

/// A sentence, in which nothing is a link, a mention, a picture, HTML or a mark. What a reader would
/// make one of after all (addresses of hosts and of people, numbers of issues, names between colons) stands
/// as code, which all of them leave alone; so does what stands between two backticks.
pub fn sentence(text: &str) -> String {
    let clean = text::shown(text);
    let pieces: Vec<&str> = clean.split(TICK).collect();
    let last = pieces.len() - 1;
    let mut out = String::with_capacity(clean.len());
    for (n, piece) in pieces.into_iter().enumerate() {
        match (n % 2 == 1, n == last) {
            (true, false) => out.push_str(&code(piece)),
            (true, true) => out.push_str(&format!("\\{TICK}{}", words(piece))),
            (false, _) => out.push_str(&words(piece)),
        }
    }
    out
}

fn words(text: &str) -> String {
    let word = |word: &str| match is_obeyed(word) {
        true => as_code(word),
        false => literal(word),
    };
    // Where words are written without spaces, these end them.
    let wide = |c: char| matches!(c, '\u{3000}'..='\u{303f}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}');
    let between = |part: &str| part.split_inclusive(wide).map(word).collect::<String>();
    text.split(' ').map(between).collect::<Vec<_>>().join(" ")
}

fn literal(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut before = None;
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        let within = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let meant = match c {
            '_' => !(within(before) && within(rest.peek().copied())),
            '#' | '+' | '-' | '=' => before.is_none(),
            c => c == TICK || MEANT.contains(c),
        };
        if meant {
            out.push('\\');
        }
        out.push(c);
        before = Some(c);
    }
    out
}

/// Whether somebody's software looks into plain words for this one.
fn is_obeyed(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let pair = |test: fn(char, char) -> bool| {
        word.chars()
            .zip(word.chars().skip(1))
            .any(|(a, b)| test(a, b))
    };
    let dotted = word.split('.').collect::<Vec<_>>();
    let host = dotted
        .windows(2)
        .any(|it| it[0].ends_with(char::is_alphanumeric) && it[1].starts_with(char::is_alphabetic));
    let issue = lower.strip_prefix("gh-");
    host || word.contains('@')
        || word.contains("://")
        || pair(|a, b| a == '#' && b.is_ascii_digit())
        || issue.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()))
        || is_emoji(word)
}

/// `:smile:`
fn is_emoji(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    let inner = parts.get(1..parts.len().saturating_sub(1));
    let name = |c: char| c.is_alphanumeric() || "_+-".contains(c);
    let is = |part: &&str| !part.is_empty() && part.chars().all(name);
    inner.unwrap_or_default().iter().any(is)
}

/// The word as code, what stands around it as text.
fn as_code(word: &str) -> String {
    let opens = |c: char| "(\"'".contains(c);
    let closes = |c: char| "),.;:\"'，。；：）、！？".contains(c);
    let inner = word.trim_start_matches(opens);
    let (before, inner) = word.split_at(word.len() - inner.len());
    let kept = inner.trim_end_matches(closes);
    let after = &inner[kept.len()..];
    match kept.is_empty() {
        true => literal(word),
        false => format!("{before}{}{after}", code(kept)),
    }
}

/// Code within a line. No backslash escapes in it: what would end it, or a table's cell, is shown as
/// a control character is.
pub fn code(text: &str) -> String {
    let clean = text::shown(text);
    let mut out = String::with_capacity(clean.len() + 2);
    for c in clean.chars() {
        match c {
            TICK | '|' | '<' | '>' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    match out.trim().is_empty() {
        true => "-".to_owned(),
        false => format!("{TICK}{}{TICK}", out.trim()),
    }
}

/// Whether a chat would end a block of code there: wherever three backticks stand.
pub fn ends_a_block(line: &str) -> bool {
    line.contains(FENCE) || line.contains("~~~")
}

/// Lines in a block of their own that none of them ends.
pub fn block(kind: &str, lines: impl IntoIterator<Item = String>) -> String {
    let plain = |line: String| match ends_a_block(&line) {
        true => text::shown(&line).replace(TICK, "'").replace('~', "-"),
        false => text::shown(&line),
    };
    let lines: Vec<String> = lines.into_iter().map(plain).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n{FENCE}{kind}\n{}\n{FENCE}\n", lines.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        for (text, told) in [
            ("plain words, 3 of 4", "plain words, 3 of 4"),
            ("NO_SOCKET at _x_", "NO_SOCKET at \\_x\\_"),
            ("[a](b)", "\\[a\\](b)"),
            ("<b>x</b>", "\\<b\\>x\\</b\\>"),
            ("a|b *c* ~~d~~", "a\\|b \\*c\\* \\~\\~d\\~\\~"),
            ("# x - y", "\\# x \\- y"),
            ("&amp; $x$", "\\&amp; \\$x\\$"),
            ("@all", "`@all`"),
            (
                "(see https://evil.example/a).",
                "(see `https://evil.example/a`).",
            ),
            ("www.evil.example", "`www.evil.example`"),
            ("fixes #1", "fixes `#1`"),
            ("a :smile: b", "a `:smile`: b"),
            ("10.244.1.7:80", "10.244.1.7:80"),
            (
                "[fd00::1]:53 and fd00:a:b",
                "\\[fd00::1\\]:53 and `fd00:a:b`",
            ),
            ("run `ip -d link`, then", "run `ip -d link`, then"),
            ("a`b", "a\\`b"),
            ("`x`@y` [z](w)", "`x``@y`\\` \\[z\\](w)"),
            ("a\nb\u{202e}", "a\\\\u{a}b\\\\u{202e}"),
        ] {
            assert_eq!(sentence(text), told, "{text}");
        }
    }

    #[test]
    fn nothing_ends_code_or_a_block() {
        assert_eq!(code("a`b|c"), "`a\\u{60}b\\u{7c}c`");
        assert_eq!(code(" "), "-");
        let lines = [
            "ip link".to_owned(),
            "```".to_owned(),
            "a\n```\nb".to_owned(),
        ];
        let told = block("sh", lines);
        assert_eq!(told.matches("```").count(), 2, "{told}");
        assert_eq!(told.lines().count(), 6, "{told}");
        assert_eq!(block("sh", []), "");
    }
}
