//! Looks through a JSON text before anything of it is unpacked: how deep it nests, how long its
//! texts are, and about how many bytes it takes as what it stands for.
use serde_json::Value;

use super::{
    limits::{self, Fault},
    pieces::name,
};

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
/// Members that are maps: whatever a map holds, it takes a B-tree's node.
const MAPS: [&str; 5] = ["labels", "selector", "values", "states", "names"];
const MAP: usize = 600;

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

    /// One that stands behind so many others, of a map or not.
    fn member(&mut self, name: usize, behind: usize, map: bool) {
        self.longest = self.longest.max(name);
        self.cost += match behind < STRUCT && !map {
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
    let mut maps = [false; limits::DEPTH + 1];
    // What comes next is a map.
    let mut map = false;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let (from, (end, length)) = (at, string(bytes, at));
                at = end;
                match bytes.get(at) {
                    Some(b':') => {
                        found.member(length, members[depth], maps[depth]);
                        members[depth] += 1;
                        let written = text.get(from - 1..end).unwrap_or_default();
                        map = name(written).is_ok_and(|name| is_map(&name));
                    }
                    _ => found.text(length),
                }
            }
            b'{' | b'[' => {
                map &= *byte == b'{';
                found.cost += container(*byte == b'{', map, part, depth);
                depth += 1;
                Fault::above(depth, limits::DEPTH, "a line of it nests too deep")?;
                members[depth] = 0;
                maps[depth] = std::mem::take(&mut map);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                map = false;
                found.cost += SCALAR;
                let rest = bytes[at..].iter();
                at += rest.take_while(|b| !b",:]} \t\r\n".contains(b)).count();
            }
        }
    }
    Ok(found)
}

fn container(object: bool, map: bool, part: &str, depth: usize) -> usize {
    match (object, part, depth) {
        (true, "pods", 1) => POD,
        (true, ..) if map => MAP,
        (true, ..) => OBJECT,
        (false, ..) => ARRAY,
    }
}

/// Whether the member of that name is a map.
fn is_map(name: &str) -> bool {
    MAPS.contains(&name)
}

/// Where a string ends that begins at `at`, and its bytes without the escapes.
pub fn string(bytes: &[u8], mut at: usize) -> (usize, usize) {
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
    add(value, part, (0, false), &mut found);
    found
}

fn add(value: &Value, part: &str, (depth, map): (usize, bool), to: &mut Found) {
    match value {
        Value::String(text) => to.text(text.len()),
        Value::Array(elements) => {
            to.cost += container(false, false, part, depth);
            let within = (depth + 1, false);
            elements.iter().for_each(|it| add(it, part, within, to));
        }
        Value::Object(members) => {
            to.cost += container(true, map, part, depth);
            for (behind, (name, value)) in members.iter().enumerate() {
                to.member(name.len(), behind, map);
                add(value, part, (depth + 1, is_map(name)), to);
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
            "labels": { "a": "b", "labels": ["", {}] },
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
        let cost = |name: &str| {
            let text = format!("{{\"{name}\":{{\"a\":1}}}}");
            scan(&text, "pods").expect("shallow").cost
        };
        assert_eq!(
            cost("labels"),
            cost("l\\u0061bels"),
            "however it is written"
        );
        assert!(cost("labels") > cost("others") + STRING);
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
