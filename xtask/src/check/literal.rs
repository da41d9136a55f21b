//! The string literals of a Rust file, without its comments and its unit tests.

/// A literal, and the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Literal<'a> {
    pub line: usize,
    pub text: &'a str,
}

/// All of them, as they are written: escapes are not taken off.
pub fn literals(source: &str) -> Vec<Literal<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, text) = token(rest);
        if let Some((start, end)) = text {
            found.push(Literal {
                line: 1 + source[..at].matches('\n').count(),
                text: &rest[start..end],
            });
        }
        at += length;
    }
    found
}

/// How long what begins here is, and where a literal's text stands in it.
fn token(rest: &str) -> (usize, Option<(usize, usize)>) {
    let whole = rest.len();
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(whole), None);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(whole, |end| end + 2), None);
    }
    if let Some((start, close)) = raw(rest) {
        let end = rest[start..].find(&close).map_or(whole, |end| start + end);
        return ((end + close.len()).min(whole), Some((start, end)));
    }
    if let Some(text) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = text.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.map_or(whole, |end| end + 1);
        return ((end + 1).min(whole), Some((1, end)));
    }
    if let Some(length) = character(rest) {
        return (length, None);
    }
    // A name is one piece: the `r` at the end of one begins nothing.
    let name = |c: char| c.is_alphanumeric() || c == '_';
    let end = rest.find(|c| !name(c)).unwrap_or(whole);
    match end {
        0 => (rest.chars().next().map_or(whole, char::len_utf8), None),
        end => (end, None),
    }
}

/// Where the text of `r"…"` or `r#"…"#` begins, and what ends it.
fn raw(rest: &str) -> Option<(usize, String)> {
    let hashes = rest.strip_prefix('r').or(rest.strip_prefix("br"))?;
    let start = rest.len() - hashes.len();
    let count = hashes.find(|c| c != '#')?;
    let close = format!("\"{}", "#".repeat(count));
    hashes[count..]
        .starts_with('"')
        .then_some((start + count + 1, close))
}

/// The length of `'x'` or `'\…'`; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let mut chars = inner.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 2);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_and_comments_are_not() {
        let source = "// \"no\"\nlet a = \"one \\\" two\"; /* \"no\" */ let b = '\"';\n\
                      fn f<'a>(x: &'a str) { g(r#\"three \"four\"\"#, '\\'', b\"five\", bar\"six\") }";
        let found = literals(source);
        let texts: Vec<_> = found.iter().map(|it| (it.line, it.text)).collect();
        assert_eq!(
            texts,
            [
                (2, "one \\\" two"),
                (3, "three \"four\""),
                (3, "five"),
                (3, "six")
            ]
        );
    }
}
