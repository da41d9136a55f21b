//! One expression after the other.
use super::attributes::{name, number, u64_of};
use crate::{
    gather::netlink::{attribute, attributes, u32_at},
    model::{
        netfilter::Family,
        world::ruleset::{
            Arithmetic, Base, Bytes, Compare, Ct, Data, Expression, Fib, Load, Meta, Nat, NatKind,
            Order, Reg, Reject, Route, Store, Verdict,
        },
    },
};

const NAME: u16 = 1;
const DATA: u16 = 2;

/// But for comments, which are long and say nothing of a packet.
pub fn all(of: &[u8]) -> Vec<Expression> {
    let all = attributes(of).map(|(_, one)| self::one(one));
    let mut all: Vec<Expression> = all.filter(|one| !is_comment(one)).collect();
    all.shrink_to_fit();
    all
}

/// (net/netfilter/xt_comment.c)
pub fn is_comment(expression: &Expression) -> bool {
    matches!(expression, Expression::Xtables { target: false, name, .. } if name == "comment")
}

/// What iptables' rules say of themselves.
pub fn comment(of: &[u8]) -> Option<Box<str>> {
    let all = attributes(of).map(|(_, one)| self::one(one));
    all.filter(is_comment).find_map(|one| match one {
        Expression::Xtables { info, .. } => super::attributes::text(&info),
        _ => None,
    })
}

/// What cannot be made out is opaque, by its name.
pub fn one(of: &[u8]) -> Expression {
    let kind = attribute(of, NAME).and_then(name).unwrap_or_default();
    let data = attribute(of, DATA).unwrap_or_default();
    known(&kind, data).unwrap_or(Expression::Opaque(kind))
}

fn known(kind: &str, of: &[u8]) -> Option<Expression> {
    match kind {
        "payload" => payload(of),
        "meta" => meta(of),
        "ct" => ct(of),
        "cmp" => Some(Expression::Compare {
            how: compare(number(of, 2)?)?,
            reg: reg(of, 1)?,
            with: Bytes::from(value(attribute(of, 3)?)?),
        }),
        "range" => Some(Expression::Range {
            outside: number(of, 2)? == 1,
            reg: reg(of, 1)?,
            from: Bytes::from(value(attribute(of, 3)?)?),
            to: Bytes::from(value(attribute(of, 4)?)?),
        }),
        "bitwise" => bitwise(of),
        "byteorder" => Some(Expression::Orders(Order {
            from: reg(of, 1)?,
            to: reg(of, 2)?,
            length: length(of, 4)?,
            size: length(of, 5)?,
        })),
        "immediate" => immediate(of),
        "lookup" => Some(Expression::Lookup {
            set: name(attribute(of, 1)?)?,
            reg: reg(of, 2)?,
            // Into the verdict where it is none of the data's.
            to: reg(of, 3),
            invert: number(of, 5).unwrap_or(0) & 1 != 0,
        }),
        "counter" => Some(Expression::Counter {
            packets: u64_of(attribute(of, 2)?)?,
        }),
        "numgen" => chooses(of, (1, 2, 4)),
        "hash" => chooses(of, (2, 4, 6)),
        "reject" => reject(of),
        "nat" | "masq" | "redir" => nat(kind, of),
        "notrack" => Some(Expression::NoTrack),
        "tproxy" => Some(Expression::Tproxy(reg(of, 3))),
        "fib" => {
            let fib = Fib {
                result: number(of, 2)?,
                flags: number(of, 3)?,
            };
            Some(Expression::Load(Load::Fib(fib), reg(of, 1)?))
        }
        "rt" => {
            let route = match number(of, 2)? {
                1 => Route::NextHop4,
                2 => Route::NextHop6,
                3 => Route::Mss,
                other => Route::Other(other),
            };
            Some(Expression::Load(Load::Route(route), reg(of, 1)?))
        }
        "log" | "last" | "dup" => Some(Expression::Nothing(kind.to_owned())),
        "match" | "target" => Some(Expression::Xtables {
            target: kind == "target",
            name: name(attribute(of, 1)?)?,
            revision: number(of, 2)?,
            info: Bytes::from(attribute(of, 3)?.to_vec()),
        }),
        _ => None,
    }
}

fn payload(of: &[u8]) -> Option<Expression> {
    let base = match number(of, 2)? {
        0 => Base::Link,
        1 => Base::Network,
        2 => Base::Transport,
        3 => Base::Inner,
        _ => return None,
    };
    let (offset, length) = (number(of, 3)?, length(of, 4)?);
    Some(match (reg(of, 1), reg(of, 5)) {
        (Some(to), None) => {
            let load = Load::Payload {
                base,
                offset,
                length,
            };
            Expression::Load(load, to)
        }
        (None, Some(from)) => {
            let store = Store::Payload {
                base,
                offset,
                length,
            };
            Expression::Store(store, from)
        }
        _ => return None,
    })
}

fn meta(of: &[u8]) -> Option<Expression> {
    let key = match number(of, 2)? {
        0 => Meta::Length,
        1 => Meta::Protocol,
        3 => Meta::Mark,
        4 => Meta::Iif,
        5 => Meta::Oif,
        6 => Meta::IifName,
        7 => Meta::OifName,
        8 => Meta::IifType,
        9 => Meta::OifType,
        10 => Meta::Uid,
        11 => Meta::Gid,
        15 => Meta::Family,
        16 => Meta::L4Protocol,
        19 => Meta::PacketType,
        21 => Meta::IifGroup,
        22 => Meta::OifGroup,
        26 => Meta::IifKind,
        27 => Meta::OifKind,
        other => Meta::Other(other),
    };
    Some(match (reg(of, 1), reg(of, 3)) {
        (Some(to), None) => Expression::Load(Load::Meta(key), to),
        (None, Some(from)) => Expression::Store(Store::Meta(key), from),
        _ => return None,
    })
}

fn ct(of: &[u8]) -> Option<Expression> {
    let key = match number(of, 2)? {
        0 => Ct::State,
        1 => Ct::Direction,
        2 => Ct::Status,
        3 => Ct::Mark,
        7 => Ct::L3Protocol,
        8 | 19 | 21 => Ct::Source,
        9 | 20 | 22 => Ct::Destination,
        10 => Ct::Protocol,
        11 => Ct::SourcePort,
        12 => Ct::DestinationPort,
        17 => Ct::Zone,
        other => Ct::Other(other),
    };
    let reply = attribute(of, 3).and_then(|direction| direction.first());
    Some(match (reg(of, 1), reg(of, 4)) {
        (Some(to), None) => {
            let reply = reply.map(|direction| *direction == 1);
            Expression::Load(Load::Ct { key, reply }, to)
        }
        (None, Some(from)) => Expression::Store(Store::Ct(key), from),
        _ => return None,
    })
}

fn bitwise(of: &[u8]) -> Option<Expression> {
    let (from, to) = (reg(of, 1)?, reg(of, 2)?);
    let shift = || {
        let bytes = value(attribute(of, 7)?)?;
        // A register's word, in this machine's order.
        u32_at(&bytes, 0)
    };
    let how = match number(of, 6).unwrap_or(0) {
        0 => {
            return Some(Expression::Masks {
                from,
                to,
                mask: Bytes::from(value(attribute(of, 4)?)?),
                xor: Bytes::from(value(attribute(of, 5)?)?),
            });
        }
        1 => Arithmetic::Left(shift()?),
        2 => Arithmetic::Right(shift()?),
        3 => Arithmetic::And(reg(of, 8)?),
        4 => Arithmetic::Or(reg(of, 8)?),
        5 => Arithmetic::Xor(reg(of, 8)?),
        _ => return None,
    };
    Some(Expression::Calculates {
        how,
        from,
        to,
        length: length(of, 3)?,
    })
}

fn immediate(of: &[u8]) -> Option<Expression> {
    let data = data(attribute(of, 2)?)?;
    // A verdict goes where no register of data is.
    let to = reg(of, 1).unwrap_or(Reg(0));
    Some(Expression::Sets(data, to))
}

/// By the attributes of the register, the modulus and the offset.
fn chooses(of: &[u8], (to, modulus, least): (u16, u16, u16)) -> Option<Expression> {
    Some(Expression::Chooses {
        to: reg(of, to)?,
        least: number(of, least).unwrap_or(0),
        of: number(of, modulus).filter(|of| *of > 0)?,
    })
}

fn compare(number: u32) -> Option<Compare> {
    const ALL: [Compare; 6] = [
        Compare::Equal,
        Compare::Unequal,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
    ];
    ALL.get(number as usize).copied()
}

fn reject(of: &[u8]) -> Option<Expression> {
    let code = attribute(of, 2).and_then(|code| code.first()).copied();
    Some(Expression::Reject(match number(of, 1)? {
        0 => Reject::Unreachable(code?),
        1 => Reject::Reset,
        2 => Reject::UnreachableOfEither(code?),
        _ => return None,
    }))
}

fn nat(kind: &str, of: &[u8]) -> Option<Expression> {
    let (what, addresses, ports, flags) = match kind {
        "nat" => {
            let what = match number(of, 1)? {
                0 => NatKind::Source,
                1 => NatKind::Destination,
                _ => return None,
            };
            (what, reg(of, 3).map(|min| (min, 4)), (5, 6), 7)
        }
        "masq" => (NatKind::Masquerade, None, (2, 3), 1),
        _ => (NatKind::Redirect, None, (1, 2), 3),
    };
    let family = match (kind, number(of, 2)) {
        // NFPROTO_IPV4, NFPROTO_IPV6.
        ("nat", Some(2)) => Family::Ip,
        ("nat", Some(10)) => Family::Ip6,
        _ => Family::Inet,
    };
    let pair = |min: Reg, max| (min, reg(of, max).unwrap_or(min));
    Some(Expression::Nat(Nat {
        kind: what,
        family,
        addresses: addresses.map(|(min, max)| pair(min, max)),
        ports: reg(of, ports.0).map(|min| pair(min, ports.1)),
        flags: number(of, flags).unwrap_or(0),
    }))
}

/// A register of data: four of sixteen bytes, or sixteen of four (`nft_parse_register`).
fn reg(of: &[u8], wanted: u16) -> Option<Reg> {
    match number(of, wanted)? {
        wide @ 1..=4 => Some(Reg((wide as u8 - 1) * 16)),
        word @ 8..=23 => Some(Reg((word as u8 - 8) * 4)),
        _ => None,
    }
}

fn length(of: &[u8], wanted: u16) -> Option<u8> {
    let length = u8::try_from(number(of, wanted)?).ok()?;
    (length <= 64).then_some(length)
}

/// NFTA_DATA_VALUE.
pub fn value(data: &[u8]) -> Option<Vec<u8>> {
    let value = attribute(data, 1)?;
    (value.len() <= 64).then(|| value.to_vec())
}

/// NFTA_DATA_…
pub fn data(of: &[u8]) -> Option<Data> {
    if let Some(value) = value(of) {
        return Some(Data::Value(Bytes::from(value)));
    }
    let verdict = attribute(of, 2)?;
    let to = || attribute(verdict, 2).and_then(name);
    let code = number(verdict, 1)?.cast_signed();
    Some(Data::Verdict(match code {
        -1 => Verdict::Continue,
        -2 => Verdict::Break,
        -3 => Verdict::Jump(to()?),
        -4 => Verdict::Goto(to()?),
        -5 => Verdict::Return,
        1 => Verdict::Accept,
        // With an error's number, or a queue's, beside.
        code if code & 0xff == 0 => Verdict::Drop,
        code if code & 0xff == 3 => Verdict::Queue,
        _ => return None,
    }))
}
