//! Netfilter's rules, run as the kernel runs them (net/netfilter/nf_tables_core.c), on registers whose bytes are known
//! or not: what a rule says of a packet is yes, no, or that nobody can tell.
mod asks;
mod chain;
mod chance;
mod index;
pub mod leads;
mod lookup;
mod registers;
mod rule;
#[cfg(test)]
mod tests;
mod three;
mod xt;

pub use asks::asks;
pub use chain::{Ran, Said, Wrong, run};
pub use index::Index;
pub use registers::Byte;
use three::Three;

use netdiag_model::world::ruleset::{Expression, Ipset, Load, NatKind, Set, Store};

/// A packet at a hook, as rules ask for it and change it.
pub trait Packet {
    fn load(&self, what: &Load) -> Loaded;
    fn store(&mut self, what: &Store, bytes: &[Byte]) -> Stored;
    /// It is not to be tracked.
    fn untrack(&mut self) -> Stored;
    /// Which of so many ways the kernel chooses here, where that was decided: with nothing the chain ends there. Of what
    /// nobody can tell there are two, the first of which is that it holds.
    fn choice(&mut self, ways: usize) -> Option<usize>;
    /// What a look-up of routes of IPv6 says of its source or its destination (`XT_ADDRTYPE_…`), where that is known.
    fn routed(&self, _destination: bool) -> Option<u16> {
        None
    }
    /// Whether the way to its source leads by where it came in, before it is routed, as `XT_RPFILTER_…` want it.
    fn comes_back(&self, _flags: u8) -> Option<bool> {
        None
    }
    /// Sets of ipset(8), where they were read.
    fn ipsets(&self) -> &[Ipset] {
        &[]
    }
    /// What one of a rule's expressions came to, for who wants to count that.
    fn asked(&self, _: &Asked<'_>) {}
}

/// An expression that holds or does not.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    pub expression: &'r Expression,
    /// What was loaded last.
    pub load: Option<&'r Load>,
    pub set: Option<&'r Set>,
    pub held: bool,
}

/// What is put into a register, as long as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    Is(Vec<Byte>),
    /// It has none: the rule ends.
    None,
    /// Nobody can tell whether it has.
    Unknown,
}

impl Loaded {
    pub fn word(word: u32) -> Self {
        Self::known(&word.to_ne_bytes())
    }

    pub fn known(bytes: &[u8]) -> Self {
        Self::Is(bytes.iter().copied().map(Byte::known).collect())
    }
}

/// What a connection's first packet is to become (`nft_nat_eval`): the least and the greatest of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translates {
    pub kind: NatKind,
    pub addresses: Option<(Vec<Byte>, Vec<Byte>)>,
    pub ports: Option<(Vec<Byte>, Vec<Byte>)>,
    /// `NF_NAT_RANGE_…`
    pub flags: u32,
}

/// Whether it could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Done,
    /// What it would change is not modelled.
    Unknown,
}
