//! A word, and how a POSIX shell is given it.
use crate::text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The program's own.
    Fixed(&'static str),
    /// With something in it that came from outside.
    Text(String),
    /// `|`, `;`, `&&`, `>`, `$(`, `)`.
    Operator(&'static str),
}

/// Whether nobody who reads a line sees what it does.
pub fn misleads(text: &str) -> bool {
    text.chars().any(text::is_harmful)
}

/// Whether programs that take an argument apart again (nft, tcpdump, a remote shell) find nothing
/// in it but a name, a number or an address.
pub fn is_plain(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-');
    first.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'/'))
        && bytes.all(named)
}

/// Unquoted where no shell finds anything in it, in single quotes otherwise.
pub fn quoted(text: &str) -> String {
    let safe = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'_' | b'@' | b'%' | b'+' | b'=' | b':' | b',' | b'.' | b'/' | b'-'
            )
    };
    // zsh makes a path of `=ls`.
    let plain = !text.starts_with('=') && text.bytes().all(safe);
    match plain && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
