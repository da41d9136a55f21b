//! The old engine's rules and policies that refuse packets: as the kernel has them, in the words of iptables-save(8).
use std::collections::HashMap;

use anyhow::Result;

use super::{LONGEST, PLACE};
use crate::{
    gather::rulesets::{
        self,
        saved::{self, Lines, Says},
    },
    model::{
        gather::{Asks, Rule, in_words},
        netfilter::{Family, Iptables, RuleOrigin, saved_words},
        text,
        world::{
            self,
            ruleset::{Data, Expression, Hook, Table, Verdict},
        },
    },
    stack::ruleset::legacy,
};

/// One as its line has it.
pub struct Refusing<'a> {
    program: Iptables,
    table: &'a str,
    chain: &'a str,
    /// None of a policy.
    rule: Option<&'a str>,
    /// In its chain.
    number: u64,
    pub packets: u64,
    asks: Asks,
}

/// Rules of all its tables; of more the words are read, one line at a time.
const MOST: usize = 1 << 15;

/// What those that refuse ask, by their table, chain and number.
#[derive(Default)]
struct Known(HashMap<(String, String, u64), Asks>);

impl Known {
    fn of(tables: &[Table]) -> Self {
        let mut known = Self::default();
        for table in tables {
            for chain in &table.chains {
                let numbered = (1..).zip(&chain.rules);
                for (number, rule) in numbered.filter(|(_, rule)| refuses(rule)) {
                    let place = (table.name.clone(), chain.name.clone(), number);
                    known.0.insert(
                        place,
                        netdiag_ruleset::asks(table.family, &rule.expressions),
                    );
                }
            }
        }
        known
    }
}

fn refuses(rule: &world::ruleset::Rule) -> bool {
    rule.expressions.iter().any(|one| match one {
        Expression::Sets(Data::Verdict(verdict), _) => *verdict == Verdict::Drop,
        Expression::Xtables {
            target: true, name, ..
        } => name == "REJECT",
        _ => false,
    })
}

/// Hands over all of this thread's namespace.
pub fn each(mut each: impl FnMut(Refusing<'_>)) -> Result<()> {
    rulesets::saved_legacy(&["-c"], |program, lines| {
        let ipv6 = program.family() == Family::Ip6;
        let known = match legacy::tables(ipv6, &mut { MOST }, false)? {
            (tables, true) => Some(Known::of(&tables)),
            (_, false) => None,
        };
        read(program, lines, known.as_ref(), &mut each)
    })
}

fn read(
    program: Iptables,
    lines: &mut Lines<'_>,
    known: Option<&Known>,
    each: &mut impl FnMut(Refusing<'_>),
) -> Result<()> {
    let (mut chain, mut number) = (String::new(), 0);
    saved::each(lines, |line| {
        match line.says {
            Says::Rule(_) if line.chain == chain => number += 1,
            Says::Rule(_) => {
                line.chain.clone_into(&mut chain);
                number = 1;
            }
            // Another table, which may have a chain of that name.
            Says::Chain { .. } => chain.clear(),
        }
        let place = || (line.table.to_owned(), line.chain.to_owned(), number);
        let (rule, asks) = match line.says {
            Says::Rule(rule) => match known {
                Some(known) => match known.0.get(&place()) {
                    Some(asks) => (Some(rule), asks.clone()),
                    None => return Ok(()),
                },
                None if in_words::refuses(rule) => (Some(rule), in_words::asks(rule)),
                None => return Ok(()),
            },
            // A policy counts what it takes.
            Says::Chain { policy: "DROP" } => (None, policy(line.chain)),
            Says::Chain { .. } => return Ok(()),
        };
        let refusing = line.packets.map(|packets| Refusing {
            program,
            table: line.table,
            chain: line.chain,
            rule,
            number,
            packets,
            asks,
        });
        refusing.into_iter().for_each(&mut *each);
        Ok(())
    })
}

/// Chains that have a policy are called as their hooks are.
fn policy(chain: &str) -> Asks {
    let mut hooks = Hook::OF_IP.into_iter();
    Asks {
        policy: hooks.find(|hook| legacy::name_of(*hook) == chain),
        ..Asks::default()
    }
}

impl Refusing<'_> {
    pub fn key(&self) -> impl std::hash::Hash + '_ {
        (self.program, self.table, self.chain, self.rule)
    }

    /// A policy is told as nftables tells its.
    pub fn told(&self) -> Rule {
        let (program, table, chain) = (self.program.name(), self.table, self.chain);
        let text = match self.rule {
            Some(rule) => format!("{chain} {rule}"),
            None => {
                let hook = chain.to_lowercase();
                format!("type filter hook {hook} priority {table}; policy drop;")
            }
        };
        Rule {
            place: text::line(&format!("{program}'s {table} {chain}"), PLACE),
            text: text::line(&text, LONGEST),
            packets: self.packets,
            counted: true,
            asks: self.asks.clone(),
            origin: RuleOrigin::Iptables {
                program: self.program,
                table: table.to_owned(),
                chain: chain.to_owned(),
                words: self.rule.map(saved_words),
                number: self.rule.map(|_| self.number),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first rules of these chains of the table filter refuse.
    fn rules(text: &str, refusing: &[&str]) -> Vec<Rule> {
        let mut known = Known::default();
        for chain in refusing {
            let place = ("filter".to_owned(), (*chain).to_owned(), 1);
            known.0.insert(place, Asks::default());
        }
        let mut all = Vec::new();
        let mut from = text.as_bytes();
        let mut keep = |rule: Refusing<'_>| all.push(rule.told());
        let mut lines = Lines::new(&mut from);
        read(Iptables::Legacy4, &mut lines, Some(&known), &mut keep).expect("lines");
        all
    }

    #[test]
    fn rules_are_deleted_by_their_words() {
        let rules = rules(
            "*filter\n:FORWARD ACCEPT [0:0]\n[3:180] -A FORWARD -p tcp -j DROP\n[1:2] -A X -j Y\n\
             [1:2] -A X -m comment --comment DROP -j Y\n",
            &["FORWARD"],
        );
        assert_eq!(rules.len(), 1, "{rules:?}");
        assert_eq!(
            (rules[0].packets, rules[0].text.as_str()),
            (3, "FORWARD -p tcp -j DROP")
        );
        let delete = "iptables-legacy -t filter -D FORWARD -p tcp -j DROP";
        assert_eq!(rules[0].delete().expect("a command"), delete);
    }

    #[test]
    fn policies_are_told_as_nftables_tells_them() {
        let rules = rules("*filter\n:FORWARD DROP [12:720]\n:X - [0:0]\n", &[]);
        assert_eq!(rules.len(), 1);
        assert_eq!(
            (rules[0].asks.policy, rules[0].packets),
            (Some(Hook::Forward), 12)
        );
        let accept = "iptables-legacy -t filter -P FORWARD ACCEPT";
        assert_eq!(rules[0].delete().expect("a command"), accept);
    }

    #[test]
    fn a_hostile_comment_is_one_word() {
        let rules = rules(
            "*filter\n[9:9] -A X -m comment --comment \"a' ; id\\\"\n[5:5] -A FORWARD -j \
             DROP\" -j DROP\n",
            &["X"],
        );
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!(
            (rule.packets, rule.delete()),
            (9, None),
            "it has a line's end"
        );
        assert!(!rule.text.contains('\n'));
    }
}
