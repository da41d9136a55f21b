//! Expressions of rules as the kernel takes them (include/uapi/linux/netfilter/nf_tables.h).
use super::words::{bytes, nested, text, word};
use crate::model::{
    netfilter::Family,
    world::ruleset::{
        Arithmetic, Base, Compare, Ct, Data, Expression, Load, Meta, Nat, NatKind, Reg, Reject,
        Route, Set, Store, Verdict,
    },
};

/// Matches and targets of iptables that are put in again: each decides by the packet, its connection or its links alone,
/// and none runs a program, writes a log or keeps a list.
const XTABLES: [&str; 44] = [
    "addrtype",
    "CHECKSUM",
    "comment",
    "connmark",
    "CONNMARK",
    "conntrack",
    "CT",
    "DNAT",
    "dscp",
    "DSCP",
    "ecn",
    "hl",
    "HL",
    "icmp",
    "icmp6",
    "iprange",
    "length",
    "limit",
    "mac",
    "mark",
    "MARK",
    "MASQUERADE",
    "multiport",
    "NETMAP",
    "NOTRACK",
    "owner",
    "physdev",
    "pkttype",
    "policy",
    "realm",
    "REDIRECT",
    "REJECT",
    "rpfilter",
    "sctp",
    "SNAT",
    "state",
    "statistic",
    "tcp",
    "tcpmss",
    "TCPMSS",
    "tos",
    "TOS",
    "ttl",
    "udp",
];

/// Of a rule, with what it needs beside: the protocol that iptables' extensions are checked against.
pub fn rule(family: Family, sets: &[Set], all: &[Expression]) -> Result<Vec<u8>, String> {
    let mut list = Vec::new();
    for expression in all {
        if let Some((name, data)) = one(family, sets, expression)? {
            list.extend(nested(1, &[text(1, name), nested(2, &data)].concat()));
        }
    }
    let mut parts = nested(4, &list);
    if all
        .iter()
        .any(|one| matches!(one, Expression::Xtables { .. }))
    {
        let compat = [word(1, protocol(all).into()), word(2, 0)].concat();
        parts.extend(nested(5, &compat));
    }
    Ok(parts)
}

/// That the rule is for alone, as it says itself.
fn protocol(all: &[Expression]) -> u8 {
    let mut loaded = None;
    for one in all {
        match one {
            Expression::Load(Load::Meta(Meta::L4Protocol), to) => loaded = Some(*to),
            Expression::Load(
                Load::Payload {
                    base: Base::Network,
                    offset: 9,
                    length: 1,
                },
                to,
            ) => loaded = Some(*to),
            Expression::Compare {
                how: Compare::Equal,
                reg,
                with,
            } if Some(*reg) == loaded => {
                return with.first().copied().unwrap_or(0);
            }
            Expression::Xtables { name, .. } => match name.as_str() {
                "tcp" => return 6,
                "udp" => return 17,
                "icmp" => return 1,
                "icmp6" => return 58,
                "sctp" => return 132,
                _ => {}
            },
            _ => {}
        }
    }
    0
}

type Made = Option<(&'static str, Vec<u8>)>;

/// Nothing of one that decides nothing; an error of one that cannot be made again.
fn one(family: Family, sets: &[Set], expression: &Expression) -> Result<Made, String> {
    let made = match expression {
        Expression::Load(load, to) => self::load(family, load, *to),
        Expression::Store(store, from) => self::store(family, store, *from),
        Expression::Compare { how, reg, with } => {
            let data = [source(*reg), word(2, *how as u32), value(3, with)];
            ("cmp", data.concat())
        }
        Expression::Range {
            outside,
            reg,
            from,
            to,
        } => {
            let data = [
                source(*reg),
                word(2, (*outside).into()),
                value(3, from),
                value(4, to),
            ];
            ("range", data.concat())
        }
        Expression::Masks {
            from,
            to,
            mask,
            xor,
        } => {
            let length = word(3, mask.len() as u32);
            let data = [
                source(*from),
                register(2, *to),
                length,
                value(4, mask),
                value(5, xor),
            ];
            ("bitwise", data.concat())
        }
        Expression::Calculates {
            how,
            from,
            to,
            length,
        } => ("bitwise", calculates(*how, (*from, *to), *length)),
        Expression::Orders(order) => {
            let words = [
                word(3, 1),
                word(4, order.length.into()),
                word(5, order.size.into()),
            ];
            (
                "byteorder",
                [source(order.from), register(2, order.to), words.concat()].concat(),
            )
        }
        Expression::Sets(Data::Verdict(verdict), _) => (
            "immediate",
            [word(1, 0), nested(2, &self::verdict(verdict))].concat(),
        ),
        Expression::Sets(Data::Value(of), to) => {
            ("immediate", [register(1, *to), value(2, of)].concat())
        }
        Expression::Lookup {
            set,
            reg,
            to,
            invert,
        } => ("lookup", lookup(sets, set, (*reg, *to), *invert)),
        Expression::Chooses { to, least, of } => {
            let data = [register(1, *to), word(2, *of), word(3, 1), word(4, *least)];
            ("numgen", data.concat())
        }
        Expression::Counter { .. } => ("counter", Vec::new()),
        Expression::Reject(reject) => ("reject", self::reject(*reject)),
        Expression::Nat(nat) => self::nat(family, nat),
        Expression::NoTrack => ("notrack", Vec::new()),
        Expression::Tproxy(port) => {
            let number = match family {
                Family::Ip => 2,
                Family::Ip6 => 10,
                _ => 0,
            };
            let port = port.map_or_else(Vec::new, |it| register(3, it));
            ("tproxy", [word(1, number), port].concat())
        }
        Expression::Nothing(_) => return Ok(None),
        Expression::Xtables { name, .. } if name == "LOG" || name == "NFLOG" || name == "TRACE" => {
            return Ok(None);
        }
        Expression::Xtables {
            target,
            name,
            revision,
            info,
        } => {
            if !XTABLES.contains(&name.as_str()) {
                return Err(format!("iptables' {name}"));
            }
            let data = [text(1, name), word(2, *revision), bytes(3, info)].concat();
            (if *target { "target" } else { "match" }, data)
        }
        Expression::Opaque(name) => return Err(format!("what is not known ({name})")),
    };
    Ok(Some(made))
}

fn load(family: Family, load: &Load, to: Reg) -> (&'static str, Vec<u8>) {
    let to = register(1, to);
    match load {
        Load::Payload {
            base,
            offset,
            length,
        } => {
            let data = [
                to,
                word(2, self::base(*base)),
                word(3, *offset),
                word(4, (*length).into()),
            ];
            ("payload", data.concat())
        }
        Load::Meta(key) => ("meta", [to, word(2, meta(*key))].concat()),
        Load::Ct { key, reply } => {
            let way = reply.map_or_else(Vec::new, |reply| bytes(3, &[reply.into()]));
            ("ct", [to, word(2, ct(family, *key)), way].concat())
        }
        Load::Fib(fib) => (
            "fib",
            [to, word(2, fib.result), word(3, fib.flags)].concat(),
        ),
        Load::Route(route) => {
            let key = match route {
                Route::NextHop4 => 1,
                Route::NextHop6 => 2,
                Route::Mss => 3,
                Route::Other(other) => *other,
            };
            ("rt", [to, word(2, key)].concat())
        }
    }
}

fn store(family: Family, store: &Store, from: Reg) -> (&'static str, Vec<u8>) {
    /// NFT_PAYLOAD_CSUM_INET, where IPv4 has its own; and that those of what is inside know the addresses.
    const INET: u32 = 1;
    const CHECKSUM: u32 = 10;
    const INSIDE: u32 = 1;
    match store {
        Store::Payload {
            base,
            offset,
            length,
        } => {
            let mut data = [
                word(2, self::base(*base)),
                word(3, *offset),
                word(4, (*length).into()),
                register(5, from),
            ]
            .concat();
            if *base == Base::Network && family == Family::Ip {
                let addresses = if *offset >= 12 { INSIDE } else { 0 };
                data.extend([word(6, INET), word(7, CHECKSUM), word(8, addresses)].concat());
            }
            ("payload", data)
        }
        Store::Meta(key) => ("meta", [word(2, meta(*key)), register(3, from)].concat()),
        Store::Ct(key) => (
            "ct",
            [word(2, ct(family, *key)), register(4, from)].concat(),
        ),
    }
}

fn base(of: Base) -> u32 {
    match of {
        Base::Link => 0,
        Base::Network => 1,
        Base::Transport => 2,
        Base::Inner => 3,
    }
}

/// NFT_META_…
fn meta(key: Meta) -> u32 {
    match key {
        Meta::Length => 0,
        Meta::Protocol => 1,
        Meta::Mark => 3,
        Meta::Iif => 4,
        Meta::Oif => 5,
        Meta::IifName => 6,
        Meta::OifName => 7,
        Meta::IifType => 8,
        Meta::OifType => 9,
        Meta::Uid => 10,
        Meta::Gid => 11,
        Meta::Family => 15,
        Meta::L4Protocol => 16,
        Meta::PacketType => 19,
        Meta::IifGroup => 21,
        Meta::OifGroup => 22,
        Meta::IifKind => 26,
        Meta::OifKind => 27,
        Meta::Other(number) => number,
    }
}

/// NFT_CT_…; addresses by the family of who asks.
fn ct(family: Family, key: Ct) -> u32 {
    match key {
        Ct::State => 0,
        Ct::Direction => 1,
        Ct::Status => 2,
        Ct::Mark => 3,
        Ct::L3Protocol => 7,
        Ct::Source if family == Family::Inet => 19,
        Ct::Source => 8,
        Ct::Destination if family == Family::Inet => 20,
        Ct::Destination => 9,
        Ct::Protocol => 10,
        Ct::SourcePort => 11,
        Ct::DestinationPort => 12,
        Ct::Zone => 17,
        Ct::Other(number) => number,
    }
}

fn calculates(how: Arithmetic, (from, to): (Reg, Reg), length: u8) -> Vec<u8> {
    let shift = |bits: u32| nested(7, &bytes(1, &bits.to_ne_bytes()));
    let (operation, with) = match how {
        Arithmetic::Left(bits) => (1, shift(bits)),
        Arithmetic::Right(bits) => (2, shift(bits)),
        Arithmetic::And(other) => (3, register(8, other)),
        Arithmetic::Or(other) => (4, register(8, other)),
        Arithmetic::Xor(other) => (5, register(8, other)),
    };
    [
        source(from),
        register(2, to),
        word(3, length.into()),
        word(6, operation),
        with,
    ]
    .concat()
}

fn lookup(sets: &[Set], name: &str, (from, to): (Reg, Option<Reg>), invert: bool) -> Vec<u8> {
    let set = sets.iter().find(|set| set.name == name);
    let to = match to {
        Some(to) => register(3, to),
        // A map that leads to verdicts, into the verdict.
        None if set.is_some_and(|set| set.map) => word(3, 0),
        None => Vec::new(),
    };
    [text(1, name), register(2, from), to, word(5, invert.into())].concat()
}

fn reject(of: Reject) -> Vec<u8> {
    let (kind, code) = match of {
        Reject::Unreachable(code) => (0, code),
        Reject::Reset => (1, 0),
        Reject::UnreachableOfEither(code) => (2, code),
    };
    [word(1, kind), bytes(2, &[code])].concat()
}

fn nat(family: Family, of: &Nat) -> (&'static str, Vec<u8>) {
    let pair = |range: Option<(Reg, Reg)>, least: u16, most: u16| {
        range.map_or_else(Vec::new, |(min, max)| {
            [register(least, min), register(most, max)].concat()
        })
    };
    let flags = |kind: u16| match of.flags {
        0 => Vec::new(),
        flags => word(kind, flags),
    };
    let number = match (of.family, family) {
        (Family::Ip6, _) | (_, Family::Ip6) => 10,
        _ => 2,
    };
    match of.kind {
        NatKind::Masquerade => ("masq", [flags(1), pair(of.ports, 2, 3)].concat()),
        NatKind::Redirect => ("redir", [pair(of.ports, 1, 2), flags(3)].concat()),
        NatKind::Source | NatKind::Destination => {
            let kind = u32::from(of.kind == NatKind::Destination);
            let ranges = [pair(of.addresses, 3, 4), pair(of.ports, 5, 6)].concat();
            (
                "nat",
                [word(1, kind), word(2, number), ranges, flags(7)].concat(),
            )
        }
    }
}

/// NFTA_DATA_VERDICT
pub fn verdict(of: &Verdict) -> Vec<u8> {
    let (code, chain) = match of {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        // To nobody: such packets are dropped where no program asks for them.
        Verdict::Queue => (3, None),
        Verdict::Continue => (-1, None),
        Verdict::Break => (-2, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5_i32, None),
    };
    let chain = chain.map_or_else(Vec::new, |chain| text(2, chain));
    nested(2, &[word(1, code.cast_unsigned()), chain].concat())
}

pub fn value(kind: u16, of: &[u8]) -> Vec<u8> {
    nested(kind, &bytes(1, of))
}

fn source(reg: Reg) -> Vec<u8> {
    register(1, reg)
}

/// By the word at which it begins (`NFT_REG32_00`).
fn register(kind: u16, reg: Reg) -> Vec<u8> {
    word(kind, 8 + u32::from(reg.0 / 4))
}
