//! Which rule at postrouting translates the source of a packet: masquerade and SNAT, of nftables and
//! of both iptables. The chains are walked as the packet would: a selector that is not understood may
//! match, and no mark is set on it (kube-proxy's own rules are for marked packets).
mod iptables;
mod keeper;
mod nftables;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, ensure};

use super::rulesets::{self, kernel::Tables};
use crate::model::source_nat::{Leaving, SourceNat};

/// Rules that may do something with the packet, and how many are looked at on the ways through them.
const MOST: usize = 10_000;
const LOOKS: usize = 100_000;
/// Chains within chains.
const DEEPEST: usize = 16;
/// Characters of a rule.
const LONGEST: usize = 600;

/// Whether a packet is one that a rule's selectors are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matches {
    Yes,
    Maybe,
    No,
}

impl Matches {
    fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::Maybe => Self::Maybe,
            Self::No => Self::Yes,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
            _ => Self::Yes,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Does {
    Translates,
    /// Nothing behind it is asked.
    Ends,
    Returns,
    /// To chains, and back behind it unless it is a goto.
    Goes {
        to: Vec<String>,
        back: bool,
    },
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    chain: String,
    matches: Matches,
    does: Does,
    text: String,
}

/// What of a ruleset matters to the packet.
struct Rules<'a> {
    packet: &'a Leaving,
    chains: BTreeMap<String, Vec<Rule>>,
    kept: usize,
    /// Chains that packets come to behind routing.
    bases: BTreeSet<String>,
    others: u64,
}

/// Of this thread's namespace; the CNI's files are looked up under `root`.
pub fn source_nat(root: &Path, packet: &Leaving) -> Result<SourceNat> {
    let mut rules = Rules::new(packet);
    let mut found = SourceNat::default();
    let xt = rulesets::nft(Tables::Postrouting, &mut rules)?;
    rulesets::saved(xt, &[], |program, lines| {
        if iptables::read(lines, program, &mut rules)? {
            found.programs.push(program);
        }
        Ok(())
    })?;
    found.rule = rules.translates()?;
    found.others = rules.others();
    found.keeper = keeper::find(root);
    Ok(found)
}

impl<'a> Rules<'a> {
    fn new(packet: &'a Leaving) -> Self {
        Self {
            packet,
            chains: BTreeMap::new(),
            kept: 0,
            bases: BTreeSet::new(),
            others: 0,
        }
    }

    /// A rule for other packets is of no more use.
    fn keep(&mut self, rule: Rule) -> Result<()> {
        if rule.matches == Matches::No {
            self.others += u64::from(rule.does == Does::Translates);
            return Ok(());
        }
        self.kept += 1;
        let few = self.kept <= MOST;
        ensure!(few, "more than {MOST} rules may translate what leaves");
        self.chains
            .entry(rule.chain.clone())
            .or_default()
            .push(rule);
        Ok(())
    }

    /// Rules that translate, but not this packet: it is another's, or left its chain before.
    fn others(&self) -> u64 {
        let kept = self.chains.values().flatten();
        let translating = kept.filter(|rule| rule.does == Does::Translates);
        self.others + translating.count() as u64
    }

    /// The first rule by which the packet may be translated.
    fn translates(&self) -> Result<Option<String>> {
        let mut walk = Walk {
            chains: &self.chains,
            left: LOOKS,
            found: None,
        };
        for base in &self.bases {
            walk.follow(base, DEEPEST);
        }
        ensure!(
            walk.left > 0,
            "chains lead through one another more than {LOOKS} times"
        );
        Ok(walk.found)
    }
}

struct Walk<'a> {
    chains: &'a BTreeMap<String, Vec<Rule>>,
    left: usize,
    found: Option<String>,
}

impl Walk<'_> {
    /// True where the packet surely comes no further than this chain.
    fn follow(&mut self, chain: &str, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        for rule in self.chains.get(chain).into_iter().flatten() {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                return true;
            }
            let sure = rule.matches == Matches::Yes;
            match &rule.does {
                Does::Translates => {
                    self.found.get_or_insert_with(|| rule.text.clone());
                    return true;
                }
                Does::Ends if sure => return true,
                Does::Returns if sure => return false,
                Does::Ends | Does::Returns => {}
                Does::Goes { to, back } => {
                    let ended = to.iter().filter(|to| self.follow(to, depth)).count();
                    if sure && (ended == to.len() || !back) {
                        return ended == to.len();
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
