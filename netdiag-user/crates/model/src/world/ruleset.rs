//! The rules of nf_tables as the kernel runs them (include/uapi/linux/netfilter/nf_tables.h): expressions on registers,
//! not the text that some program makes of them.
mod expression;
mod ipset;
mod set;

use serde::{Deserialize, Serialize};

pub use self::{
    expression::{
        Arithmetic, Base, Compare, Ct, Expression, Fib, Load, Meta, Nat, NatKind, Order, Reg,
        Reject, Route, Store, Verdict,
    },
    ipset::{Ipset, IpsetEntry, IpsetPart},
    set::{Bytes, Data, Element, Set},
};
use crate::netfilter::{Family, Iptables};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Those of nf_tables in the order of their making; iptables' own, after them, were made nobody knows when.
    pub tables: Vec<Table>,
    /// Those of ipset(8), where some rule asks one.
    #[serde(default)]
    pub ipsets: Vec<Ipset>,
    /// By what the kernel tells changes (NFTA_GEN_ID).
    pub generation: u32,
}

impl Ruleset {
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.ipsets.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub family: Family,
    pub name: String,
    /// It is iptables' own (net/ipv4/netfilter/ip_tables.c), and none of nf_tables'.
    #[serde(default)]
    pub legacy: bool,
    /// None of its chains is asked.
    pub dormant: bool,
    pub chains: Vec<Chain>,
    pub sets: Vec<Set>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    pub name: String,
    /// Those of a table are numbered in the order of their making.
    pub handle: u64,
    /// None where other chains alone lead to it.
    pub base: Option<BaseChain>,
    pub rules: Vec<Rule>,
}

/// What the kernel itself asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseChain {
    pub hook: Hook,
    /// The lowest is asked first.
    pub priority: i32,
    pub kind: ChainKind,
    /// What becomes of whom no rule decides about.
    pub accepts: bool,
    /// At netdev's hooks.
    pub devices: Vec<String>,
}

/// Where packets are asked about (`NF_INET_…`, `NF_NETDEV_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Ingress,
    Egress,
}

impl Hook {
    /// Those of IPv4 and IPv6, by their numbers (`NF_INET_…`).
    pub const OF_IP: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainKind {
    Filter,
    /// What it marks anew at the output is routed once more.
    Route,
    /// A connection's first packet alone is asked about.
    Nat,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub handle: u64,
    pub expressions: Vec<Expression>,
    /// What its writer says of it, where somebody asked for that: it decides nothing.
    #[serde(skip)]
    pub comment: Option<Box<str>>,
}

impl Rule {
    /// Packets, where something counts them.
    pub fn packets(&self) -> Option<u64> {
        self.expressions
            .iter()
            .find_map(|expression| match expression {
                Expression::Counter { packets } => Some(*packets),
                _ => None,
            })
    }
}

impl Rule {
    /// Whether iptables wrote it: nft has expressions for what it asks.
    pub fn is_iptables(&self) -> bool {
        let mut all = self.expressions.iter();
        all.any(|one| matches!(one, Expression::Xtables { .. }))
    }
}

impl Table {
    /// The program that lists it, where it is one of iptables', as its rules say.
    pub fn program<'r>(&self, mut rules: impl Iterator<Item = &'r Rule>) -> Option<Iptables> {
        match (self.family, self.legacy) {
            (Family::Ip, true) => Some(Iptables::Legacy4),
            (Family::Ip6, true) => Some(Iptables::Legacy6),
            (Family::Ip, false) => rules.any(Rule::is_iptables).then_some(Iptables::Nft4),
            (Family::Ip6, false) => rules.any(Rule::is_iptables).then_some(Iptables::Nft6),
            _ => None,
        }
    }

    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }
}

impl Ruleset {
    /// Rules, and elements of sets.
    pub fn size(&self) -> (usize, usize) {
        let chains = self.tables.iter().flat_map(|table| &table.chains);
        let sets = self.tables.iter().flat_map(|table| &table.sets);
        let rules: usize = chains.map(|chain| chain.rules.len()).sum();
        let elements: usize = sets.map(|set| set.elements.len()).sum();
        let ipsets: usize = self.ipsets.iter().map(|set| set.entries.len()).sum();
        (rules, elements + ipsets)
    }

    /// The chains that are asked at a hook of IPv4 or IPv6, in the order in which they are: of those of one priority
    /// the last that was made is the first (`nf_hook_entries_grow`).
    pub fn at(&self, hook: Hook, ipv6: bool) -> Vec<(&Table, &Chain, &BaseChain)> {
        let tables = self.tables.iter().filter(|table| table.family.has(ipv6));
        let chains = tables.filter(|table| !table.dormant).flat_map(|table| {
            let chains = table.chains.iter();
            chains.filter_map(move |chain| Some((table, chain, chain.base.as_ref()?)))
        });
        let mut all: Vec<_> = chains.filter(|(.., base)| base.hook == hook).collect();
        all.reverse();
        all.sort_by_key(|(.., base)| base.priority);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Known, Stack, Why};

    #[test]
    fn a_recording_has_all_rules_or_none() {
        for (count, kept) in [(4_096, true), (4_097, false)] {
            let rule = Rule {
                handle: 1,
                expressions: Vec::new(),
                comment: None,
            };
            let chain = Chain {
                name: "c".into(),
                handle: 1,
                base: None,
                rules: vec![rule; count],
            };
            let table = Table {
                family: Family::Inet,
                name: "t".into(),
                legacy: false,
                dormant: false,
                chains: vec![chain],
                sets: Vec::new(),
            };
            let ruleset = Ruleset {
                tables: vec![table],
                ..Ruleset::default()
            };
            let stack = Stack {
                ruleset: Known::Is(ruleset.into()),
                ..Stack::default()
            };
            let text = serde_json::to_string(&stack).expect("text");
            let read: Stack = serde_json::from_str(&text).expect("a stack");
            match kept {
                true => assert_eq!(read.ruleset, stack.ruleset),
                false => assert_eq!(read.ruleset, Known::Not(Why::TooMany)),
            }
        }
    }
}
