//! iptables(8) and ip6tables(8), of either engine.
use netdiag_model::{
    netfilter::{Family, Iptables},
    world::{
        Stack,
        ruleset::{
            BaseChain, Chain, ChainKind, Expression, Hook, Meta, Rule, Ruleset, Table, Verdict,
        },
    },
};

use crate::{
    Done, Refused, Words,
    device::whole,
    packet::{Asks, Side, state},
    words::{prefix, unknown},
};

pub fn carry_out(stack: &mut Stack, program: &str, mut words: Words<'_>) -> Done {
    let which = which(program)?;
    let ruleset = std::sync::Arc::make_mut(whole(&mut stack.ruleset)?);
    let table = match words.take("-t") {
        true => words.next()?,
        false => "filter",
    };
    let verb = words.next()?;
    let name = words.next()?;
    let chain = chain(ruleset, which, (table, name))?;
    match verb {
        "-P" => {
            let accepts = match words.next()? {
                "ACCEPT" => true,
                "DROP" => false,
                other => return Err(unknown(other)),
            };
            chain.base.as_mut().ok_or(Refused::Nothing)?.accepts = accepts;
            words.end()
        }
        "-D" => {
            // What its words say is held against rules by iptables itself, of whose matches too many are its own.
            let number: usize = words.value().map_err(|_| Refused::NotModelled)?;
            let at = number.checked_sub(1).filter(|at| *at < chain.rules.len());
            chain.rules.remove(at.ok_or(Refused::Nothing)?);
            words.end()
        }
        "-A" | "-I" => {
            let number = words.peek().and_then(|word| word.parse::<usize>().ok());
            let at = match (verb, number) {
                ("-I", Some(number)) => {
                    words.next()?;
                    number.checked_sub(1).ok_or(Refused::Nothing)?
                }
                ("-I", None) => 0,
                _ => chain.rules.len(),
            };
            if at > chain.rules.len() {
                return Err(Refused::Nothing);
            }
            let rule = Rule {
                handle: 0,
                expressions: read(which.0, words)?,
                comment: None,
            };
            chain.rules.insert(at, rule);
            Ok(())
        }
        other => Err(unknown(other)),
    }
}

/// Its family, and which engine, where its name says so.
fn which(program: &str) -> Result<(Family, Option<bool>), Refused> {
    match program {
        "iptables" => Ok((Family::Ip, None)),
        "ip6tables" => Ok((Family::Ip6, None)),
        other => {
            let program = Iptables::named(other).ok_or_else(|| unknown(other))?;
            let legacy = matches!(program, Iptables::Legacy4 | Iptables::Legacy6);
            Ok((program.family(), Some(legacy)))
        }
    }
}

/// The chain of that name; one of the kernel's own hooks is made where nobody has used its table yet.
fn chain<'r>(
    ruleset: &'r mut Ruleset,
    (family, legacy): (Family, Option<bool>),
    (table, name): (&str, &str),
) -> Result<&'r mut Chain, Refused> {
    let is = |of: &Table| {
        of.family == family && of.name == table && legacy.is_none_or(|legacy| of.legacy == legacy)
    };
    let at = match ruleset.tables.iter().position(is) {
        Some(at) => at,
        None => {
            let legacy = legacy == Some(true);
            let nft = ruleset.tables.iter().filter(|table| !table.legacy).count();
            let at = if legacy { ruleset.tables.len() } else { nft };
            let made = Table {
                family,
                name: table.to_owned(),
                legacy,
                dormant: false,
                chains: Vec::new(),
                sets: Vec::new(),
            };
            ruleset.tables.insert(at, made);
            at
        }
    };
    let chains = &mut ruleset.tables[at].chains;
    let at = match chains.iter().position(|chain| chain.name == name) {
        Some(at) => at,
        None => {
            let base = hooked(table, name).ok_or(Refused::Nothing)?;
            let handles = chains.iter().map(|chain| chain.handle);
            chains.push(Chain {
                name: name.to_owned(),
                handle: handles.max().unwrap_or(0) + 1,
                base: Some(base),
                rules: Vec::new(),
            });
            chains.len() - 1
        }
    };
    Ok(&mut chains[at])
}

/// (include/uapi/linux/netfilter_ipv4.h)
fn hooked(table: &str, chain: &str) -> Option<BaseChain> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (priority, kind) = match (table, hook) {
        ("raw", Hook::Prerouting | Hook::Output) => (-300, ChainKind::Filter),
        ("mangle", Hook::Output) => (-150, ChainKind::Route),
        ("mangle", _) => (-150, ChainKind::Filter),
        ("nat", Hook::Prerouting | Hook::Output) => (-100, ChainKind::Nat),
        ("nat", Hook::Input | Hook::Postrouting) => (100, ChainKind::Nat),
        ("filter", Hook::Input | Hook::Forward | Hook::Output) => (0, ChainKind::Filter),
        _ => return None,
    };
    Some(BaseChain {
        hook,
        priority,
        kind,
        accepts: true,
        devices: Vec::new(),
    })
}

fn read(family: Family, mut words: Words<'_>) -> Result<Vec<Expression>, Refused> {
    let mut asks = Asks::new(family);
    let mut target = None;
    while let Some(word) = words.more() {
        let (word, equal) = match word {
            "!" => (words.next()?, false),
            other => (other, true),
        };
        match word {
            "-s" => asks.address(Side::Source, prefix(words.next()?)?, equal),
            "-d" => asks.address(Side::Destination, prefix(words.next()?)?, equal),
            "-i" => asks.device(Meta::IifName, words.next()?, equal),
            "-o" => asks.device(Meta::OifName, words.next()?, equal),
            "-p" => asks.protocol(crate::ip::protocol(words.next()?)?, equal),
            "--sport" => asks.port(Side::Source, ports(words.next()?)?, equal),
            "--dport" => asks.port(Side::Destination, ports(words.next()?)?, equal),
            "--icmp-type" | "--icmpv6-type" => icmp(&mut asks, words.next()?)?,
            "--ctstate" => states(&mut asks, words.next()?)?,
            "--mark" => asks.mark(mark(words.next()?)?, equal),
            "-m" => matched(words.next()?)?,
            "-j" => target = Some(words.next()?),
            "--to-source" => asks.translates(Side::Source, words.address()?),
            "--to-destination" => asks.translates(Side::Destination, words.address()?),
            other => return Err(unknown(other)),
        }
    }
    match target {
        Some("ACCEPT") => asks.verdict(Verdict::Accept),
        Some("DROP") => asks.verdict(Verdict::Drop),
        Some("RETURN") => asks.verdict(Verdict::Return),
        Some("MASQUERADE") => asks.masquerades(),
        Some("SNAT" | "DNAT") | None => {}
        Some(other) => return Err(unknown(other)),
    }
    Ok(asks.done())
}

/// Matches of which each word is known here.
fn matched(name: &str) -> Result<(), Refused> {
    match name {
        "conntrack" | "state" | "tcp" | "udp" | "icmp" | "icmp6" | "mark" => Ok(()),
        other => Err(unknown(other)),
    }
}

fn ports(word: &str) -> Result<(u16, u16), Refused> {
    let one = |word: &str| word.parse().map_err(|_| unknown(word));
    let (first, last) = word.split_once(':').unwrap_or((word, word));
    Ok((one(first)?, one(last)?))
}

fn mark(word: &str) -> Result<(u32, u32), Refused> {
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    Ok((crate::words::number(value)?, crate::words::number(mask)?))
}

fn states(asks: &mut Asks, word: &str) -> Result<(), Refused> {
    /// `IPS_DST_NAT`
    const DNAT: u32 = 1 << 5;
    if word == "DNAT" {
        asks.status(DNAT);
        return Ok(());
    }
    let each = word.split(',').map(str::to_lowercase);
    let mut states = each.map(|word| state(&word).ok_or_else(|| unknown(&word)));
    asks.state(states.try_fold(0, |all, one| one.map(|one| all | one))?);
    Ok(())
}

fn icmp(asks: &mut Asks, word: &str) -> Result<(), Refused> {
    match word {
        "fragmentation-needed" => {
            asks.kind((3, 3), true);
            asks.code(4);
        }
        "packet-too-big" => asks.kind((2, 2), true),
        "neighbour-solicitation" => asks.kind((135, 135), true),
        "neighbour-advertisement" => asks.kind((136, 136), true),
        other => {
            let kind = other.parse().map_err(|_| unknown(other))?;
            asks.kind((kind, kind), true);
        }
    }
    Ok(())
}
