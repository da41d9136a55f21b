//! A table's chains and sets by their names, and of many rules that ask the same those that want what a packet has: a
//! kube-proxy's list of Services is one chain, in which all but one rule end at an address.
use std::{collections::HashMap, ops::Range};

use netdiag_model::world::ruleset::{
    Chain, Compare, Element, Expression, Load, Reg, Rule, Set, Table,
};

use crate::{Loaded, Packet, registers::Registers};

/// Fewer rules are asked one after the other.
const LEAST: usize = 4;
/// Rules of one run, and tests of a rule: whoever has a namespace of his own may write any number of them, of which each
/// is held against those of the rules behind.
const MOST: usize = 256;
const TESTS: usize = 4;
/// Where a test is looked at.
const AT: Reg = Reg(0);

pub struct Index<'r> {
    chains: HashMap<&'r str, Indexed<'r>>,
    sets: HashMap<&'r str, Elements<'r>>,
}

/// A chain, and which of its rules ask the same.
pub(crate) struct Indexed<'r> {
    pub chain: &'r Chain,
    runs: Vec<Run<'r>>,
}

/// Rules one behind the other that all want something of the same bytes.
struct Run<'r> {
    rules: Range<usize>,
    asks: Asks<'r>,
    by: HashMap<&'r [u8], Vec<usize>>,
}

/// Of which bytes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asks<'r> {
    load: &'r Load,
    /// The mask, and what is turned behind it.
    masks: Option<(&'r [u8], &'r [u8])>,
    length: usize,
}

/// A set, to be asked for a key.
pub(crate) struct Elements<'r> {
    pub set: &'r Set,
    /// By their keys, the first of each.
    pub exact: HashMap<&'r [u8], &'r Element>,
    /// Ranges have both their ends in one element.
    pub pairs: bool,
    /// In order, a gap before what begins with it.
    pub sorted: Vec<&'r Element>,
    /// What stands for all that are not in it.
    pub others: Option<&'r Element>,
}

impl<'r> Index<'r> {
    pub fn new(table: &'r Table) -> Self {
        let mut chains = HashMap::with_capacity(table.chains.len());
        let mut sets = HashMap::with_capacity(table.sets.len());
        for chain in &table.chains {
            chains
                .entry(chain.name.as_str())
                .or_insert_with(|| Indexed::new(chain));
        }
        for set in &table.sets {
            sets.entry(set.name.as_str())
                .or_insert_with(|| Elements::new(set));
        }
        Self { chains, sets }
    }

    pub(crate) fn chain(&self, name: &str) -> Option<&Indexed<'r>> {
        self.chains.get(name)
    }

    pub(crate) fn set(&self, name: &str) -> Option<&Elements<'r>> {
        self.sets.get(name)
    }
}

impl<'r> Indexed<'r> {
    fn new(chain: &'r Chain) -> Self {
        let (mut runs, mut at) = (Vec::new(), 0);
        while at + LEAST <= chain.rules.len() {
            let run = longest(&chain.rules, at);
            at = run.as_ref().map_or(at + 1, |run| run.rules.end);
            runs.extend(run);
        }
        Self { chain, runs }
    }

    /// The first rule from there on that the packet may be for: those before it end at a test that it is known not to
    /// stand.
    pub fn next(&self, from: usize, packet: &impl Packet) -> usize {
        let mut from = from;
        let first = self.runs.partition_point(|run| run.rules.end <= from);
        for run in &self.runs[first..] {
            if from < run.rules.start {
                break;
            }
            let wanted = match run.asks.of(packet) {
                Has::Known(bytes) => run.by.get(bytes.as_slice()),
                Has::None => None,
                Has::Unknown => break,
            };
            let rules = wanted.map_or(&[][..], Vec::as_slice);
            match rules.get(rules.partition_point(|rule| *rule < from)) {
                Some(rule) => return *rule,
                None => from = run.rules.end,
            }
        }
        from
    }
}

enum Has {
    Known(Vec<u8>),
    /// Such a test never holds.
    None,
    Unknown,
}

impl Asks<'_> {
    fn of(&self, packet: &impl Packet) -> Has {
        let bytes = match packet.load(self.load) {
            Loaded::Is(bytes) => bytes,
            Loaded::None => return Has::None,
            Loaded::Unknown => return Has::Unknown,
        };
        let mut registers = Registers::default();
        registers.put(AT, &bytes);
        if let Some((mask, xor)) = self.masks {
            registers.mask((AT, AT), mask, xor);
        }
        let bytes = registers.get(AT, self.length).into_iter();
        let known: Option<Vec<u8>> = bytes.map(|byte| byte.get()).collect();
        known.map_or(Has::Unknown, Has::Known)
    }
}

/// Those from there on that have one test in common, by which most are told apart.
fn longest(rules: &[Rule], from: usize) -> Option<Run<'_>> {
    let mut best: Option<Run<'_>> = None;
    for (asks, _) in tests(&rules[from]) {
        let mut by: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut end = from;
        for rule in rules[from..].iter().take(MOST) {
            let Some((_, value)) = tests(rule).find(|(own, _)| *own == asks) else {
                break;
            };
            by.entry(value).or_default().push(end);
            end += 1;
        }
        let better = best.as_ref().is_none_or(|best| by.len() > best.by.len());
        if end - from >= LEAST && by.len() > 1 && better {
            let rules = from..end;
            best = Some(Run { rules, asks, by });
        }
    }
    best
}

/// What a rule wants before it does anything, as far as it is looked at.
fn tests(rule: &Rule) -> impl Iterator<Item = (Asks<'_>, &[u8])> {
    let mut rest = rule.expressions.as_slice();
    let tests = std::iter::from_fn(move || {
        loop {
            let (load, masks, compares, tail) = match rest {
                [Expression::Load(load, to), one, tail @ ..] => match (one, tail) {
                    (
                        Expression::Masks {
                            from,
                            to: other,
                            mask,
                            xor,
                        },
                        [compares, tail @ ..],
                    ) if from == to && other == to => (
                        (load, to),
                        Some((mask.as_slice(), xor.as_slice())),
                        compares,
                        tail,
                    ),
                    _ => ((load, to), None, one, tail),
                },
                _ => return None,
            };
            let Expression::Compare { how, reg, with } = compares else {
                return None;
            };
            if reg != load.1 {
                return None;
            }
            rest = tail;
            if *how == Compare::Equal {
                let asks = Asks {
                    load: load.0,
                    masks,
                    length: with.len(),
                };
                return Some((asks, with.as_slice()));
            }
        }
    });
    tests.take(TESTS)
}

impl<'r> Elements<'r> {
    pub fn new(set: &'r Set) -> Self {
        let keyed = || {
            let elements = set.elements.iter();
            elements.filter_map(|element| Some((element.key.as_ref()?, element)))
        };
        let pairs = set.elements.iter().any(|one| one.end.is_some());
        let (mut exact, mut sorted) = (HashMap::new(), Vec::new());
        if !set.intervals {
            for (key, element) in keyed() {
                exact.entry(key.as_slice()).or_insert(element);
            }
        } else if set.parts.len() == 1 && !pairs {
            sorted = keyed().map(|(_, element)| element).collect();
            sorted.sort_by_key(|element| (&element.key, !element.gap));
        }
        Self {
            set,
            exact,
            pairs,
            sorted,
            others: set.elements.iter().find(|element| element.key.is_none()),
        }
    }
}

#[cfg(test)]
mod tests;
