//! Where a table's rules lead packets, of all packets at once: to which addresses and ports of whom a translation, a
//! refusal or a mark belongs. What a rule asks beside may hold or not: of two ways that end apart both are told, whichever
//! a packet takes.
pub(crate) mod field;
mod ipset;
mod packets;
mod rule;
mod set;
mod state;
#[cfg(test)]
mod tests;
mod xt;

use std::collections::{HashMap, HashSet};

use netdiag_model::world::ruleset::{Chain, Ipset, NatKind, Rule, Table};

pub use self::packets::Packets;
use self::rule::{Came, Sets};

/// Chains within chains (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

/// What becomes of packets at the end of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    Translates(Nat),
    /// These bits of their mark are set.
    Marks(u32),
    Drops,
    Rejects,
    /// No rule behind it in this table's chain, or in any of the hook's, is asked.
    Accepts,
    Returns,
}

/// To what a connection is translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    pub kind: NatKind,
    pub address: Option<std::net::IpAddr>,
    pub port: Option<u16>,
}

/// What is known beside a table.
#[derive(Clone, Copy, Default)]
pub struct Beside<'r> {
    pub ipsets: &'r [Ipset],
    /// Named sets of addresses have those of the node itself: whoever is asked for such an address is anybody.
    pub own_addresses: bool,
}

/// One rule of a way.
#[derive(Clone, Copy, Debug)]
pub struct Step<'r> {
    pub chain: &'r Chain,
    pub rule: &'r Rule,
    /// Of the element by which it goes on.
    pub comment: Option<&'r str>,
}

/// From a base chain to a rule that does something.
pub struct Way<'w, 'r> {
    /// As they came to the chain of the rule at its end.
    pub before: Packets,
    pub packets: Packets,
    pub does: Does,
    pub through: &'w [Step<'r>],
}

impl<'r> Way<'_, 'r> {
    /// The rule at its end.
    pub fn last(&self) -> Option<Step<'r>> {
        self.through.last().copied()
    }
}

/// Hands over each way from a base chain on; false where there are more than so many steps, which are counted down.
pub fn leads<'r>(
    table: &'r Table,
    beside: Beside<'r>,
    base: &'r Chain,
    left: &mut usize,
    each: &mut dyn FnMut(&Way<'_, 'r>),
) -> bool {
    let sets = table.sets.iter().map(|one| (one.name.as_str(), one));
    let sets = Sets {
        own: sets.collect(),
        beside,
    };
    let mut walk = Walk {
        sets,
        chains: table
            .chains
            .iter()
            .map(|one| (one.name.as_str(), one))
            .collect(),
        met: HashSet::new(),
        through: Vec::new(),
        left,
        each,
    };
    let family = Packets::of_family(table.family);
    walk.follow(base, family).is_some()
}

struct Walk<'w, 'r> {
    sets: Sets<'r>,
    chains: HashMap<&'r str, &'r Chain>,
    /// Chains that such packets came to before: what is behind was told.
    met: HashSet<(&'r str, Packets)>,
    through: Vec<Step<'r>>,
    left: &'w mut usize,
    each: &'w mut dyn FnMut(&Way<'_, 'r>),
}

impl<'r> Walk<'_, 'r> {
    /// Nothing where it is too much.
    fn follow(&mut self, chain: &'r Chain, before: Packets) -> Option<()> {
        if !self.met.insert((chain.name.as_str(), before)) {
            return Some(());
        }
        for rule in &chain.rules {
            let mut came = rule::came(&self.sets, rule, before, self.left)?;
            *self.left = self.left.checked_sub(1 + came.len())?;
            for Came {
                packets,
                does,
                comment,
            } in came.drain(..)
            {
                self.through.push(Step {
                    chain,
                    rule,
                    comment,
                });
                let done = self.end((before, packets), does);
                self.through.pop();
                done?;
            }
        }
        Some(())
    }

    fn end(&mut self, (before, packets): (Packets, Packets), does: rule::End<'r>) -> Option<()> {
        let does = match does {
            rule::End::Goes(to) => {
                return match self.chains.get(to) {
                    Some(chain) if self.through.len() < DEPTH => self.follow(chain, packets),
                    _ => Some(()),
                };
            }
            rule::End::Does(does) => does,
        };
        (self.each)(&Way {
            before,
            packets,
            does,
            through: &self.through,
        });
        Some(())
    }
}
