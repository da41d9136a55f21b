//! Rules of netfilter that dropped or rejected something just now: the difference between two
//! readings of their counters tells. Those that count nothing, and chains' policies, are only there.
//!
//! The kernel tells what nftables' rules count, nft(8) how they read: only for the few that matter.
//! The old engine's are read from iptables-save(8).
mod legacy;
#[cfg(test)]
mod live;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::rulesets::{
    self,
    kernel::{Does, Refusing},
};
use crate::{
    model::{
        gather::Rule,
        netfilter::{Chain, RuleOrigin},
        text,
    },
    sys::program::Failure,
};

/// Between two listings: what is dropped again and again is tried within it.
const BETWEEN: Duration = Duration::from_millis(1200);
/// More rules without counters than this tell nobody anything.
const UNCOUNTED: usize = 100;
/// Rules whose counters move, those that count most.
const MOVING: usize = 500;
/// Chains that nft is asked for.
const CHAINS: usize = 32;
/// Characters of a rule, and of the names of its place.
const LONGEST: usize = 600;
const PLACE: usize = 200;

/// Rules of this thread's namespace whose counters move, and those that have none.
pub fn rules() -> Result<Vec<Rule>> {
    let mut counts = Counts::default();
    rulesets::kernel::refusing(|rule| counts.note(rule.key(), rule.packets))?;
    legacy::each(|rule| counts.note(rule.key(), Some(rule.packets)))?;
    ensure!(
        !counts.full,
        "more than {MOST_COUNTS} rules drop and count there"
    );
    thread::sleep(BETWEEN);
    let mut found = Found::default();
    rulesets::kernel::refusing(|mut rule| {
        rule.packets = counts.moved(rule.key(), rule.packets);
        found.take(rule);
    })?;
    let mut rules = found.told()?;
    let mut old = Vec::new();
    legacy::each(|mut rule| {
        rule.packets = counts.moved(rule.key(), Some(rule.packets)).unwrap_or(0);
        if rule.packets > 0 {
            old.push(rule.told());
            if old.len() > 2 * MOVING {
                most(&mut old, |r| r.packets);
            }
        }
    })?;
    most(&mut old, |r| r.packets);
    rules.extend(old);
    Ok(rules)
}

/// What rules counted before, by no more than a number each.
/// Counters of rules that are remembered: 24 MiB of them.
const MOST_COUNTS: usize = 1 << 20;

#[derive(Default)]
struct Counts {
    hash: RandomState,
    packets: HashMap<u64, u64>,
    full: bool,
}

impl Counts {
    fn note(&mut self, key: impl std::hash::Hash, packets: Option<u64>) {
        let Some(packets) = packets else {
            return;
        };
        match self.packets.len() < MOST_COUNTS {
            true => drop(self.packets.insert(self.hash.hash_one(key), packets)),
            false => self.full = true,
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
        let chain = self.handle.is_none().then_some(&self.chain.chain);
        (self.chain.family, &self.chain.table, chain, self.handle)
    }
}

/// The rules that matter, as the kernel has them.
#[derive(Default)]
struct Found {
    moving: Vec<Refusing>,
    uncounted: Vec<Refusing>,
}

impl Found {
    fn take(&mut self, rule: Refusing) {
        match rule.packets {
            Some(0) => {}
            None if self.uncounted.len() < UNCOUNTED => self.uncounted.push(rule),
            None => {}
            Some(_) => {
                self.moving.push(rule);
                if self.moving.len() > 2 * MOVING {
                    most(&mut self.moving, |r| r.packets.unwrap_or(0));
                }
            }
        }
    }

    /// In nft's words, where it has some for them.
    fn told(mut self) -> Result<Vec<Rule>> {
        most(&mut self.moving, |r| r.packets.unwrap_or(0));
        let mut all = self.moving;
        all.extend(self.uncounted);
        let texts = Texts::of(&all)?;
        let mut rules = Vec::new();
        for rule in all {
            let text = texts.get(&rule).cloned();
            // Of a rule that depends on a map only its text says whether it refuses anything.
            if rule.does != Does::Depends || text.as_deref().is_some_and(refuses) {
                rules.push(told(rule, text));
            }
        }
        Ok(rules)
    }
}

fn told(rule: Refusing, text: Option<String>) -> Rule {
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
    let chain = rule.chain.as_ref().clone();
    let place = format!("{} {} {}", chain.family.name(), chain.table, chain.chain);
    Rule {
        place: text::line(&place, PLACE),
        text: text::line(&text, LONGEST),
        packets: rule.packets.unwrap_or(0),
        counted: rule.packets.is_some(),
        origin: RuleOrigin::Nft {
            chain,
            handle: rule.handle,
        },
    }
}

/// Leaves those that count most.
fn most<T>(rules: &mut Vec<T>, packets: impl Fn(&T) -> u64) {
    rules.sort_by_key(|rule| std::cmp::Reverse(packets(rule)));
    rules.truncate(MOVING);
}

/// How rules read, by chain and handle.
#[derive(Default)]
struct Texts(HashMap<Rc<Chain>, HashMap<u64, String>>);

impl Texts {
    /// The first chains' are the likeliest: rules come busiest first.
    fn of(rules: &[Refusing]) -> Result<Self> {
        let mut wanted: HashMap<Rc<Chain>, HashSet<u64>> = HashMap::new();
        for rule in rules {
            let known = wanted.contains_key(&rule.chain) || wanted.len() < CHAINS;
            if let (Some(handle), true) = (rule.handle, known) {
                wanted.entry(rule.chain.clone()).or_default().insert(handle);
            }
        }
        let mut texts = Self::default();
        for (chain, handles) in wanted {
            // No command has a name that is more than one word.
            if let Some(names) = chain.plain() {
                texts.0.insert(chain.clone(), listed(names, &handles)?);
            }
        }
        Ok(texts)
    }

    fn get(&self, rule: &Refusing) -> Option<&String> {
        self.0.get(&rule.chain)?.get(&rule.handle?)
    }
}

/// Lines like `tcp dport 80 counter packets 3 bytes 180 drop # handle 4`.
fn listed(names: [&str; 3], handles: &HashSet<u64>) -> Result<HashMap<u64, String>> {
    let mut texts = HashMap::new();
    let listed = rulesets::chain(names, |line| {
        let rule = line.rsplit_once(" # handle ");
        let rule = rule.and_then(|(rule, handle)| Some((rule, handle.parse().ok()?)));
        if let Some((rule, handle)) = rule.filter(|(_, handle)| handles.contains(handle)) {
            texts.insert(handle, text::line(rule.trim(), LONGEST));
        }
    });
    match listed {
        // Without nft nobody knows which packets a rule is about: that is told once, as it is.
        Err(e @ (Failure::NotInstalled(_) | Failure::Untrusted(..))) => Err(e.into()),
        // A chain that is gone by now, or one whose name is a word of nft's: it is told by its handle.
        Ok(()) | Err(_) => Ok(texts),
    }
}

fn refuses(line: &str) -> bool {
    line.split([' ', ';', ','])
        .any(|word| matches!(word, "drop" | "reject" | "DROP" | "REJECT"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::netfilter::Family;

    fn refusing(handle: Option<u64>, packets: Option<u64>) -> Refusing {
        let chain = Chain {
            family: Family::Ip,
            table: "a; b".into(),
            chain: "FORWARD".into(),
        };
        let policy = "type filter hook forward priority filter; policy drop;";
        Refusing {
            chain: Rc::new(chain),
            handle,
            policy: handle.is_none().then(|| policy.to_owned()),
            packets,
            does: Does::Drop,
        }
    }

    #[test]
    fn policies_and_rules_without_counters_are_there_too() {
        let mut found = Found::default();
        let some = [
            (None, None),
            (Some(2), None),
            (Some(3), Some(0)),
            (Some(4), Some(7)),
        ];
        for (handle, packets) in some {
            found.take(refusing(handle, packets));
        }
        let rules = found.told().expect("nft is not asked for such a name");
        let [moving, policy, rule] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!((moving.packets, moving.counted), (7, true));
        assert_eq!(policy.policy_at(), Some("forward"));
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
    fn of_very_many_the_busiest_are_kept() {
        let mut found = Found::default();
        for n in 1..=10_000 {
            found.take(refusing(Some(n), Some(n)));
            found.take(refusing(Some(n), None));
        }
        assert!(found.moving.len() <= 2 * MOVING);
        let rules = found.told().expect("rules");
        assert_eq!(rules.len(), MOVING + UNCOUNTED);
        assert_eq!(rules[0].packets, 10_000);
    }
}
