//! The old engine's rules and policies that refuse packets, from iptables-save(8).
use anyhow::Result;

use super::{LONGEST, PLACE};
use crate::{
    gather::rulesets::{
        self,
        saved::{self, Lines, Says},
    },
    model::{
        gather::Rule,
        netfilter::{Iptables, RuleOrigin, saved_words},
        text,
    },
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
}

/// Hands over all of this thread's namespace.
pub fn each(mut each: impl FnMut(Refusing<'_>)) -> Result<()> {
    rulesets::saved_legacy(&["-c"], |program, lines| read(program, lines, &mut each))
}

fn read(
    program: Iptables,
    lines: &mut Lines<'_>,
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
        let rule = match line.says {
            Says::Rule(rule) if refuses(rule) => Some(rule),
            // A policy counts what it takes.
            Says::Chain { policy: "DROP" } => None,
            _ => return Ok(()),
        };
        let refusing = line.packets.map(|packets| Refusing {
            program,
            table: line.table,
            chain: line.chain,
            rule,
            number,
            packets,
        });
        refusing.into_iter().for_each(&mut *each);
        Ok(())
    })
}

fn refuses(rule: &str) -> bool {
    let target = |pair: &[String]| {
        matches!(pair[0].as_str(), "-j" | "-g") && matches!(pair[1].as_str(), "DROP" | "REJECT")
    };
    // Most lines are of rules that refuse nothing: their words are not taken apart.
    let may = rule.contains("DROP") || rule.contains("REJECT");
    may && saved_words(rule).windows(2).any(target)
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

    fn rules(text: &str) -> Vec<Rule> {
        let mut all = Vec::new();
        let mut from = text.as_bytes();
        let mut keep = |rule: Refusing<'_>| all.push(rule.told());
        read(Iptables::Legacy4, &mut Lines::new(&mut from), &mut keep).expect("lines");
        all
    }

    #[test]
    fn rules_are_deleted_by_their_words() {
        let rules = rules(
            "*filter\n:FORWARD ACCEPT [0:0]\n[3:180] -A FORWARD -p tcp -j DROP\n[1:2] -A X -j Y\n\
             [1:2] -A X -m comment --comment DROP -j Y\n",
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
        let rules = rules("*filter\n:FORWARD DROP [12:720]\n:X - [0:0]\n");
        assert_eq!(rules.len(), 1);
        assert_eq!(
            (rules[0].policy_at(), rules[0].packets),
            (Some("forward"), 12)
        );
        let accept = "iptables-legacy -t filter -P FORWARD ACCEPT";
        assert_eq!(rules[0].delete().expect("a command"), accept);
    }

    #[test]
    fn a_hostile_comment_is_one_word() {
        let rules = rules(
            "*filter\n[9:9] -A X -m comment --comment \"a' ; id\\\"\n[5:5] -A FORWARD -j \
             DROP\" -j DROP\n",
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
