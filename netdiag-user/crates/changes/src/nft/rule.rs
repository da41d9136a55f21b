//! What a rule asks and does (nft(8), EXPRESSIONS and STATEMENTS).
use netdiag_model::{
    netfilter::Family,
    world::ruleset::{Expression, Meta, Verdict},
};

use crate::{
    Refused, Words,
    packet::{Asks, Side, state},
    words::{number, prefix, unknown},
};

pub fn read(family: Family, mut words: Words<'_>) -> Result<Vec<Expression>, Refused> {
    let mut asks = Asks::new(family);
    while let Some(word) = words.more() {
        statement(&mut asks, word, &mut words)?;
    }
    Ok(asks.done())
}

fn statement(asks: &mut Asks, word: &str, words: &mut Words<'_>) -> Result<(), Refused> {
    match word {
        "counter" => asks.counter(),
        "accept" => asks.verdict(Verdict::Accept),
        "drop" => asks.verdict(Verdict::Drop),
        "return" => asks.verdict(Verdict::Return),
        "jump" => asks.verdict(Verdict::Jump(words.next()?.to_owned())),
        "goto" => asks.verdict(Verdict::Goto(words.next()?.to_owned())),
        "masquerade" => asks.masquerades(),
        "snat" | "dnat" => {
            let side = if word == "snat" {
                Side::Source
            } else {
                Side::Destination
            };
            let _family = words.take("ip") || words.take("ip6");
            if !words.take("to") {
                return Err(Refused::Ends);
            }
            asks.translates(side, words.address()?);
        }
        "ip" | "ip6" => {
            let field = words.next()?;
            let equal = equal(words);
            match field {
                "saddr" => asks.address(Side::Source, prefix(words.next()?)?, equal),
                "daddr" => asks.address(Side::Destination, prefix(words.next()?)?, equal),
                "protocol" | "nexthdr" => {
                    asks.version(word == "ip6");
                    asks.protocol(protocol(words.next()?)?, equal);
                }
                other => return Err(unknown(other)),
            }
        }
        "tcp" | "udp" | "sctp" => {
            let side = match words.next()? {
                "sport" => Side::Source,
                "dport" => Side::Destination,
                other => return Err(unknown(other)),
            };
            let equal = equal(words);
            asks.protocol(protocol(word)?, true);
            asks.port(side, range(words.next()?)?, equal);
        }
        "icmp" | "icmpv6" => {
            let ipv6 = word == "icmpv6";
            asks.version(ipv6);
            asks.protocol(if ipv6 { 58 } else { 1 }, true);
            match words.next()? {
                "type" => asks.kind(kind(words.next()?, ipv6)?, true),
                "code" => asks.code(code(words.next()?)?),
                other => return Err(unknown(other)),
            }
        }
        "iif" | "iifname" | "oif" | "oifname" => {
            let meta = if word.starts_with('i') {
                Meta::IifName
            } else {
                Meta::OifName
            };
            let equal = equal(words);
            asks.device(meta, words.next()?.trim_matches('"'), equal);
        }
        "meta" => match words.next()? {
            "l4proto" => {
                let equal = equal(words);
                asks.protocol(protocol(words.next()?)?, equal);
            }
            "mark" => {
                let equal = equal(words);
                asks.mark((number(words.next()?)?, u32::MAX), equal);
            }
            "nfproto" => match words.next()? {
                "ipv4" => asks.version(false),
                "ipv6" => asks.version(true),
                other => return Err(unknown(other)),
            },
            other => return statement(asks, other, words),
        },
        "ct" => match words.next()? {
            "state" => asks.state(states(words.next()?)?),
            "status" => match words.next()? {
                "dnat" => asks.status(DNAT),
                "snat" => asks.status(SNAT),
                other => return Err(unknown(other)),
            },
            other => return Err(unknown(other)),
        },
        other => return Err(unknown(other)),
    }
    Ok(())
}

/// `IPS_DST_NAT`, `IPS_SRC_NAT`.
const DNAT: u32 = 1 << 5;
const SNAT: u32 = 1 << 4;

fn equal(words: &mut Words<'_>) -> bool {
    let unequal = words.take("!=");
    words.take("==");
    !unequal
}

fn protocol(word: &str) -> Result<u8, Refused> {
    crate::ip::protocol(word)
}

fn range<T: std::str::FromStr + Copy>(word: &str) -> Result<(T, T), Refused> {
    let one = |word: &str| word.parse().map_err(|_| unknown(word));
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Ok((one(first)?, one(last)?))
}

/// (RFC 792, RFC 4443, RFC 4861)
fn kind(word: &str, ipv6: bool) -> Result<(u8, u8), Refused> {
    let one = |kind: u8| Ok((kind, kind));
    match (word, ipv6) {
        ("destination-unreachable", false) => one(3),
        ("destination-unreachable", true) => one(1),
        ("packet-too-big", true) => one(2),
        ("time-exceeded", false) => one(11),
        ("time-exceeded", true) => one(3),
        ("echo-request", false) => one(8),
        ("echo-request", true) => one(128),
        ("echo-reply", false) => one(0),
        ("echo-reply", true) => one(129),
        ("nd-router-solicit", true) => one(133),
        ("nd-router-advert", true) => one(134),
        ("nd-neighbor-solicit", true) => one(135),
        ("nd-neighbor-advert", true) => one(136),
        (other, _) => range(other),
    }
}

fn code(word: &str) -> Result<u8, Refused> {
    match word {
        "frag-needed" => Ok(4),
        other => other.parse().map_err(|_| unknown(other)),
    }
}

fn states(word: &str) -> Result<u32, Refused> {
    let each = word.split(',');
    each.map(|word| state(word).ok_or_else(|| unknown(word)))
        .try_fold(0, |all, one| Ok(all | one?))
}
