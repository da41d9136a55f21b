//! Looks through a JSON text before anything of it is unpacked: how deep it nests, how long its
//! texts are, and about how many bytes it takes as what it stands for.
use serde_json::Value;

use super::limits::{self, Fault};

/// About what an object becomes: most are small structs, some a B-tree's node.
const OBJECT: usize = 160;
/// A pod may be `{}`, and is the largest of the structs then.
const POD: usize = 480;
const ARRAY: usize = 48;
/// Beside its bytes: where it stands, the allocation, and the entry of an index by it.
const STRING: usize = 64;
const SCALAR: usize = 16;
/// Structs have fewer members; what has more is a map, and its keys are texts.
const STRUCT: usize = 24;
const MEMBER: usize = 24;

const _: () = assert!(size_of::<crate::model::pod::Pod>() <= POD);

/// What one text comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes that it takes in memory, about.
    pub cost: usize,
    /// Bytes of its longest text; names of members are texts too.
    pub longest: usize,
}

impl Found {
    fn text(&mut self, length: usize) {
        self.cost += STRING + length;
        self.longest = self.longest.max(length);
    }

    /// One that stands behind so many others.
    fn member(&mut self, name: usize, behind: usize) {
        self.longest = self.longest.max(name);
        self.cost += match behind < STRUCT {
            true => MEMBER,
            false => MEMBER + STRING + name,
        };
    }
}

/// Goes through the text once. It need not be valid JSON: whoever unpacks it will say so.
pub fn scan(text: &str, part: &str) -> Result<Found, Fault> {
    let bytes = text.as_bytes();
    let (mut found, mut depth, mut at) = (Found::default(), 0, 0);
    let mut members = [0; limits::DEPTH + 1];
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let (end, length) = string(bytes, at);
                at = end;
                match bytes.get(at) {
                    Some(b':') => {
                        found.member(length, members[depth]);
                        members[depth] += 1;
                    }
                    _ => found.text(length),
                }
            }
            b'{' | b'[' => {
                found.cost += container(*byte == b'{', part, depth);
                depth += 1;
                Fault::above(depth, limits::DEPTH, "a line of it nests too deep")?;
                members[depth] = 0;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                found.cost += SCALAR;
                let rest = bytes[at..].iter();
                at += rest.take_while(|b| !b",:]} \t\r\n".contains(b)).count();
            }
        }
    }
    Ok(found)
}

fn container(object: bool, part: &str, depth: usize) -> usize {
    match (object, part, depth) {
        (true, "pods", 1) => POD,
        (true, ..) => OBJECT,
        (false, ..) => ARRAY,
    }
}

/// Where a string ends that begins at `at`, and its bytes without the escapes.
fn string(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let mut length = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => at += if bytes.get(at) == Some(&b'u') { 5 } else { 1 },
            _ => {}
        }
        length += 1;
    }
    (at, length)
}

/// The same of a value that is still to be written.
pub fn weigh(value: &Value, part: &str) -> Found {
    let mut found = Found::default();
    add(value, part, 0, &mut found);
    found
}

fn add(value: &Value, part: &str, depth: usize, to: &mut Found) {
    match value {
        Value::String(text) => to.text(text.len()),
        Value::Array(elements) => {
            to.cost += container(false, part, depth);
            elements.iter().for_each(|it| add(it, part, depth + 1, to));
        }
        Value::Object(members) => {
            to.cost += container(true, part, depth);
            for (behind, (name, value)) in members.iter().enumerate() {
                to.member(name.len(), behind);
                add(value, part, depth + 1, to);
            }
        }
        _ => to.cost += SCALAR,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_weighs_what_its_value_does() {
        let map: BTreeMap<String, u8> = (0..50).map(|n| (n.to_string(), n)).collect();
        let value = json!({
            "map": map,
            "a": [1, -2.5, true, null, "b\\\"c\n\u{1}é"],
            "longer": { "": {}, "x": [[], [{ "y": "" }]] },
        });
        for part in ["node", "pods"] {
            let pretty = serde_json::to_string_pretty(&value).expect("JSON");
            for text in [value.to_string(), pretty] {
                assert_eq!(scan(&text, part), Ok(weigh(&value, part)), "{text}");
            }
        }
        let found = weigh(&value, "node");
        assert_eq!(found.longest, 8);
        assert!(weigh(&json!([{}]), "pods").cost > POD);
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(scan(&nested(limits::DEPTH), "node").is_ok());
        assert!(scan(&nested(limits::DEPTH + 1), "node").is_err());
    }

    #[test]
    fn broken_texts_end() {
        for text in ["\"", "\"\\", "\"\\u", "\"\\u00", "}}}", "-", "\u{0}"] {
            assert!(scan(text, "node").is_ok(), "{text:?}");
        }
    }
}
