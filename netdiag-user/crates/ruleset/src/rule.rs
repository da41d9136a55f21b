//! One rule: each expression in its turn, as long as all hold.
use netdiag_model::world::ruleset::{Compare, Data, Expression, Nat, Reject, Rule, Table, Verdict};

use crate::{
    Byte, Loaded, Packet, Stored,
    chain::Wrong,
    lookup::{self, Found},
    registers::Registers,
};

/// What a rule came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came<'r> {
    /// It ended before its verdict, or has none.
    Nothing,
    Verdict(&'r Verdict),
    Rejects(Reject),
    Nat(Nat),
    /// Nobody can tell whether it takes the packet.
    Maybe,
}

pub(crate) struct Rules<'r> {
    pub table: &'r Table,
    pub wrong: Option<Wrong>,
}

/// Whether the rule goes on.
enum Holds {
    Yes,
    No,
    Maybe,
}

impl<'r> Rules<'r> {
    /// Whether its counter moved, too.
    pub fn asked(
        &self,
        rule: &'r Rule,
        registers: &mut Registers,
        packet: &mut impl Packet,
    ) -> (Came<'r>, bool) {
        let mut counted = false;
        // Whether it comes so far is not certain: what does not hold ends it all the same.
        let mut maybe = false;
        for expression in &rule.expressions {
            let holds = match expression {
                Expression::Counter { .. } => {
                    counted |= !maybe;
                    Holds::Yes
                }
                Expression::Sets(Data::Verdict(Verdict::Continue), _) => Holds::Yes,
                Expression::Sets(Data::Verdict(Verdict::Break), _) => Holds::No,
                other if maybe && has_effect(other) => return (Came::Maybe, counted),
                Expression::Sets(Data::Verdict(verdict), _) => {
                    return (Came::Verdict(verdict), counted);
                }
                Expression::Reject(reject) => return (Came::Rejects(*reject), counted),
                Expression::Nat(nat) => return (Came::Nat(*nat), counted),
                Expression::Lookup { to: None, .. } => match self.leads(expression, registers) {
                    Ok(Some(_)) if maybe => return (Came::Maybe, counted),
                    Ok(Some(verdict)) => return (Came::Verdict(verdict), counted),
                    Ok(None) => Holds::Yes,
                    Err(Holds::Maybe) if self.is_map(expression) => {
                        return (Came::Maybe, counted);
                    }
                    Err(holds) => holds,
                },
                other => self.holds(other, registers, packet),
            };
            match holds {
                Holds::Yes => {}
                Holds::No => return (Came::Nothing, counted),
                Holds::Maybe if has_effect(expression) => return (Came::Maybe, counted),
                Holds::Maybe => maybe = true,
            }
        }
        (Came::Nothing, counted)
    }

    /// It leads to verdicts.
    fn is_map(&self, lookup: &Expression) -> bool {
        let Expression::Lookup { set, .. } = lookup else {
            return false;
        };
        self.table.set(set).is_none_or(|set| set.map)
    }

    /// A set says yes or no, a map where to go.
    fn leads(
        &self,
        lookup: &'r Expression,
        registers: &Registers,
    ) -> Result<Option<&'r Verdict>, Holds> {
        let element = self.found(lookup, registers)?;
        match element.and_then(|element| element.data.as_ref()) {
            Some(Data::Verdict(Verdict::Continue)) | None => Ok(None),
            Some(Data::Verdict(Verdict::Break)) => Err(Holds::No),
            Some(Data::Verdict(verdict)) => Ok(Some(verdict)),
            // An object that is only looked at.
            Some(Data::Value(_)) => Ok(None),
        }
    }

    /// The element that it is in, none where it is wanted to be in none.
    fn found(
        &self,
        lookup: &'r Expression,
        registers: &Registers,
    ) -> Result<Option<&'r netdiag_model::world::ruleset::Element>, Holds> {
        let Expression::Lookup {
            set, reg, invert, ..
        } = lookup
        else {
            return Err(Holds::Maybe);
        };
        let set = self.table.set(set).ok_or(Holds::Maybe)?;
        let key = registers.get(*reg, lookup::length(set));
        let found = lookup::find(set, &key, self.wrong);
        let default = || match self.wrong {
            Some(Wrong::NoDefaults) => None,
            _ => lookup::others(set),
        };
        let found = match (found, invert) {
            (Found::Maybe, _) => return Err(Holds::Maybe),
            (Found::Yes(element), false) => Some(element),
            (Found::No, true) => None,
            (Found::No, false) | (Found::Yes(_), true) => Some(default().ok_or(Holds::No)?),
        };
        match found {
            Some(element) if !element.expressions.iter().all(is_quiet) => Err(Holds::Maybe),
            found => Ok(found),
        }
    }

    fn holds(
        &self,
        expression: &'r Expression,
        registers: &mut Registers,
        packet: &mut impl Packet,
    ) -> Holds {
        match expression {
            Expression::Load(what, to) => match packet.load(what) {
                Loaded::Is(bytes) => registers.put(*to, &bytes),
                Loaded::None => return Holds::No,
                Loaded::Unknown => {
                    registers.put(*to, &[Byte::UNKNOWN; 16]);
                    return Holds::Maybe;
                }
            },
            Expression::Store(what, from) => {
                // The longest of them is an address.
                let bytes = registers.get(*from, 16);
                return done(packet.store(what, &bytes));
            }
            Expression::NoTrack => return done(packet.untrack()),
            Expression::Compare { how, reg, with } => {
                let own = registers.get(*reg, with.0.len());
                return compare(*how, &own, &with.0);
            }
            Expression::Range {
                outside,
                reg,
                from,
                to,
            } => {
                let own = registers.get(*reg, from.0.len());
                let above = compare(Compare::GreaterOrEqual, &own, &from.0);
                let below = compare(Compare::LessOrEqual, &own, &to.0);
                return match (above, below) {
                    (Holds::Maybe, _) | (_, Holds::Maybe) => Holds::Maybe,
                    (Holds::Yes, Holds::Yes) => of(!outside),
                    _ => of(*outside),
                };
            }
            Expression::Masks {
                from,
                to,
                mask,
                xor,
            } => registers.mask((*from, *to), &mask.0, &xor.0),
            Expression::Calculates {
                how,
                from,
                to,
                length,
            } => registers.calculate(*how, (*from, *to), usize::from(*length)),
            Expression::Orders(order) => registers.order(*order),
            Expression::Sets(Data::Value(bytes), to) => {
                let bytes: Vec<Byte> = bytes.0.iter().copied().map(Byte::known).collect();
                registers.put(*to, &bytes);
            }
            Expression::Lookup { to: Some(to), .. } => match self.found(expression, registers) {
                Err(holds) => {
                    registers.put(*to, &[Byte::UNKNOWN; 16]);
                    return holds;
                }
                Ok(Some(element)) => match &element.data {
                    Some(Data::Value(bytes)) => {
                        let bytes: Vec<Byte> = bytes.0.iter().copied().map(Byte::known).collect();
                        registers.put(*to, &bytes);
                    }
                    _ => return Holds::Maybe,
                },
                Ok(None) => return Holds::Maybe,
            },
            Expression::Nothing(_) | Expression::Counter { .. } => {}
            _ => {
                // Nobody knows what it writes.
                *registers = Registers::default();
                return Holds::Maybe;
            }
        }
        Holds::Yes
    }
}

fn done(stored: Stored) -> Holds {
    match stored {
        Stored::Done => Holds::Yes,
        Stored::Unknown => Holds::Maybe,
    }
}

fn of(holds: bool) -> Holds {
    match holds {
        true => Holds::Yes,
        false => Holds::No,
    }
}

/// Changes nothing of the packet's way, and lets each rule go on.
fn is_quiet(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Counter { .. } | Expression::Nothing(_)
    )
}

/// Whether it does more than to let the rule go on or not.
fn has_effect(expression: &Expression) -> bool {
    /// Matches that nobody can tell the answer of.
    const ASKS: [&str; 11] = [
        "limit",
        "quota",
        "connlimit",
        "osf",
        "socket",
        "exthdr",
        "numgen",
        "hash",
        "xfrm",
        "tunnel",
        "inner",
    ];
    match expression {
        Expression::Opaque(name) => !ASKS.contains(&name.as_str()),
        Expression::Store(..)
        | Expression::Reject(_)
        | Expression::Nat(_)
        | Expression::NoTrack
        | Expression::Sets(Data::Verdict(_), _)
        | Expression::Xtables { target: true, .. } => true,
        _ => false,
    }
}

/// Byte by byte, as far as they are known (`nft_cmp_eval`).
fn compare(how: Compare, own: &[Byte], with: &[u8]) -> Holds {
    if matches!(how, Compare::Equal | Compare::Unequal) {
        let mut pairs = own.iter().zip(with);
        let differs = pairs.any(|(own, with)| own.differs(*with));
        let known = own.iter().all(|own| own.get().is_some());
        return match (differs, known) {
            (false, false) => Holds::Maybe,
            (differs, _) => of(differs == (how == Compare::Unequal)),
        };
    }
    let mut order = std::cmp::Ordering::Equal;
    for (own, with) in own.iter().zip(with) {
        let Some(own) = own.get() else {
            return Holds::Maybe;
        };
        order = own.cmp(with);
        if order.is_ne() {
            break;
        }
    }
    of(match how {
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}
