//! How often each kind of expression held, and did not: for who wants to know what his packets have tried.
use std::{cell::RefCell, collections::BTreeMap};

use netdiag_model::world::ruleset::{Compare, Expression, Load, Set};
use netdiag_ruleset::Asked;

/// By its name: how often it held, and how often not.
#[derive(Debug, Default)]
pub struct Tally(RefCell<BTreeMap<String, (u64, u64)>>);

impl Tally {
    pub(crate) fn count(&self, asked: &Asked<'_>) {
        let Some(name) = name(asked) else { return };
        let mut all = self.0.borrow_mut();
        let (held, not) = all.entry(name).or_default();
        *(if asked.held { held } else { not }) += 1;
    }

    pub fn take(&self) -> BTreeMap<String, (u64, u64)> {
        self.0.take()
    }
}

/// Of those that can do both.
fn name(asked: &Asked<'_>) -> Option<String> {
    let loaded = || asked.load.map_or_else(|| "a choice".to_owned(), load);
    Some(match asked.expression {
        Expression::Compare { how, .. } => match how {
            Compare::Equal => format!("{} ==", loaded()),
            Compare::Unequal => format!("{} !=", loaded()),
            _ => format!("{} in order", loaded()),
        },
        Expression::Range { .. } => format!("{} in a range", loaded()),
        Expression::Lookup { invert, .. } => {
            let not = if *invert { "not in" } else { "in" };
            format!("{not} {}", asked.set.map_or("a set", set))
        }
        Expression::Xtables {
            target: false,
            name,
            ..
        } => format!("xt {name}"),
        _ => return None,
    })
}

fn load(load: &Load) -> String {
    match load {
        Load::Meta(meta) => format!("meta {meta:?}"),
        Load::Ct { key, .. } => format!("ct {key:?}"),
        Load::Payload { base, offset, .. } => format!("payload {base:?} {offset}"),
        Load::Fib(_) => "fib".to_owned(),
        Load::Route(_) => "rt".to_owned(),
    }
}

fn set(set: &Set) -> &'static str {
    match (set.map, set.parts.len() > 1, set.intervals) {
        (false, false, false) => "a set",
        (false, false, true) => "a set of ranges",
        (false, true, false) => "a set of concatenations",
        (false, true, true) => "a set of ranges of concatenations",
        (true, false, false) => "a map",
        (true, false, true) => "a map of ranges",
        (true, true, _) => "a map of concatenations",
    }
}
