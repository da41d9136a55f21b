//! One rule, asked about packets of which only some things are said.
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netdiag_model::{
    netfilter::Family,
    world::ruleset::{
        Compare, Data, Element, Expression, Load, Meta, Nat as Translates, NatKind, Reg, Rule, Set,
        Store, Verdict,
    },
};

use super::{
    Beside, Does, Nat,
    field::{Field, field},
    ipset,
    packets::Packets,
    set::ranges,
    state::{Has, State, asks, word},
    xt,
};

/// Elements of a set that are told apart, and of a map.
pub const MOST: usize = 256;
const MOST_OF_MAP: usize = 1 << 17;

/// Whatever rules of a table look into.
pub struct Sets<'r> {
    /// Its own, by their names.
    pub own: HashMap<&'r str, &'r Set>,
    pub beside: Beside<'r>,
}

/// Packets that a rule holds for, and what becomes of them.
pub struct Came<'r> {
    pub packets: Packets,
    pub does: End<'r>,
    pub comment: Option<&'r str>,
}

pub enum End<'r> {
    Goes(&'r str),
    Does(Does),
}

/// All that may come of it; nothing where that takes more steps than are left, which are counted down.
pub fn came<'r>(
    sets: &Sets<'r>,
    rule: &'r Rule,
    packets: Packets,
    left: &mut usize,
) -> Option<Vec<Came<'r>>> {
    let mut asked = Asked {
        sets,
        came: Vec::new(),
        left,
    };
    let begun = State {
        packets,
        registers: Vec::new(),
        comment: None,
    };
    let mut states = vec![begun];
    for expression in &rule.expressions {
        let mut next = Vec::with_capacity(states.len());
        for state in states {
            let before = next.len();
            asked.one(expression, state, &mut next);
            asked.takes(1 + next.len() - before);
            if *asked.left == 0 {
                return None;
            }
        }
        states = next;
        if states.is_empty() {
            break;
        }
    }
    Some(asked.came)
}

struct Asked<'s, 'r> {
    sets: &'s Sets<'r>,
    came: Vec<Came<'r>>,
    /// Steps: whoever has a namespace of his own may write rules of which each has very many, by the elements of sets.
    left: &'s mut usize,
}

impl<'r> Asked<'_, 'r> {
    fn takes(&mut self, steps: usize) {
        *self.left = self.left.saturating_sub(steps);
    }

    fn one(&mut self, expression: &'r Expression, mut state: State<'r>, next: &mut Vec<State<'r>>) {
        match expression {
            Expression::Load(load, to) => state.put(*to, Has::Loaded(load, None)),
            Expression::Masks {
                from,
                to,
                mask,
                xor,
            } => {
                let has = match state.get(*from) {
                    Has::Loaded(load, None) => Has::Loaded(load, Some((mask, xor))),
                    _ => Has::Unknown,
                };
                state.put(*to, has);
            }
            Expression::Sets(Data::Value(bytes), to) => state.put(*to, Has::Is(bytes)),
            Expression::Sets(Data::Verdict(verdict), _) => {
                return self.verdict(verdict, state, next);
            }
            Expression::Chooses { to, .. } => state.put(*to, Has::Chosen),
            Expression::Orders(order) => {
                let has = state.get(order.from);
                state.put(order.to, has);
            }
            Expression::Calculates { to, .. } => state.put(*to, Has::Unknown),
            Expression::Compare { how, reg, with } => {
                let (least, most) = (vec![0; with.len()], vec![0xff; with.len()]);
                let range = match how {
                    Compare::Equal => Some((with.as_slice(), with.as_slice())),
                    Compare::Unequal => None,
                    Compare::Less | Compare::LessOrEqual => {
                        Some((least.as_slice(), with.as_slice()))
                    }
                    Compare::Greater | Compare::GreaterOrEqual => {
                        Some((with.as_slice(), most.as_slice()))
                    }
                };
                return next.extend(asks(state, *reg, range));
            }
            Expression::Range {
                outside,
                reg,
                from,
                to,
            } => {
                let range = (!outside).then_some((from.as_slice(), to.as_slice()));
                return next.extend(asks(state, *reg, range));
            }
            Expression::Lookup {
                set,
                reg,
                to,
                invert,
            } => {
                return self.lookup((set, *invert), (*reg, *to), state, next);
            }
            Expression::Store(Store::Meta(Meta::Mark), from) => {
                let bits = match state.get(*from) {
                    Has::Is(bytes) => word(bytes),
                    Has::Loaded(Load::Meta(Meta::Mark), Some((_, xor))) => word(xor),
                    _ => None,
                };
                self.does(Does::Marks(bits.unwrap_or(0)), &state);
            }
            Expression::Store(..)
            | Expression::Counter { .. }
            | Expression::Nothing(_)
            | Expression::NoTrack => {}
            Expression::Reject(_) => return self.does(Does::Rejects, &state),
            Expression::Nat(nat) => return self.nat(nat, &state),
            Expression::Xtables {
                target: true,
                name,
                revision,
                info,
            } => {
                return match xt::does((name, *revision), info, state.packets.ipv6 == Some(true)) {
                    Some(Does::Marks(bits)) => {
                        self.does(Does::Marks(bits), &state);
                        next.push(state);
                    }
                    Some(does) => self.does(does, &state),
                    None => next.push(state),
                };
            }
            Expression::Xtables {
                target: false,
                name,
                revision,
                info,
            } => {
                let all = match name.as_str() {
                    "set" => {
                        let info = (info.as_slice(), *revision);
                        ipset::holds(info, self.sets.beside.ipsets, state.packets, self.left)
                    }
                    _ => xt::holds((name, *revision), info, state.packets),
                };
                return next.extend(all.into_iter().map(|packets| State {
                    packets,
                    ..state.clone()
                }));
            }
            Expression::Tproxy(port) => {
                let port = port.and_then(|reg| state.bytes(reg)?.first_chunk());
                return self.does(
                    to_own_port(port.map(|port| u16::from_be_bytes(*port))),
                    &state,
                );
            }
            // Whatever it may have written where.
            Expression::Opaque(_) => state.registers.clear(),
        }
        next.push(state);
    }

    fn does(&mut self, does: Does, state: &State<'r>) {
        self.came.push(Came {
            packets: state.packets,
            does: End::Does(does),
            comment: state.comment,
        });
    }

    fn verdict(&mut self, verdict: &'r Verdict, state: State<'r>, next: &mut Vec<State<'r>>) {
        let does = match verdict {
            Verdict::Accept => End::Does(Does::Accepts),
            Verdict::Drop => End::Does(Does::Drops),
            Verdict::Return => End::Does(Does::Returns),
            Verdict::Jump(to) | Verdict::Goto(to) => End::Goes(to),
            Verdict::Queue | Verdict::Break => return,
            Verdict::Continue => return next.push(state),
        };
        self.came.push(Came {
            packets: state.packets,
            does,
            comment: state.comment,
        });
    }

    fn nat(&mut self, nat: &Translates, state: &State<'r>) {
        let ipv6 = match nat.family {
            Family::Ip6 => true,
            Family::Ip => false,
            _ => state.packets.ipv6 == Some(true),
        };
        let bytes = |reg: Option<(Reg, Reg)>| state.bytes(reg?.0);
        let packets = match nat.family {
            Family::Ip | Family::Ip6 => state.packets.of(ipv6),
            _ => Some(state.packets),
        };
        let address = bytes(nat.addresses).and_then(|bytes| address(bytes, ipv6));
        let port = bytes(nat.ports).and_then(|bytes| bytes.first_chunk());
        let does = Does::Translates(Nat {
            kind: nat.kind,
            address,
            port: port.map(|port| u16::from_be_bytes(*port)),
        });
        let known = nat.kind != NatKind::Destination || address.is_some();
        if let Some(packets) = packets.filter(|_| known) {
            self.came.push(Came {
                packets,
                does: End::Does(does),
                comment: state.comment,
            });
        }
    }

    fn lookup(
        &mut self,
        (name, invert): (&str, bool),
        (reg, to): (Reg, Option<Reg>),
        state: State<'r>,
        next: &mut Vec<State<'r>>,
    ) {
        let Some(set) = self.sets.own.get(name).copied().filter(|_| !invert) else {
            return next.extend(asks(state, reg, None));
        };
        if !set.map && (!self.is_told_apart(set, reg, &state) || set.elements.len() > MOST) {
            return next.push(vague(set, reg, state));
        }
        self.takes(set.elements.len());
        if *self.left == 0 {
            return;
        }
        let others = set.elements.iter().filter(|element| element.key.is_none());
        for element in others {
            let mut found = state.clone();
            found.comment = element.comment.as_deref().or(found.comment);
            self.element(element, to, found, next);
        }
        for (from, till, element) in ranges(set).into_iter().take(MOST_OF_MAP) {
            let Some(mut found) = key(set, reg, (&from, &till), state.clone()) else {
                continue;
            };
            found.comment = element.comment.as_deref().or(found.comment);
            self.element(element, to, found, next);
        }
    }

    /// Whether what is in a set says more of packets than that they are in it; what packets put into one does not.
    fn is_told_apart(&self, set: &Set, reg: Reg, state: &State<'_>) -> bool {
        state.parts(reg, set).iter().all(|(_, _, has)| match has {
            Has::Loaded(load, None) => match field(load, state.packets.ipv6) {
                Field::Port | Field::Protocol | Field::Family => true,
                Field::Destination => !set.dynamic && !self.sets.beside.own_addresses,
                _ => false,
            },
            _ => false,
        })
    }

    fn element(
        &mut self,
        element: &'r Element,
        to: Option<Reg>,
        mut found: State<'r>,
        next: &mut Vec<State<'r>>,
    ) {
        match (&element.data, to) {
            (Some(Data::Verdict(verdict)), _) => self.verdict(verdict, found, next),
            (Some(Data::Value(bytes)), Some(to)) => {
                found.put(to, Has::Is(bytes));
                next.push(found);
            }
            _ => next.push(found),
        }
    }
}

/// Of packets that are in a set whose elements are too many, or of sources, or of no interest.
fn vague<'r>(set: &Set, reg: Reg, mut state: State<'r>) -> State<'r> {
    let parts = state.parts(reg, set);
    let ipv6 = state.packets.ipv6;
    let of_source = |(_, _, has): &(usize, usize, Has<'_>)| match has {
        Has::Loaded(load, _) => matches!(field(load, ipv6), Field::Source),
        _ => false,
    };
    state.packets.some_sources |= parts.iter().any(of_source);
    state
}

/// Packets that have one key of a set.
fn key<'r>(
    set: &Set,
    reg: Reg,
    (from, till): (&[u8], &[u8]),
    mut state: State<'r>,
) -> Option<State<'r>> {
    for (at, length, _) in state.parts(reg, set) {
        let part = at..at + length;
        let range = from.get(part.clone()).zip(till.get(part));
        state = asks(state, Reg(reg.0.checked_add(at as u8)?), Some(range?))?;
    }
    Some(state)
}

/// As `redirect` does, though what it leads keeps its address (TPROXY).
pub fn to_own_port(port: Option<u16>) -> Does {
    Does::Translates(Nat {
        kind: NatKind::Redirect,
        address: None,
        port,
    })
}

fn address(bytes: &[u8], ipv6: bool) -> Option<IpAddr> {
    Some(match ipv6 {
        false => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        true => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
    })
}
