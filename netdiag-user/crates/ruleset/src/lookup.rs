//! Whether a key is in a set (net/netfilter/nft_set_{hash,rbtree,pipapo}.c).
use netdiag_model::world::ruleset::{Element, Set};

use crate::{Byte, chain::Wrong, index::Elements};

/// What a set says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'r> {
    Yes(&'r Element),
    No,
    Maybe,
}

/// How many bytes a set is asked for.
pub(crate) fn length(set: &Set) -> usize {
    match set.parts.as_slice() {
        [one] => usize::from(*one),
        several => several.iter().map(|part| padded(*part)).sum(),
    }
}

fn padded(part: u8) -> usize {
    usize::from(part).next_multiple_of(4)
}

pub(crate) fn find<'r>(of: &Elements<'r>, key: &[Byte], wrong: Option<Wrong>) -> Found<'r> {
    let set = of.set;
    if set.dynamic {
        return Found::Maybe;
    }
    let Some(key) = known(key) else {
        let may = set.partly || set.elements.iter().any(|one| may_be(set, one, key));
        return if may { Found::Maybe } else { Found::No };
    };
    let found = match (set.intervals, set.parts.len()) {
        (false, _) => of.exact.get(key.as_slice()).copied(),
        (true, 1) if !of.pairs => interval(of, &key, wrong),
        (true, _) => ranges(set, &key, wrong),
    };
    match found {
        Some(element) => Found::Yes(element),
        None if set.partly => Found::Maybe,
        None => Found::No,
    }
}

fn known(bytes: &[Byte]) -> Option<Vec<u8>> {
    bytes.iter().map(|byte| byte.get()).collect()
}

/// Whether what is known of a key lets it be that element's.
fn may_be(set: &Set, element: &Element, key: &[Byte]) -> bool {
    let Some(from) = element.key.as_ref() else {
        return false;
    };
    let differs = |(byte, from): (&Byte, &u8)| byte.differs(*from);
    match (set.intervals, set.parts.len()) {
        (false, _) => !key.iter().zip(from.as_slice()).any(differs),
        (true, 1) => true,
        (true, _) => {
            let to = element.end.as_ref().unwrap_or(from);
            let mut at = 0;
            set.parts.iter().all(|part| {
                let own = at..at + usize::from(*part);
                at += padded(*part);
                let ends = (
                    from.as_slice().get(own.clone()),
                    to.as_slice().get(own.clone()),
                );
                let (Some(from), Some(to)) = ends else {
                    return false;
                };
                let part = key.get(own).and_then(known);
                part.is_none_or(|part| from <= part.as_slice() && part.as_slice() <= to)
            })
        }
    }
}

/// The last that begins before it or with it, unless a gap does.
fn interval<'r>(of: &Elements<'r>, key: &[u8], wrong: Option<Wrong>) -> Option<&'r Element> {
    let begun = |element: &&Element| {
        let of = element.key.as_ref();
        of.is_some_and(
            |of| match element.gap && wrong == Some(Wrong::EndsIncluded) {
                true => of.as_slice() < key,
                false => of.as_slice() <= key,
            },
        )
    };
    let mut sorted = of.sorted.iter().copied();
    // Where one ends another may begin: it is in that one.
    let last = match wrong {
        Some(Wrong::EndsIncluded) => sorted.rfind(begun),
        _ => of.sorted[..of.sorted.partition_point(begun)]
            .last()
            .copied(),
    };
    last.filter(|element| !element.gap)
}

/// Each part between its two ends.
fn ranges<'r>(set: &'r Set, key: &[u8], wrong: Option<Wrong>) -> Option<&'r Element> {
    let within = |element: &&Element| {
        let Some(from) = element.key.as_ref() else {
            return false;
        };
        let to = element.end.as_ref().unwrap_or(from);
        let (mut at, mut unfilled) = (0, 0);
        set.parts.iter().all(|part| {
            let bytes = usize::from(*part);
            let own = match wrong {
                Some(Wrong::Unpadded) => unfilled,
                _ => at,
            };
            let part_of = |of: &[u8], at: usize| of.get(at..at + bytes).map(<[u8]>::to_vec);
            let (from, to) = (part_of(from, at), part_of(to, at));
            let own = part_of(key, own);
            at += padded(*part);
            unfilled += bytes;
            own.is_some() && from <= own && own <= to
        })
    };
    set.elements.iter().find(within)
}
