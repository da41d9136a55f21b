//! The last change of each thing, as many of a kind as there is room for.
use std::{
    collections::HashMap,
    mem::{Discriminant, discriminant},
};

use crate::model::journal::{Change, Thing};

/// Rules come by the hundred, all else one by one.
const RULES: usize = 512;
const OTHERS: usize = 64;
/// Of a name; whoever gives longer ones is not told.
const NAME: usize = 96;

#[derive(Default)]
pub struct Kept {
    kinds: HashMap<Discriminant<Thing>, HashMap<Thing, (u64, Change)>>,
    /// How many were noted, so that of those of one moment the first makes way.
    noted: u64,
}

impl Kept {
    pub fn add(&mut self, change: Change) {
        let room = room(&change.of);
        if name(&change.of).is_some_and(|name| name.len() > NAME) {
            return;
        }
        let kind = self.kinds.entry(discriminant(&change.of)).or_default();
        self.noted += 1;
        kind.insert(change.of.clone(), (self.noted, change));
        // Not one by one: to find the oldest all are looked at.
        if kind.len() > room {
            let mut order: Vec<u64> = kind.values().map(|(noted, _)| *noted).collect();
            let (_, from, _) = order.select_nth_unstable(kind.len() - leaves(room));
            let from = *from;
            kind.retain(|_, (noted, _)| *noted >= from);
        }
    }

    pub fn changes(&self) -> Vec<Change> {
        let all = self.kinds.values().flat_map(HashMap::values);
        let mut all: Vec<Change> = all.map(|(_, change)| change.clone()).collect();
        all.sort_by(|a, b| (a.at, &a.of).cmp(&(b.at, &b.of)));
        all
    }
}

fn room(thing: &Thing) -> usize {
    match thing {
        Thing::Rule { .. } => RULES,
        _ => OTHERS,
    }
}

/// What is left where all of it is taken.
fn leaves(room: usize) -> usize {
    room - room / 4
}

/// The longest that somebody chose.
fn name(thing: &Thing) -> Option<&str> {
    let names: [&str; 2] = match thing {
        Thing::Table { table, .. } => [table, ""],
        Thing::Chain { chain } | Thing::Rule { chain, .. } => [&chain.table, &chain.chain],
        Thing::Set { table, set, .. } => [table, set],
        _ => return None,
    };
    names.into_iter().max_by_key(|name| name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        journal::How,
        netfilter::{Chain, Family},
    };

    fn rule(at: u64, handle: u64) -> Change {
        let chain = Chain {
            family: Family::Inet,
            table: "filter".into(),
            chain: "forward".into(),
        };
        Change {
            at,
            of: Thing::Rule { chain, handle },
            how: How::Appeared,
            by: None,
            translates: None,
        }
    }

    #[test]
    fn many_rules_leave_all_else_its_room() {
        let mut kept = Kept::default();
        let of = Thing::Policy {
            ipv6: false,
            priority: 100,
        };
        let first = Change { of, ..rule(1, 0) };
        kept.add(first.clone());
        for n in 0..5000 {
            kept.add(rule(2 + n, n));
        }
        let all = kept.changes();
        let rules = all.len() - 1;
        assert!((leaves(RULES)..=RULES).contains(&rules), "{rules}");
        assert_eq!(all[0], first);
        assert_eq!(all[1].at, 2 + 5000 - rules as u64, "the oldest made way");
    }

    #[test]
    fn what_changes_again_is_one() {
        let mut kept = Kept::default();
        kept.add(rule(1, 7));
        kept.add(Change {
            how: How::Vanished,
            ..rule(5, 7)
        });
        let all = kept.changes();
        assert_eq!((all.len(), all[0].at, all[0].how), (1, 5, How::Vanished));
    }

    #[test]
    fn a_journal_is_bounded() {
        let long = "x".repeat(NAME);
        let mut kept = Kept::default();
        for n in 0..1000 {
            let mut change = rule(n, n);
            if let Thing::Rule { chain, .. } = &mut change.of {
                chain.table.clone_from(&long);
                chain.chain.clone_from(&long);
            }
            kept.add(change);
        }
        // Each stands twice, with two names and a program's at most; thirteen other kinds beside.
        let one = 2 * (size_of::<Change>() + 2 * NAME + 16);
        assert!((leaves(RULES)..=RULES).contains(&kept.changes().len()));
        assert!((RULES + 13 * OTHERS) * one < 1 << 20);
        kept.add(Change {
            of: Thing::Table {
                family: Family::Ip,
                table: "x".repeat(NAME + 1),
            },
            ..rule(9999, 1)
        });
        assert!(kept.changes().iter().all(|it| it.at < 9999));
    }
}
