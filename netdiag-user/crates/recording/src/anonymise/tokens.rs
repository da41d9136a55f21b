//! A text taken apart: addresses in it, names that are known, words, and what is between them.
use super::{address::Addresses, notation};

#[derive(Debug, PartialEq, Eq)]
pub enum Token<'t> {
    /// An address, mapped already.
    Mapped(String),
    /// A name that was seen elsewhere.
    Known(&'t str),
    /// Letters and digits.
    Word(&'t str),
    Gap(&'t str),
}

/// `known` tells how long the name is that a text begins with.
pub fn tokens<'t>(
    text: &'t str,
    addresses: &Addresses,
    known: impl Fn(&str) -> Option<usize>,
) -> Vec<Token<'t>> {
    let mut all = Vec::new();
    let (mut from, mut at) = (0, 0);
    let mut before: Option<char> = None;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_inside = before.is_some_and(char::is_alphanumeric);
        let name = || {
            let begins = next.is_alphanumeric() && !is_inside;
            let length = begins.then(|| known(rest)).flatten()?;
            Some((Token::Known(&rest[..length]), length))
        };
        let mapped = notation::address(before, rest, addresses);
        let mapped = mapped.map(|(new, length)| (Token::Mapped(new), length));
        if let Some((token, length)) = mapped.or_else(name) {
            all.extend(plain(&text[from..at]));
            all.push(token);
            at += length;
            from = at;
            before = text[..at].chars().next_back();
            continue;
        }
        if at > from && next.is_alphanumeric() != is_inside {
            all.extend(plain(&text[from..at]));
            from = at;
        }
        at += next.len_utf8();
        before = Some(next);
    }
    all.extend(plain(&text[from..]));
    all
}

fn plain(piece: &str) -> Option<Token<'_>> {
    let first = piece.chars().next()?;
    Some(match first.is_alphanumeric() {
        true => Token::Word(piece),
        false => Token::Gap(piece),
    })
}

/// What stands between words, without signs that are words themselves.
pub fn signs(gap: &str) -> String {
    const OWN: &str = "…–—’“”→×≤≥";
    let sign = |c: char| {
        if c.is_ascii() || OWN.contains(c) {
            c
        } else {
            '?'
        }
    };
    gap.chars().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let known = |text: &str| text.starts_with("cart-1-2").then_some(8);
        let all = tokens("v127.0.0.1, cart-1-2x; 8 µ", &Addresses::default(), known);
        let found = [
            Token::Word("v"),
            Token::Mapped("127.0.0.1".into()),
            Token::Gap(", "),
            Token::Known("cart-1-2"),
            Token::Word("x"),
            Token::Gap("; "),
            Token::Word("8"),
            Token::Gap(" "),
            Token::Word("µ"),
        ];
        assert_eq!(all, found);
        assert_eq!(signs("a🦄 – b\u{200b}"), "a? – b?");
    }
}
