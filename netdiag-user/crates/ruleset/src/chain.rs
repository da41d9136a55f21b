//! A base chain, and those that its rules lead to (`nft_do_chain`).
use netdiag_model::world::ruleset::{Reject, Rule, Verdict};

use crate::{
    Index, Packet, Translates,
    index::Indexed,
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
    /// Those that sent it back out of their chain, in that order.
    pub left: Vec<&'r Rule>,
    /// Whose counters moved, in that order.
    pub counted: Vec<&'r Rule>,
    /// Whose may have.
    pub perhaps: Vec<&'r Rule>,
}

struct Place<'i, 'r> {
    chain: &'i Indexed<'r>,
    next: usize,
}

/// Asks a base chain of a table about a packet.
pub fn run<'r>(
    index: &Index<'r>,
    chain: &str,
    packet: &mut impl Packet,
    wrong: Option<Wrong>,
) -> Ran<'r> {
    let mut ran = Ran {
        said: Said::TooLong,
        by: None,
        left: Vec::new(),
        counted: Vec::new(),
        perhaps: Vec::new(),
    };
    let Some(asked) = index.chain(chain) else {
        return ran;
    };
    let rules = Rules { index, wrong };
    let mut registers = Registers::default();
    let mut places = vec![Place {
        chain: asked,
        next: 0,
    }];
    for _ in 0..MOST {
        let Some(place) = places.last_mut() else {
            let accepts = asked.chain.base.as_ref().is_some_and(|base| base.accepts);
            ran.said = if accepts { Said::Accepts } else { Said::Drops };
            return ran;
        };
        let at = place.chain.next(place.next, packet);
        let Some(rule) = place.chain.chain.rules.get(at) else {
            places.pop();
            continue;
        };
        place.next = at + 1;
        let (came, counted) = rules.asked(rule, &mut registers, packet);
        match counted {
            Some(Counted { sure: true }) => ran.counted.push(rule),
            Some(Counted { sure: false }) => ran.perhaps.push(rule),
            None => {}
        }
        let said = match came {
            Came::Nothing => continue,
            Came::Verdict(Verdict::Return) => {
                ran.left.push(rule);
                places.pop();
                continue;
            }
            Came::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                let goes = matches!(came, Came::Verdict(Verdict::Goto(_)));
                if goes && wrong != Some(Wrong::GotoReturns) {
                    places.pop();
                }
                match index.chain(to) {
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
    ran
}
