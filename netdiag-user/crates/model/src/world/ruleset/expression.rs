//! What rules are made of.
use serde::{Deserialize, Serialize};

use super::set::{Bytes, Data};
use crate::netfilter::Family;

/// Where a register begins among the bytes of all sixteen words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reg(pub u8);

/// One step of a rule; where it does not hold, the rule ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expression {
    Load(Load, Reg),
    Store(Store, Reg),
    Compare {
        how: Compare,
        reg: Reg,
        with: Bytes,
    },
    Range {
        outside: bool,
        reg: Reg,
        from: Bytes,
        to: Bytes,
    },
    /// `(source & mask) ^ xor`, byte by byte.
    Masks {
        from: Reg,
        to: Reg,
        mask: Bytes,
        xor: Bytes,
    },
    Calculates {
        how: Arithmetic,
        from: Reg,
        to: Reg,
        length: u8,
    },
    /// Between the order of the network and this machine's.
    Orders(Order),
    Sets(Data, Reg),
    Lookup {
        set: String,
        reg: Reg,
        /// Of a map; of one that leads to verdicts there is none.
        to: Option<Reg>,
        invert: bool,
    },
    /// One of so many numbers, the least first, whichever the kernel makes or computes (`numgen`, `jhash`, `symhash`).
    Chooses {
        to: Reg,
        least: u32,
        of: u32,
    },
    Counter {
        packets: u64,
    },
    Reject(Reject),
    Nat(Nat),
    NoTrack,
    /// To a local socket that is transparent, of that port where one is said (`tproxy`): whether there is one is not known
    /// to rules.
    Tproxy(Option<Reg>),
    /// Whatever it does, it turns no packet and ends no rule (`log`, `last`, `dup`).
    Nothing(String),
    /// A match or a target of iptables: which one, its revision and what it was given.
    Xtables {
        target: bool,
        name: String,
        revision: u32,
        info: Bytes,
    },
    /// Nobody can tell from outside what it says of a packet, or netdiag does not know it.
    Opaque(String),
}

/// Matches and targets of iptables that have no use for connections; others are taken to have one.
const UNTRACKED: [&str; 55] = [
    "addrtype",
    "AUDIT",
    "bpf",
    "cgroup",
    "CHECKSUM",
    "CLASSIFY",
    "comment",
    "cpu",
    "devgroup",
    "DSCP",
    "dscp",
    "ecn",
    "frag",
    "hashlimit",
    "HL",
    "hl",
    "icmp",
    "icmp6",
    "iprange",
    "length",
    "limit",
    "LOG",
    "mac",
    "MARK",
    "mark",
    "multiport",
    "NFLOG",
    "NFQUEUE",
    "NOTRACK",
    "owner",
    "physdev",
    "pkttype",
    "policy",
    "quota",
    "realm",
    "recent",
    "REJECT",
    "rpfilter",
    "sctp",
    "SET",
    "set",
    "statistic",
    "string",
    "tcp",
    "TCPMSS",
    "tcpmss",
    "TEE",
    "time",
    "TOS",
    "tos",
    "TRACE",
    "TTL",
    "ttl",
    "u32",
    "udp",
];

impl Expression {
    /// Whether by it one of several ways is chosen.
    pub fn chooses(&self) -> bool {
        match self {
            Self::Chooses { .. } => true,
            Self::Xtables { target, name, .. } => !target && name == "statistic",
            _ => false,
        }
    }

    /// Whether it keeps what it meets from being tracked.
    pub fn untracks(&self) -> bool {
        match self {
            Self::NoTrack => true,
            Self::Xtables { name, info, .. } if name == "CT" => {
                // XT_CT_NOTRACK
                let flags = info.first_chunk().map(|flags| u16::from_ne_bytes(*flags));
                flags.is_some_and(|flags| flags & 1 != 0)
            }
            Self::Xtables { name, target, .. } => *target && name == "NOTRACK",
            _ => false,
        }
    }

    /// Whether it gives what it meets a zone of connection tracking's.
    pub fn gives_zone(&self) -> bool {
        match self {
            Self::Store(Store::Ct(key), _) => *key == Ct::Zone,
            Self::Xtables { name, info, .. } if name == "CT" => {
                let zone = info.get(2..4).and_then(|zone| zone.first_chunk().copied());
                zone.is_some_and(|zone| u16::from_ne_bytes(zone) != 0)
            }
            _ => false,
        }
    }

    /// Whether it has the kernel track connections.
    pub fn tracks(&self) -> bool {
        match self {
            Self::Load(Load::Ct { .. }, _) | Self::Store(Store::Ct(_), _) | Self::Nat(_) => true,
            Self::Opaque(name) => {
                ["connlimit", "flow_offload", "synproxy"].contains(&name.as_str())
            }
            Self::Xtables { name, .. } if name == "CT" => !self.untracks(),
            Self::Xtables { name, .. } => !UNTRACKED.contains(&name.as_str()),
            _ => false,
        }
    }
}

/// What is put into a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    Payload {
        base: Base,
        offset: u32,
        length: u8,
    },
    Meta(Meta),
    /// Of connections; of which direction, where that is said.
    Ct {
        key: Ct,
        reply: Option<bool>,
    },
    Fib(Fib),
    Route(Route),
}

/// What a register is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    Payload { base: Base, offset: u32, length: u8 },
    Meta(Meta),
    Ct(Ct),
}

/// What an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    Link,
    Network,
    Transport,
    Inner,
}

/// `NFT_META_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Meta {
    Length,
    Protocol,
    Mark,
    Iif,
    Oif,
    IifName,
    OifName,
    IifType,
    OifType,
    Uid,
    Gid,
    Family,
    L4Protocol,
    PacketType,
    IifGroup,
    OifGroup,
    IifKind,
    OifKind,
    /// By its number.
    Other(u32),
}

/// `NFT_CT_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ct {
    State,
    Direction,
    Status,
    Mark,
    L3Protocol,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Zone,
    /// By its number.
    Other(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arithmetic {
    /// Each word, with what overflows of the next (`nft_bitwise_eval_lshift`).
    Left(u32),
    Right(u32),
    And(Reg),
    Or(Reg),
    Xor(Reg),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub from: Reg,
    pub to: Reg,
    pub length: u8,
    /// Bytes that change places with each other.
    pub size: u8,
}

/// What a rule says of a packet, if it comes so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Accept,
    Drop,
    Continue,
    /// The rule ends, as where something does not hold.
    Break,
    Return,
    Jump(String),
    Goto(String),
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reject {
    Reset,
    /// The error's code, as the family itself numbers it.
    Unreachable(u8),
    /// The same as `inet` numbers it (`NFT_REJECT_ICMPX_…`).
    UnreachableOfEither(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    pub kind: NatKind,
    /// Whose packets alone it is for.
    pub family: Family,
    /// The least and the greatest, in registers.
    pub addresses: Option<(Reg, Reg)>,
    pub ports: Option<(Reg, Reg)>,
    /// `NF_NAT_RANGE_…`
    pub flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatKind {
    Source,
    Destination,
    Masquerade,
    Redirect,
}

/// What a lookup in the routes is for (`NFTA_FIB_F_…`), and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fib {
    pub flags: u32,
    /// The device's index 1, its name 2, the address' type 3.
    pub result: u32,
}

/// Of the route that was chosen (`NFT_RT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    NextHop4,
    NextHop6,
    /// The largest segment that fits.
    Mss,
    Other(u32),
}
