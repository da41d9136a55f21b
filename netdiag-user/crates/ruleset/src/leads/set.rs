//! What is in a set, one range after the other.
use netdiag_model::world::ruleset::{Bytes, Element, Set};

/// The first and the last key of each element.
pub fn ranges(set: &Set) -> Vec<(Vec<u8>, Vec<u8>, &Element)> {
    let keyed = set
        .elements
        .iter()
        .filter_map(|one| Some((one.key.as_ref()?, one)));
    let one = |key: &Bytes, end: &Bytes, element| (key.to_vec(), end.to_vec(), element);
    let pairs = set.elements.iter().any(|element| element.end.is_some());
    if !set.intervals || pairs || set.parts.len() != 1 {
        let all =
            keyed.map(|(key, element)| one(key, element.end.as_ref().unwrap_or(key), element));
        return all.collect();
    }
    let mut all: Vec<_> = keyed.collect();
    all.sort_by_key(|(key, element)| (*key, !element.gap));
    let ends = all.iter().skip(1).map(|(key, _)| Some(*key)).chain([None]);
    let begun = all
        .iter()
        .zip(ends)
        .filter(|((_, element), _)| !element.gap);
    let ranges = begun.map(|((key, element), end)| {
        let last = end.map_or_else(|| vec![0xff; key.len()], |end| before(end));
        (key.to_vec(), last, *element)
    });
    ranges.collect()
}

/// The number before it.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    key
}
