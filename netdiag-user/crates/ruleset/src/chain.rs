//! A base chain, and those that its rules lead to (`nft_do_chain`).
use netdiag_model::world::ruleset::{Chain, Reject, Rule, Table, Verdict};

use crate::{
    Packet, Translates,
    registers::Registers,
    rule::{Came, Counted, Rules},
};

/// Rules of one way: a recording may have chains that lead in circles, and whoever has a namespace of his own any that
/// lead to each other again and again.
const MOST: usize = 1 << 16;
/// `NFT_JUMP_STACK_SIZE`.
const DEPTH: usize = 16;

/// Deliberate mistakes, each of which the oracle must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// `goto` comes back like `jump`.
    GotoReturns,
    /// A range has the value at which the next gap begins.
    EndsIncluded,
    /// Parts of a concatenation are not filled up to words.
    Unpadded,
    /// A map's element for all others is none.
    NoDefaults,
}

/// What a base chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The next chain of the hook is asked.
    Accepts,
    Drops,
    Rejects(Reject),
    Queues,
    /// Its connection is translated so.
    Nat(Translates),
    /// The kernel chooses one of so many ways, each so many times of 65536, and nobody has said which.
    Chooses(Vec<u32>),
    /// The rule takes the packet or does not, and nobody has said which.
    Either,
    /// Nobody can tell what the rule does.
    Maybe,
    /// It leads further than is followed, or to a chain that is not there.
    TooLong,
}

/// A chain's word, and who spoke it: a rule, or the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran<'r> {
    pub said: Said,
    pub by: Option<&'r Rule>,
    /// Whose counters moved, in that order.
    pub counted: Vec<&'r Rule>,
    /// Whose may have.
    pub perhaps: Vec<&'r Rule>,
}

struct Place<'r> {
    chain: &'r Chain,
    next: usize,
}

/// Asks a base chain of that table about a packet.
pub fn run<'r>(
    table: &'r Table,
    chain: &'r Chain,
    packet: &mut impl Packet,
    wrong: Option<Wrong>,
) -> Ran<'r> {
    let mut ran = Ran {
        said: Said::Drops,
        by: None,
        counted: Vec::new(),
        perhaps: Vec::new(),
    };
    let rules = Rules { table, wrong };
    let mut registers = Registers::default();
    let mut places = vec![Place { chain, next: 0 }];
    for _ in 0..MOST {
        let Some(place) = places.last_mut() else {
            if chain.base.as_ref().is_some_and(|base| base.accepts) {
                ran.said = Said::Accepts;
            }
            return ran;
        };
        let Some(rule) = place.chain.rules.get(place.next) else {
            places.pop();
            continue;
        };
        place.next += 1;
        let (came, counted) = rules.asked(rule, &mut registers, packet);
        match counted {
            Some(Counted { sure: true }) => ran.counted.push(rule),
            Some(Counted { sure: false }) => ran.perhaps.push(rule),
            None => {}
        }
        let said = match came {
            Came::Nothing => continue,
            Came::Verdict(Verdict::Return) => {
                places.pop();
                continue;
            }
            Came::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                let goes = matches!(came, Came::Verdict(Verdict::Goto(_)));
                if goes && wrong != Some(Wrong::GotoReturns) {
                    places.pop();
                }
                match table.chain(to) {
                    Some(chain) if places.len() <= DEPTH => {
                        places.push(Place { chain, next: 0 });
                        continue;
                    }
                    _ => Said::TooLong,
                }
            }
            Came::Verdict(Verdict::Accept) => Said::Accepts,
            Came::Verdict(Verdict::Queue) => Said::Queues,
            Came::Verdict(_) => Said::Drops,
            Came::Rejects(reject) => Said::Rejects(reject),
            Came::Nat(nat) => Said::Nat(nat),
            Came::Chooses(shares) => Said::Chooses(shares),
            Came::Either => Said::Either,
            Came::Maybe => Said::Maybe,
        };
        ran.said = said;
        ran.by = Some(rule);
        return ran;
    }
    ran.said = Said::TooLong;
    ran
}
