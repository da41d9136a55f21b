//! What nf_tables' attributes hold: numbers in the network's order, names of any bytes.
use crate::gather::netlink::attribute;

pub fn number(of: &[u8], wanted: u16) -> Option<u32> {
    let bytes = attribute(of, wanted)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Up to the byte that ends it; what is no text is told by its numbers, and no two names are told alike.
pub fn name(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    let mut name = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        name.extend(chunk.valid().chars().flat_map(|c| {
            let twice = (c == '\\').then_some(c);
            twice.into_iter().chain([c])
        }));
        let others = chunk.invalid().iter();
        name.extend(others.map(|byte| format!("\\x{byte:02x}")));
    }
    Some(name)
}

/// The bytes of a name that was told so.
pub fn named(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let number = behind.strip_prefix('x').and_then(|hex| hex.get(..2));
        let number = number.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(number.unwrap_or(b'\\'));
        let taken = if number.is_some() { 3 } else { 1 };
        rest = behind.get(taken..).unwrap_or_default();
    }
    bytes.extend(rest.as_bytes());
    bytes.push(0);
    bytes
}

/// Bytes of a comment (`NFTNL_UDATA_COMMENT_MAXLEN` and that of xt_comment are fewer).
const LONGEST: usize = 256;

/// What nft(8) keeps beside a rule or an element: parts of a kind and a length each, of which the first kind is a comment.
pub fn comment(user_data: &[u8]) -> Option<Box<str>> {
    let mut rest = user_data;
    while let [kind, length, behind @ ..] = rest {
        let (own, behind) = behind.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            return text(own);
        }
        rest = behind;
    }
    None
}

/// Up to the byte that ends it.
pub fn text(bytes: &[u8]) -> Option<Box<str>> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    let text = &text[..text.len().min(LONGEST)];
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_leads_back_to_its_bytes() {
        for bytes in [
            &b"filter"[..],
            b"a\\x41",
            b"a\xffb",
            b"\\",
            b"",
            "ä\\\\".as_bytes(),
        ] {
            let mut ended = bytes.to_vec();
            ended.push(0);
            let told = name(&ended).expect("a name");
            assert_eq!(named(&told), ended, "{told}");
        }
        assert_ne!(name(b"\\xff\0"), name(b"\xff\0"));
    }
}
