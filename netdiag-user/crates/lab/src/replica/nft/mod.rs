//! Rulesets as the kernel takes them, over nfnetlink: what a recording has of one, put in again.
mod expressions;
mod words;

use std::{collections::BTreeSet, io};

use self::words::{nested, text, word};
use super::netlink::{self, APPEND, CREATE, Channel};
use crate::model::{
    netfilter::Family,
    world::ruleset::{BaseChain, Chain, ChainKind, Data, Element, Hook, Ruleset, Set, Table},
};

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// NFNL_SUBSYS_NFTABLES: the upper half of each message's type.
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
/// NFT_SET_…
const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const CONCATENATION: u32 = 0x80;
/// NFT_DATA_VERDICT
const VERDICT: u32 = 0xffff_ff00;
/// Of one message: an attribute has no more than 64 KiB.
const ELEMENTS: usize = 256;
/// What the kernel refuses is left out, and the rest sent again, so often.
const TIMES: usize = 8;

/// One request, and what it is about.
struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
    about: String,
}

/// Puts it into the namespace that this thread is in, and tells what is left out of it.
pub fn install(ruleset: &Ruleset) -> io::Result<Vec<String>> {
    let mut channel = Channel::open(netlink::NETFILTER)?;
    channel.large()?;
    let mut left = Vec::new();
    for table in &ruleset.tables {
        let (requests, unknown) = requests(table, table.name.clone());
        left.extend(unknown);
        send(&mut channel, table, requests, &mut left)?;
    }
    if !ruleset.ipsets.is_empty() {
        left.push(format!(
            "{} sets of ipset, and the rules that ask them",
            ruleset.ipsets.len()
        ));
    }
    Ok(left)
}

/// All of a table at once; what the kernel will not have is told, and the others are sent again.
fn send(
    channel: &mut Channel,
    table: &Table,
    mut requests: Vec<Request>,
    left: &mut Vec<String>,
) -> io::Result<()> {
    for _ in 0..TIMES {
        if requests.is_empty() {
            return Ok(());
        }
        let mut batch = Vec::new();
        let resource = |family: u8, of: u16| [&[family, 0][..], &of.to_be_bytes()].concat();
        batch.extend(netlink::message(
            BEGIN,
            0,
            channel.next(),
            &resource(0, NFTABLES),
        ));
        let mut numbers = Vec::new();
        for request in &requests {
            let number = channel.next();
            numbers.push(number);
            let body = [resource(family(table.family), 0), request.body.clone()].concat();
            let ack = if numbers.len() == requests.len() {
                netlink::ACK
            } else {
                0
            };
            let kind = NFTABLES << 8 | request.kind;
            batch.extend(netlink::message(
                kind,
                request.flags | CREATE | ack,
                number,
                &body,
            ));
        }
        batch.extend(netlink::message(
            END,
            0,
            channel.next(),
            &resource(0, NFTABLES),
        ));
        let refused = channel.batch(&batch, numbers.last().copied().unwrap_or(0))?;
        if refused.is_empty() {
            return Ok(());
        }
        let numbered: BTreeSet<u32> = refused.iter().map(|(number, _)| *number).collect();
        for (number, error) in &refused {
            let at = numbers.iter().position(|it| it == number);
            let about = at.map_or(table.name.as_str(), |at| requests[at].about.as_str());
            left.push(format!("{about}: {}", io::Error::from_raw_os_error(*error)));
        }
        let mut each = numbers.iter();
        requests.retain(|_| each.next().is_some_and(|number| !numbered.contains(number)));
    }
    left.push(format!("table {} as a whole", table.name));
    Ok(())
}

/// Chains before what leads to them, and sets before who asks them.
fn requests(table: &Table, name: String) -> (Vec<Request>, Vec<String>) {
    let mut all = Vec::new();
    let mut left = Vec::new();
    let own = |kind: u16| text(kind, &name);
    let mut ask = |kind: u16, flags: u16, body: Vec<u8>, about: String| {
        all.push(Request {
            kind,
            flags,
            body,
            about,
        });
    };
    let flags = word(2, table.dormant.into());
    ask(
        NEW_TABLE,
        0,
        [own(1), flags].concat(),
        format!("table {name}"),
    );
    for chain in &table.chains {
        let body = [own(1), self::chain(table.family, chain)].concat();
        ask(
            NEW_CHAIN,
            0,
            body,
            format!("chain {} of table {name}", chain.name),
        );
    }
    for (number, set) in table.sets.iter().enumerate() {
        let about = format!("set {} of table {name}", set.name);
        let body = [own(1), self::set(set, number as u32 + 1)].concat();
        ask(NEW_SET, 0, body, about.clone());
        if set.partly {
            left.push(format!("{about}: some of what is in it"));
        }
        for some in sorted(set).chunks(ELEMENTS) {
            let some: Vec<u8> = some.iter().flat_map(|it| nested(1, &element(it))).collect();
            let body = [own(1), text(2, &set.name), nested(3, &some)].concat();
            ask(NEW_ELEMENT, 0, body, format!("elements of {about}"));
        }
    }
    for chain in &table.chains {
        for (at, rule) in chain.rules.iter().enumerate() {
            let about = format!("rule {} of chain {} of table {name}", at + 1, chain.name);
            match expressions::rule(table.family, &table.sets, &rule.expressions) {
                Ok(parts) => {
                    let body = [own(1), text(2, &chain.name), parts].concat();
                    ask(NEW_RULE, APPEND, body, about);
                }
                Err(why) => left.push(format!("{about}: {why}")),
            }
        }
    }
    (all, left)
}

fn chain(family: Family, chain: &Chain) -> Vec<u8> {
    let base = chain.base.as_ref();
    [
        text(3, &chain.name),
        base.map_or_else(Vec::new, |base| self::base(family, base)),
    ]
    .concat()
}

fn base(family: Family, base: &BaseChain) -> Vec<u8> {
    let number = match (family, base.hook) {
        (Family::Netdev, Hook::Egress) => 1,
        (Family::Netdev, _) | (_, Hook::Prerouting) => 0,
        (_, Hook::Input) => 1,
        (_, Hook::Forward) => 2,
        (_, Hook::Output) => 3,
        (_, Hook::Postrouting) => 4,
        (_, Hook::Ingress | Hook::Egress) => 5,
    };
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Route => "route",
        ChainKind::Nat => "nat",
    };
    let mut hook = [word(1, number), word(2, base.priority.cast_unsigned())].concat();
    match base.devices.as_slice() {
        [] => {}
        [one] => hook.extend(text(3, one)),
        several => {
            let several: Vec<u8> = several.iter().flat_map(|name| text(1, name)).collect();
            hook.extend(nested(4, &several));
        }
    }
    [
        nested(4, &hook),
        word(5, base.accepts.into()),
        text(7, kind),
    ]
    .concat()
}

fn set(set: &Set, number: u32) -> Vec<u8> {
    let several = set.parts.len() > 1;
    let length: u32 = match set.parts.as_slice() {
        [one] => (*one).into(),
        all => all
            .iter()
            .map(|part| u32::from(*part).next_multiple_of(4))
            .sum(),
    };
    let mut flags = if set.intervals { INTERVAL } else { 0 } | if set.map { MAP } else { 0 };
    flags |= if several { CONCATENATION } else { 0 };
    let mut body = [
        text(2, &set.name),
        word(4, 0),
        word(5, length),
        word(10, number),
    ]
    .concat();
    if set.map {
        let first = set
            .elements
            .iter()
            .find_map(|element| element.data.as_ref());
        let (kind, length) = match first {
            Some(Data::Value(value)) => (0, value.len() as u32),
            Some(Data::Verdict(_)) | None => (VERDICT, 0),
        };
        body.extend([word(6, kind), word(7, length)].concat());
    }
    body.extend(word(3, flags));
    if several {
        let each = set
            .parts
            .iter()
            .flat_map(|part| nested(1, &word(1, (*part).into())));
        body.extend(nested(9, &nested(2, &each.collect::<Vec<_>>())));
    }
    body
}

/// As a tree of intervals takes them: from the least key on, where one ends before where the next begins.
fn sorted(set: &Set) -> Vec<&Element> {
    let mut all: Vec<&Element> = set.elements.iter().collect();
    if set.intervals && set.parts.len() == 1 {
        all.sort_by_key(|it| (it.key.clone(), !it.gap));
    }
    all
}

fn element(of: &Element) -> Vec<u8> {
    let key = of
        .key
        .as_ref()
        .map_or_else(Vec::new, |key| expressions::value(1, key));
    let end = of
        .end
        .as_ref()
        .map_or_else(Vec::new, |end| expressions::value(10, end));
    let data = match &of.data {
        Some(Data::Value(value)) => expressions::value(2, value),
        Some(Data::Verdict(verdict)) => nested(2, &expressions::verdict(verdict)),
        None => Vec::new(),
    };
    // NFT_SET_ELEM_INTERVAL_END, NFT_SET_ELEM_CATCHALL
    let flags = u32::from(of.gap) | if of.key.is_none() { 2 } else { 0 };
    let flags = if flags == 0 {
        Vec::new()
    } else {
        word(3, flags)
    };
    [key, data, flags, end].concat()
}

/// NFPROTO_…
fn family(of: Family) -> u8 {
    match of {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}
