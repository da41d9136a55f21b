//! Rules of netfilter that dropped or rejected something just now: the difference between two
//! readings of their counters tells. Those that count nothing, and chains' policies, are only there.
//!
//! The kernel tells what nftables' rules count, nft(8) how they read: only for the few that matter,
//! and of chains that nft takes seconds for the kernel tells that too. Of very many rules those alone
//! are read twice that had dropped something before. The old engine's are read from
//! iptables-save(8).
mod legacy;
use netdiag_lang::mark;

#[cfg(test)]
mod live;
mod texts;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use self::texts::Texts;
use super::{
    Found as Told,
    rulesets::{
        self,
        kernel::{Does, Named, Part, Refusing, Sized},
    },
};
use crate::model::{
    gather::{Asks, Rule},
    netfilter::{Family, RuleOrigin},
    text,
    verdict::NotChecked,
};

/// Between two listings: what is dropped again and again is tried within it.
const BETWEEN: Duration = Duration::from_millis(1200);
/// More rules without counters than this tell nobody anything.
const UNCOUNTED: usize = 100;
/// Rules whose counters move, those that count most.
const MOVING: usize = 500;
/// Characters of a rule, and of the names of its place.
const LONGEST: usize = 600;
const PLACE: usize = 200;
/// Counters that are remembered: 10 MiB of them.
const MOST_COUNTS: usize = 1 << 18;
/// Rules of a chain that are always read again, and how many of more cost what one costs that is
/// named.
const SHORT: usize = 1000;
const EACH: usize = 100;
/// Rules of a chain that nft is asked for: it takes 30 ms and 3 MiB for a thousand.
const LISTED: usize = 5000;

/// Rules of this thread's namespace, which is that one, whose counters move, and those that have
/// none.
pub fn rules(netns: u32) -> Result<Told<Vec<Rule>>> {
    let mut counts = Counts::default();
    let keep = |rule| counts.note_of_kernel(&rule);
    let (_, before) = rulesets::kernel::refusing(|_| Part::All, keep)?;
    legacy::each(|rule| {
        counts.note(rule.key(), Some(rule.packets));
    })?;
    ensure!(
        !counts.full,
        "more than {MOST_COUNTS} rules dropped something and count it there"
    );
    thread::sleep(BETWEEN);
    let mut found = Found::default();
    let uncounted = std::mem::take(&mut counts.uncounted);
    let (chains, after) = rulesets::kernel::refusing(
        |chain| counts.again(chain),
        |mut rule| {
            rule.packets = counts.moved(rule.key(), rule.packets);
            found.take(rule);
        },
    )?;
    found.uncounted = uncounted;
    found.left.changed = !(before && after);
    found.long = chains
        .into_iter()
        .filter(|chain| chain.rules > LISTED)
        .map(|chain| chain.chain)
        .collect();
    let (mut rules, mut left) = found.told()?;
    let mut old = Vec::new();
    legacy::each(|mut rule| {
        rule.packets = counts.moved(rule.key(), Some(rule.packets)).unwrap_or(0);
        if rule.packets > 0 {
            old.push(rule.told());
            if old.len() > 2 * MOVING {
                left.moving |= most(&mut old, |r| r.packets);
            }
        }
    })?;
    left.moving |= most(&mut old, |r| r.packets);
    rules.extend(old);
    Ok((rules, left.told(netns)))
}

/// What is not among the rules that are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    moving: bool,
    uncounted: bool,
    /// They changed while they were listed.
    changed: bool,
}

impl Left {
    fn told(self, netns: u32) -> Vec<NotChecked> {
        let place = format!("in network namespace {netns}");
        let rows = [
            (
                self.moving,
                format!("rules that drop {place} beyond the {MOVING} that count most"),
                mark!("no more are kept"),
            ),
            (
                self.uncounted,
                format!("rules without counters that drop {place} beyond the first {UNCOUNTED}"),
                mark!("nothing tells which of them drops"),
            ),
            (
                self.changed,
                format!("whether these are all rules that drop {place}"),
                mark!("they changed while they were listed, twice"),
            ),
        ];
        let left = rows.into_iter().filter(|(left, ..)| *left);
        left.map(|(_, what, why)| NotChecked::new(what, why))
            .collect()
    }
}

/// What rules counted before, by no more than a number each, where it is not 0.
#[derive(Default)]
struct Counts {
    hash: RandomState,
    packets: HashMap<u64, u64>,
    full: bool,
    /// Those of nftables, chain by chain: no others can have dropped what was dropped until then.
    counted: HashMap<Rc<Named>, Vec<u64>>,
    uncounted: Uncounted,
}

impl Counts {
    /// Tells whether it is one that had not come before.
    fn note(&mut self, key: impl std::hash::Hash, packets: Option<u64>) -> bool {
        let Some(packets) = packets.filter(|packets| *packets > 0) else {
            return false;
        };
        let key = self.hash.hash_one(key);
        let known = self.packets.contains_key(&key);
        if !known && self.packets.len() >= MOST_COUNTS {
            self.full = true;
            return false;
        }
        self.packets.insert(key, packets);
        !known
    }

    fn note_of_kernel(&mut self, rule: &Refusing) {
        let new = self.note(rule.key(), rule.packets);
        match rule.handle {
            _ if rule.packets.is_none() => self.uncounted.take(rule),
            Some(handle) if new => {
                let counted = self.counted.entry(rule.chain.clone()).or_default();
                counted.push(handle);
            }
            _ => {}
        }
    }

    /// What is read of a chain the second time. The kernel walks a chain from its first rule on for
    /// every datagram of a listing, and once for a rule that is named: a few of very many are
    /// asked for one by one.
    fn again(&self, chain: &Sized) -> Part<'_> {
        if chain.rules <= SHORT {
            return Part::All;
        }
        let counted = self
            .counted
            .get(&chain.chain)
            .map_or(&[][..], Vec::as_slice);
        match counted.len() <= chain.rules / EACH {
            true => Part::These(counted),
            false => Part::All,
        }
    }

    /// How many since; a rule that was not there yet counted all of them.
    fn moved(&self, key: impl std::hash::Hash, packets: Option<u64>) -> Option<u64> {
        let before = self.packets.get(&self.hash.hash_one(key));
        packets.map(|now| now.saturating_sub(before.copied().unwrap_or(0)))
    }
}

impl Refusing {
    /// Handles are a table's; policies have none.
    fn key(&self) -> impl std::hash::Hash + '_ {
        self.place()
    }

    /// What tells one from another.
    fn place(&self) -> (Family, &[u8], Option<&[u8]>, Option<u64>) {
        let chain = self.handle.is_none().then_some(&*self.chain.chain);
        (self.chain.family, &self.chain.table, chain, self.handle)
    }
}

/// Rules and policies that count nothing, the first of them.
#[derive(Default)]
struct Uncounted {
    first: Vec<Refusing>,
    more: bool,
}

impl Uncounted {
    /// One that comes again, because the list changed, is the same one.
    fn take(&mut self, rule: &Refusing) {
        match self.first.len() < UNCOUNTED {
            _ if self.more || self.first.iter().any(|r| r.place() == rule.place()) => {}
            true => self.first.push(rule.clone()),
            false => self.more = true,
        }
    }
}

/// The rules that matter, as the kernel has them.
#[derive(Default)]
struct Found {
    moving: Vec<Refusing>,
    uncounted: Uncounted,
    /// Chains too long for nft.
    long: HashSet<Rc<Named>>,
    left: Left,
}

impl Found {
    /// Those that count nothing are known since the first reading.
    fn take(&mut self, rule: Refusing) {
        match rule.packets {
            None | Some(0) => {}
            Some(_) => {
                self.moving.push(rule);
                if self.moving.len() > 2 * MOVING {
                    self.leave_busiest();
                }
            }
        }
    }

    /// One that came again, because the list changed, is the same one.
    fn leave_busiest(&mut self) {
        let packets = |rule: &Refusing| rule.packets.unwrap_or(0);
        self.moving.sort_by(|a, b| {
            let busier = packets(b).cmp(&packets(a));
            a.place().cmp(&b.place()).then(busier)
        });
        self.moving
            .dedup_by(|again, rule| again.place() == rule.place());
        self.left.moving |= most(&mut self.moving, packets);
    }

    /// In nft's words, where it has some for them.
    fn told(mut self) -> Result<(Vec<Rule>, Left)> {
        self.leave_busiest();
        self.left.uncounted = self.uncounted.more;
        let mut all = self.moving;
        all.extend(self.uncounted.first);
        let texts = Texts::of(&all, self.long)?;
        let mut rules = Vec::new();
        for rule in all {
            let known = texts.known(&rule);
            if rule.does != Does::Depends || known.is_some_and(|known| known.refuses) {
                let asks = known.map(|known| known.asks.clone());
                let text = texts.get(&rule);
                rules.push(told(rule, text, asks.unwrap_or_default()));
            }
        }
        Ok((rules, self.left))
    }
}

fn told(rule: Refusing, text: Option<String>, mut asks: Asks) -> Rule {
    asks.policy = rule.hook;
    asks.rejects |= rule.does == Does::Reject;
    let text = rule.policy.or(text).unwrap_or_else(|| {
        let does = if rule.does == Does::Reject {
            "reject"
        } else {
            "drop"
        };
        match rule.packets {
            Some(_) => format!("counter {does}"),
            None => does.to_owned(),
        }
    });
    let chain = rule.chain.told();
    let place = format!("{} {} {}", chain.family.name(), chain.table, chain.chain);
    Rule {
        place: text::line(&place, PLACE),
        text: text::line(&text, LONGEST),
        packets: rule.packets.unwrap_or(0),
        counted: rule.packets.is_some(),
        asks,
        origin: RuleOrigin::Nft {
            chain,
            handle: rule.handle,
        },
    }
}

/// Leaves those that count most, and tells whether there are others.
fn most<T>(rules: &mut Vec<T>, packets: impl Fn(&T) -> u64) -> bool {
    rules.sort_by_key(|rule| std::cmp::Reverse(packets(rule)));
    let more = rules.len() > MOVING;
    rules.truncate(MOVING);
    more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::world::ruleset::Hook;

    fn refusing(handle: Option<u64>, packets: Option<u64>) -> Refusing {
        let chain = Named {
            family: Family::Ip,
            table: "a; b".into(),
            chain: "FORWARD".into(),
        };
        let policy = "type filter hook forward priority filter; policy drop;";
        Refusing {
            chain: Rc::new(chain),
            handle,
            policy: handle.is_none().then(|| policy.to_owned()),
            hook: handle.is_none().then_some(Hook::Forward),
            packets,
            does: Does::Drop,
        }
    }

    #[test]
    fn policies_and_rules_without_counters_are_there_too() {
        let (mut counts, mut found) = (Counts::default(), Found::default());
        let some = [
            (None, None),
            (Some(2), None),
            (Some(3), Some(0)),
            (Some(4), Some(7)),
        ];
        for (handle, packets) in some {
            let rule = refusing(handle, packets);
            counts.note_of_kernel(&rule);
            found.take(rule);
        }
        found.uncounted = counts.uncounted;
        let (rules, left) = found.told().expect("nft is not asked for such a name");
        assert_eq!(left, Left::default());
        let [moving, policy, rule] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!((moving.packets, moving.counted), (7, true));
        assert_eq!(policy.asks.policy, Some(Hook::Forward));
        assert_eq!((rule.text.as_str(), rule.counted), ("drop", false));
        assert_eq!(rule.delete(), None, "no command has such a name");
        assert_eq!(rule.list().expect("a command"), "nft -a list ruleset");
    }

    #[test]
    fn counters_are_compared_rule_by_rule() {
        let mut counts = Counts::default();
        counts.note(refusing(Some(2), None).key(), Some(5));
        let moved = |handle, packets| counts.moved(refusing(Some(handle), None).key(), packets);
        assert_eq!(moved(2, Some(8)), Some(3));
        assert_eq!(moved(3, Some(8)), Some(8), "a new one");
        assert_eq!(moved(2, None), None);
        assert_eq!(moved(2, Some(1)), Some(0), "made anew");
    }

    #[test]
    fn a_few_of_many_are_read_again_one_by_one() {
        let mut counts = Counts::default();
        for (handle, packets) in [(2, Some(0)), (3, Some(1)), (4, None)] {
            counts.note_of_kernel(&refusing(Some(handle), packets));
        }
        let chain = refusing(None, None).chain;
        let again = |rules| {
            let sized = Sized {
                chain: chain.clone(),
                rules,
            };
            match counts.again(&sized) {
                Part::All => None,
                Part::These(handles) => Some(handles.to_vec()),
            }
        };
        assert_eq!(again(SHORT), None);
        assert_eq!(again(SHORT + 1), Some(vec![3]));
        for handle in 5..20 {
            counts.note_of_kernel(&refusing(Some(handle), Some(1)));
        }
        let sized = |rules| Sized {
            chain: chain.clone(),
            rules,
        };
        assert!(
            matches!(counts.again(&sized(1500)), Part::All),
            "16 of them"
        );
        assert!(matches!(counts.again(&sized(1600)), Part::These(_)));
    }

    #[test]
    fn of_very_many_the_busiest_are_kept() {
        let (mut counts, mut found) = (Counts::default(), Found::default());
        for n in 1..=10_000 {
            found.take(refusing(Some(n), Some(n)));
            counts.note_of_kernel(&refusing(Some(n), None));
        }
        found.uncounted = counts.uncounted;
        assert!(found.moving.len() <= 2 * MOVING);
        let (rules, mut left) = found.told().expect("rules");
        assert_eq!(rules.len(), MOVING + UNCOUNTED);
        assert_eq!(rules[0].packets, 10_000);
        left.changed = true;
        let told = left.told(7).into_iter();
        let told: Vec<_> = told
            .map(|row| format!("{}: {}", row.what, row.why))
            .collect();
        assert_eq!(
            told,
            [
                "rules that drop in network namespace 7 beyond the 500 that count most: no more \
                 are kept",
                "rules without counters that drop in network namespace 7 beyond the first 100: \
                 nothing tells which of them drops",
                "whether these are all rules that drop in network namespace 7: they changed while \
                 they were listed, twice",
            ]
        );
    }

    #[test]
    fn a_rule_that_comes_again_is_one() {
        let (mut counts, mut found) = (Counts::default(), Found::default());
        for n in 0..=MOVING as u64 {
            counts.note_of_kernel(&refusing(Some(3), Some(n)));
            found.take(refusing(Some(3), Some(7)));
            counts.note_of_kernel(&refusing(Some(4), None));
            counts.note_of_kernel(&refusing(None, None));
        }
        found.take(refusing(Some(3), Some(9)));
        let asked: Vec<&[u64]> = counts.counted.values().map(Vec::as_slice).collect();
        assert_eq!(asked, [[3]], "once, whatever it counted");
        found.uncounted = counts.uncounted;
        let (rules, left) = found.told().expect("rules");
        assert_eq!((rules.len(), left), (3, Left::default()));
        assert_eq!(rules[0].packets, 9, "as it counted last");
    }
}
