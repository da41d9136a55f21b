//! One rule: each expression in its turn, as long as all hold.
use netdiag_model::{
    netfilter::Family,
    world::ruleset::{Compare, Data, Expression, Load, Meta, Nat, Reg, Reject, Rule, Verdict},
};

use crate::{
    Asked, Byte, Index, Loaded, Packet, Stored, Three, Translates,
    chain::Wrong,
    chance::Way,
    index::Elements,
    lookup::{self, Found},
    registers::Registers,
    xt::{self, Aims, Info},
};

/// What a rule came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came<'r> {
    /// It ended before its verdict, or has none.
    Nothing,
    Verdict(&'r Verdict),
    Rejects(Reject),
    Nat(Translates),
    /// The kernel chooses one of so many ways, each so many times of 65536.
    Chooses(Vec<u32>),
    /// It takes the packet or does not, which nobody has decided.
    Either,
    /// Nobody can tell what it does.
    Maybe,
}

/// A counter that was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub sure: bool,
}

/// Ways of what nobody can tell: it holds, or does not.
const EITHER: usize = 2;
const HOLDS: usize = 0;

pub(crate) struct Rules<'i, 'r> {
    pub index: &'i Index<'r>,
    pub wrong: Option<Wrong>,
}

impl<'i, 'r> Rules<'i, 'r> {
    /// Whether its counter moved, too, as far as that is known.
    pub fn asked(
        &self,
        rule: &'r Rule,
        registers: &mut Registers,
        packet: &mut impl Packet,
    ) -> (Came<'r>, Option<Counted>) {
        let mut counted = None;
        // Whether it comes so far is not certain: what does not hold ends it all the same.
        let mut maybe = false;
        let mut load = None;
        for (at, expression) in rule.expressions.iter().enumerate() {
            let rest = &rule.expressions[at + 1..];
            if !maybe && let Some(ways) = self.ways((expression, rest), registers, packet) {
                if self.ends_anyway((expression, rest), registers, packet) {
                    return (Came::Nothing, counted);
                }
                let way = chosen((expression, &ways), registers, packet);
                if let Some(held) = way {
                    self.tells((expression, load), held == Three::Yes, packet);
                }
                match way {
                    Some(Three::Yes) => continue,
                    Some(_) => return (Came::Nothing, counted),
                    None => {
                        let shares = ways.into_iter().map(|(_, share)| share);
                        return (Came::Chooses(shares.collect()), counted);
                    }
                }
            }
            if maybe && self.does_known(expression) {
                match packet.choice(EITHER) {
                    Some(HOLDS) => maybe = false,
                    Some(_) => return (Came::Nothing, counted),
                    None => return (Came::Either, counted),
                }
            }
            let holds = match expression {
                Expression::Counter { .. } => {
                    counted = Some(Counted { sure: !maybe });
                    Three::Yes
                }
                Expression::Sets(Data::Verdict(Verdict::Continue), _) => Three::Yes,
                Expression::Sets(Data::Verdict(Verdict::Break), _) => Three::No,
                other if maybe && has_effect(other) => return (Came::Maybe, counted),
                Expression::Sets(Data::Verdict(verdict), _) => {
                    return (Came::Verdict(verdict), counted);
                }
                Expression::Reject(reject) => return (Came::Rejects(*reject), counted),
                Expression::Xtables {
                    target: true, name, ..
                } if xt::only_tells(name) => Three::Yes,
                Expression::Xtables {
                    target: true,
                    name,
                    revision,
                    info,
                } => {
                    let ipv6 = match is_of(IPV6, packet) {
                        Three::Maybe => return (Came::Maybe, counted),
                        is => is == Three::Yes,
                    };
                    match xt::aims((name, *revision), Info(info), ipv6, packet) {
                        Aims::Continues => Three::Yes,
                        Aims::Rejects(reject) => return (Came::Rejects(reject), counted),
                        Aims::Nat(nat) => return (Came::Nat(nat), counted),
                        Aims::Unknown => return (Came::Maybe, counted),
                    }
                }
                Expression::Nat(nat) => match is_for(nat, packet) {
                    Three::Yes => return (Came::Nat(translates(nat, registers)), counted),
                    Three::No => Three::Yes,
                    Three::Maybe => return (Came::Maybe, counted),
                },
                Expression::Lookup { to: None, .. } => match self.leads(expression, registers) {
                    Ok(Some(verdict)) => {
                        self.tells((expression, load), true, packet);
                        return (Came::Verdict(verdict), counted);
                    }
                    Ok(None) => Three::Yes,
                    Err(Three::Maybe) if self.is_map(expression) => {
                        return (Came::Maybe, counted);
                    }
                    Err(holds) => holds,
                },
                other => self.holds(other, registers, packet),
            };
            if holds != Three::Maybe {
                self.tells((expression, load), holds == Three::Yes, packet);
            }
            if let Expression::Load(what, _) = expression {
                load = Some(what);
            }
            match holds {
                Three::Yes => {}
                Three::No => return (Came::Nothing, counted),
                Three::Maybe if has_effect(expression) => return (Came::Maybe, counted),
                Three::Maybe => maybe = true,
            }
        }
        (Came::Nothing, counted)
    }

    /// Whether it does something that can be told, if the packet comes so far.
    fn does_known(&self, expression: &'r Expression) -> bool {
        match expression {
            Expression::Sets(Data::Verdict(Verdict::Continue | Verdict::Break), _) => false,
            Expression::Opaque(_) | Expression::Tproxy(_) => false,
            Expression::Lookup { to: None, .. } => self.is_map(expression),
            other => has_effect(other),
        }
    }

    fn tells(
        &self,
        (expression, load): (&Expression, Option<&Load>),
        held: bool,
        packet: &impl Packet,
    ) {
        let set = match expression {
            Expression::Lookup { set, .. } => self.index.set(set).map(|elements| elements.set),
            _ => None,
        };
        packet.asked(&Asked {
            expression,
            load,
            set,
            held,
        });
    }

    /// It leads to verdicts.
    pub fn is_map(&self, lookup: &Expression) -> bool {
        let Expression::Lookup { set, .. } = lookup else {
            return false;
        };
        self.index.set(set).is_none_or(|elements| elements.set.map)
    }

    /// A set says yes or no, a map where to go.
    fn leads(
        &self,
        lookup: &'r Expression,
        registers: &Registers,
    ) -> Result<Option<&'r Verdict>, Three> {
        let element = self.found(lookup, registers)?;
        match element.and_then(|element| element.data.as_ref()) {
            Some(Data::Verdict(Verdict::Continue)) | None => Ok(None),
            Some(Data::Verdict(Verdict::Break)) => Err(Three::No),
            Some(Data::Verdict(verdict)) => Ok(Some(verdict)),
            // An object that is only looked at.
            Some(Data::Value(_)) => Ok(None),
        }
    }

    /// The element that it is in, none where it is wanted to be in none.
    pub fn found(
        &self,
        lookup: &'r Expression,
        registers: &Registers,
    ) -> Result<Option<&'r netdiag_model::world::ruleset::Element>, Three> {
        let Expression::Lookup {
            set, reg, invert, ..
        } = lookup
        else {
            return Err(Three::Maybe);
        };
        let elements: &'i Elements<'r> = self.index.set(set).ok_or(Three::Maybe)?;
        let key = registers.get(*reg, lookup::length(elements.set));
        let found = lookup::find(elements, &key, self.wrong);
        let default = || match self.wrong {
            Some(Wrong::NoDefaults) => None,
            _ => elements.others,
        };
        let found = match (found, invert) {
            (Found::Maybe, _) => return Err(Three::Maybe),
            (Found::Yes(element), false) => Some(element),
            (Found::No, true) => None,
            (Found::No, false) | (Found::Yes(_), true) => Some(default().ok_or(Three::No)?),
        };
        match found {
            Some(element) if !element.expressions.iter().all(is_quiet) => Err(Three::Maybe),
            found => Ok(found),
        }
    }

    pub fn holds(
        &self,
        expression: &'r Expression,
        registers: &mut Registers,
        packet: &mut impl Packet,
    ) -> Three {
        match expression {
            Expression::Load(what, to) => match packet.load(what) {
                Loaded::Is(bytes) => registers.put(*to, &bytes),
                Loaded::None => return Three::No,
                Loaded::Unknown => {
                    registers.put(*to, &[Byte::UNKNOWN; 16]);
                    return Three::Maybe;
                }
            },
            Expression::Store(what, from) => {
                // The longest of them is an address.
                let bytes = registers.get(*from, 16);
                return done(packet.store(what, &bytes));
            }
            Expression::NoTrack => return done(packet.untrack()),
            Expression::Compare { how, reg, with } => {
                let own = registers.get(*reg, with.len());
                return compare(*how, &own, with);
            }
            Expression::Range {
                outside,
                reg,
                from,
                to,
            } => {
                let own = registers.get(*reg, from.len());
                let above = compare(Compare::GreaterOrEqual, &own, from);
                let below = compare(Compare::LessOrEqual, &own, to);
                return match (above, below) {
                    (Three::Maybe, _) | (_, Three::Maybe) => Three::Maybe,
                    (Three::Yes, Three::Yes) => Three::of(!outside),
                    _ => Three::of(*outside),
                };
            }
            Expression::Masks {
                from,
                to,
                mask,
                xor,
            } => registers.mask((*from, *to), mask, xor),
            Expression::Calculates {
                how,
                from,
                to,
                length,
            } => registers.calculate(*how, (*from, *to), usize::from(*length)),
            Expression::Orders(order) => registers.order(*order),
            Expression::Sets(Data::Value(bytes), to) => {
                let bytes: Vec<Byte> = bytes.iter().copied().map(Byte::known).collect();
                registers.put(*to, &bytes);
            }
            Expression::Lookup { to: Some(to), .. } => match self.found(expression, registers) {
                Err(holds) => {
                    registers.put(*to, &[Byte::UNKNOWN; 16]);
                    return holds;
                }
                Ok(Some(element)) => match &element.data {
                    Some(Data::Value(bytes)) => {
                        let bytes: Vec<Byte> = bytes.iter().copied().map(Byte::known).collect();
                        registers.put(*to, &bytes);
                    }
                    _ => return Three::Maybe,
                },
                Ok(None) => return Three::Maybe,
            },
            Expression::Xtables {
                target: false,
                name,
                revision,
                info,
            } => return xt::holds(name, *revision, Info(info), packet),
            Expression::Chooses { to, .. } => {
                registers.put(*to, &[Byte::UNKNOWN; 4]);
                return Three::Maybe;
            }
            Expression::Nothing(_) | Expression::Counter { .. } => {}
            _ => {
                // Nobody knows what it writes.
                *registers = Registers::default();
                return Three::Maybe;
            }
        }
        Three::Yes
    }
}

/// Takes the way that was chosen, if one was.
fn chosen(
    (expression, ways): (&Expression, &[Way]),
    registers: &mut Registers,
    packet: &mut impl Packet,
) -> Option<Three> {
    let (number, _) = match ways {
        [one] => one,
        several => several.get(packet.choice(several.len())?)?,
    };
    Some(match expression {
        Expression::Chooses { to, .. } => {
            registers.word(*to, *number);
            Three::Yes
        }
        _ => Three::of(*number == 1),
    })
}

/// NFPROTO_IPV4, NFPROTO_IPV6.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// Whether it is for packets of that family (`nft_nat_inet_eval`).
fn is_for(nat: &Nat, packet: &impl Packet) -> Three {
    match nat.family {
        Family::Ip => is_of(IPV4, packet),
        Family::Ip6 => is_of(IPV6, packet),
        _ => Three::Yes,
    }
}

fn is_of(family: u8, packet: &impl Packet) -> Three {
    match packet.load(&Load::Meta(Meta::Family)) {
        Loaded::Is(bytes) => compare(Compare::Equal, &bytes, &[family]),
        Loaded::None => Three::No,
        Loaded::Unknown => Three::Maybe,
    }
}

fn translates(nat: &Nat, registers: &Registers) -> Translates {
    /// Of the longest address, and of a port.
    const ADDRESS: usize = 16;
    const PORT: usize = 2;
    let pair = |(least, most): (Reg, Reg), length| {
        (registers.get(least, length), registers.get(most, length))
    };
    Translates {
        kind: nat.kind,
        addresses: nat.addresses.map(|both| pair(both, ADDRESS)),
        ports: nat.ports.map(|both| pair(both, PORT)),
        flags: nat.flags,
    }
}

fn done(stored: Stored) -> Three {
    match stored {
        Stored::Done => Three::Yes,
        Stored::Unknown => Three::Maybe,
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
pub(crate) fn has_effect(expression: &Expression) -> bool {
    /// Matches that nobody can tell the answer of.
    const ASKS: [&str; 9] = [
        "limit",
        "quota",
        "connlimit",
        "osf",
        "socket",
        "exthdr",
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
        | Expression::Tproxy(_)
        | Expression::Sets(Data::Verdict(_), _) => true,
        Expression::Xtables { target, name, .. } => *target && !xt::only_tells(name),
        _ => false,
    }
}

/// Byte by byte, as far as they are known (`nft_cmp_eval`).
fn compare(how: Compare, own: &[Byte], with: &[u8]) -> Three {
    if matches!(how, Compare::Equal | Compare::Unequal) {
        let mut pairs = own.iter().zip(with);
        let differs = pairs.any(|(own, with)| own.differs(*with));
        let known = own.iter().all(|own| own.get().is_some());
        return match (differs, known) {
            (false, false) => Three::Maybe,
            (differs, _) => Three::of(differs == (how == Compare::Unequal)),
        };
    }
    let mut order = std::cmp::Ordering::Equal;
    for (own, with) in own.iter().zip(with) {
        let Some(own) = own.get() else {
            return Three::Maybe;
        };
        order = own.cmp(with);
        if order.is_ne() {
            break;
        }
    }
    Three::of(match how {
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}
