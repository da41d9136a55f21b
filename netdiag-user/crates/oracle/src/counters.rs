//! What rules counted, held against how many packets the walks took through them.
use std::collections::BTreeMap;

use crate::{
    expect::Expected,
    set::{Counted, Counters},
};

/// Least and most of what each rule should have counted.
#[derive(Default)]
pub struct Due(BTreeMap<Counted, (u64, u64)>);

impl Due {
    /// One more packet, by one of these ways; a superpacket may be cut on any of them into so many.
    pub fn add<'a>(&mut self, ways: impl Iterator<Item = &'a Expected>, pieces: u64) {
        let each: Vec<_> = ways.map(|way| tally(&way.counted)).collect();
        let rules: std::collections::BTreeSet<&Counted> =
            each.iter().flat_map(BTreeMap::keys).copied().collect();
        for rule in rules {
            let counts = each.iter().map(|way| way.get(rule).copied().unwrap_or(0));
            let (least, most) = counts.fold((u64::MAX, 0), |(least, most), count| {
                (least.min(count), most.max(count))
            });
            let due = self.0.entry(rule.clone()).or_default();
            *due = (due.0 + least, due.1 + most * pieces);
        }
    }

    /// The first rule that counted otherwise, if any.
    pub fn missed(&self, before: &Counters, after: &Counters) -> Option<String> {
        let moved = |rule: &Counted| {
            let of = |all: &Counters| all.get(rule).copied().unwrap_or(0);
            of(after).saturating_sub(of(before))
        };
        after.keys().find_map(|rule| {
            let (least, most) = self.0.get(rule).copied().unwrap_or_default();
            let counted = moved(rule);
            let (space, table, handle) = rule;
            (!(least..=most).contains(&counted)).then(|| {
                let due = if least == most {
                    least.to_string()
                } else {
                    format!("{least} to {most}")
                };
                format!("  s{space} {table} handle {handle} counted {counted} in place of {due}\n")
            })
        })
    }
}

fn tally(counted: &[Counted]) -> BTreeMap<&Counted, u64> {
    let mut tally = BTreeMap::new();
    for rule in counted {
        *tally.entry(rule).or_default() += 1;
    }
    tally
}
