//! The archive around a package's parts (ar(5), as deb(5) wants it).

/// Members in the order in which they come, of root's and with one time.
pub fn archive(members: &[(&str, Vec<u8>)], time: u64) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        let (owner, mode) = ("0", "100644");
        let head = format!("{name:<16}{time:<12}{owner:<6}{owner:<6}{mode:<8}{size:<10}`\n");
        bytes.extend(head.as_bytes());
        bytes.extend(content);
        // Each begins at an even place.
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_begin_at_even_places() {
        let made = archive(&[("one", b"1".to_vec()), ("two", b"22".to_vec())], 7);
        let text = String::from_utf8(made).expect("ASCII");
        assert_eq!(text.len(), 8 + 60 + 2 + 60 + 2);
        let head = "one             7           0     0     100644  1         `\n1\n";
        assert!(text[8..].starts_with(head), "{text}");
        assert!(text[8 + 62..].starts_with("two "), "{text}");
    }
}
