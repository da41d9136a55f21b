//! Which pairs are run of the hundreds that there are: always the same ones for the same scenarios.
//!
//! One after another, the pair whose scenarios came up least; among those, the one whose two
//! families met least; among those, the one that a hash of the names says. So every scenario comes
//! up before any comes up twice (as far as it goes with others that did not), and what goes wrong
//! in one part of a node meets what goes wrong in each other part. A tenth are pairs of which one
//! hides the other, where there are so many.
use std::collections::BTreeMap;

use super::{
    Pair,
    run::{Both, Known},
};

pub fn choose(known: &Known, count: usize) -> Vec<Pair> {
    let mut tally = Uses::default();
    let fit = known.pairs.iter().filter(|both| fits(known, both));
    let (hidden, plain): (Vec<_>, Vec<_>) = fit.partition(|both| both.hidden.is_some());
    let mut chosen = tally.pick(known, hidden, count / 10);
    chosen.extend(tally.pick(known, plain, count - chosen.len()));
    chosen
}

/// Both have a cause of their own, and this machine can have both.
fn fits(known: &Known, both: &Both) -> bool {
    let find = |name| known.scenarios.get(name);
    let (Some(first), Some(second)) = (find(&both.first), find(&both.second)) else {
        return false;
    };
    [first, second]
        .iter()
        .all(|it| it.lacks.is_none() && !it.expected.is_empty())
        && first.expected.is_disjoint(&second.expected)
}

/// How often what came up.
#[derive(Default)]
struct Uses<'a> {
    scenarios: BTreeMap<&'a str, usize>,
    families: BTreeMap<[&'a str; 2], usize>,
}

impl<'a> Uses<'a> {
    fn pick(&mut self, known: &'a Known, mut from: Vec<&'a Both>, count: usize) -> Vec<Pair> {
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let each = from.iter().enumerate();
            let next = each.min_by_key(|(_, both)| self.weight(known, both));
            let Some((at, _)) = next else {
                break;
            };
            let both = from.swap_remove(at);
            for name in [&both.first, &both.second] {
                *self.scenarios.entry(name).or_default() += 1;
            }
            *self.families.entry(families(known, both)).or_default() += 1;
            chosen.push(Pair {
                first: both.first.clone(),
                second: both.second.clone(),
            });
        }
        chosen
    }

    fn weight(&self, known: &'a Known, both: &'a Both) -> [u64; 4] {
        let uses = |name: &str| self.scenarios.get(name).copied().unwrap_or(0) as u64;
        let (first, second) = (uses(&both.first), uses(&both.second));
        let met = self.families.get(&families(known, both)).copied();
        [
            first.min(second),
            first.max(second),
            met.unwrap_or(0) as u64,
            hash(&both.first, &both.second),
        ]
    }
}

fn families<'a>(known: &'a Known, both: &Both) -> [&'a str; 2] {
    let family = |name| {
        known
            .scenarios
            .get(name)
            .map_or("", |it| it.family.as_str())
    };
    let mut two = [family(&both.first), family(&both.second)];
    two.sort_unstable();
    two
}

/// FNV-1a, which is the same on every machine and in every release.
fn hash(first: &str, second: &str) -> u64 {
    let bytes = first.bytes().chain([b'+']).chain(second.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pairs::run::Scenario;

    /// Scenarios of four families; those of one family do not go together, and the first hides the
    /// last.
    fn known() -> Known {
        let name = |n: usize| format!("s{n:02}");
        let scenario = |n: usize| Scenario {
            expected: BTreeSet::from([name(n)]),
            family: format!("f{}", n % 4),
            lacks: (n == 5).then(|| "needs ipip".to_owned()),
        };
        let of = |a: usize, b: usize| Both {
            first: name(a),
            second: name(b),
            hidden: (a == 0 && b == 11).then(|| name(b)),
        };
        let two = (0..12).flat_map(|a| (a + 1..12).map(move |b| (a, b)));
        let two = two.filter(|(a, b)| a % 4 != b % 4);
        Known {
            scenarios: (0..12).map(|n| (name(n), scenario(n))).collect(),
            pairs: two.map(|(a, b)| of(a, b)).collect(),
        }
    }

    #[test]
    fn all_that_can_be_had_comes_up_alike() {
        let chosen = choose(&known(), 20);
        assert_eq!(chosen.len(), 20);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(chosen[0].to_string(), "s00+s11");
        let names = chosen.iter().flat_map(|p| [&p.first, &p.second]);
        let mut uses = BTreeMap::new();
        names.for_each(|name| *uses.entry(name.as_str()).or_insert(0) += 1);
        assert_eq!(uses.len(), 11);
        assert!(!uses.contains_key("s05"));
        assert!(uses.values().all(|n| (3..=4).contains(n)), "{uses:?}");
    }

    #[test]
    fn the_choice_is_always_the_same() {
        assert_eq!(choose(&known(), 20), choose(&known(), 20));
        let all = known().pairs.len();
        assert!(choose(&known(), 1000).len() < all);
    }
}
