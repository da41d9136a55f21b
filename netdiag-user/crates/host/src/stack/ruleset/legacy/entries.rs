//! A table's rules as the kernel lays them out (include/uapi/linux/netfilter_ipv4/ip_tables.h, …_ipv6/ip6_tables.h,
//! netfilter/x_tables.h): one entry behind the other, each with its header's conditions, matches and a target.
use std::collections::BTreeMap;

use super::super::{attributes, expression::is_comment};
use crate::{
    gather::netlink::u32_at,
    model::{
        netfilter::Family,
        world::ruleset::{
            Base, BaseChain, Bytes, Chain, ChainKind, Compare, Data, Expression, Hook, Load, Meta,
            Reg, Rule, Table, Verdict,
        },
    },
};

/// XT_TABLE_MAXNAMELEN.
pub const NAME: usize = 32;
/// Of a match and of a target: its length, its name and its revision before what it is given.
const PART: usize = 32;
const PART_NAME: usize = 29;
/// IFNAMSIZ.
const DEVICE: usize = 16;
/// What conditions of the header may be turned round (`IPT_INV_…`, `IP6T_INV_…`).
const NOT_IN: u8 = 1;
const NOT_OUT: u8 = 1 << 1;
const NOT_SOURCE: u8 = 1 << 3;
const NOT_DESTINATION: u8 = 1 << 4;
const NOT_FRAGMENT: u8 = 1 << 5;
const NOT_PROTOCOL: u8 = 1 << 6;
const WORD: Reg = Reg(16);

/// `struct ipt_getinfo`
pub struct Info {
    valid: u32,
    first: [u32; 5],
    policies: [u32; 5],
    pub entries: u32,
    pub size: u32,
}

impl Info {
    pub const SIZE: usize = NAME + 4 + 2 * 5 * 4 + 8;

    pub fn of(bytes: &[u8]) -> Option<Self> {
        let five = |at: usize| {
            let mut five = [0; 5];
            for (index, word) in five.iter_mut().enumerate() {
                *word = u32_at(bytes, at + index * 4)?;
            }
            Some(five)
        };
        Some(Self {
            valid: u32_at(bytes, NAME)?,
            first: five(NAME + 4)?,
            policies: five(NAME + 24)?,
            entries: u32_at(bytes, NAME + 44)?,
            size: u32_at(bytes, NAME + 48)?,
        })
    }

    /// The hook whose chain begins with that entry, or ends with it.
    fn hook(&self, all: &[u32; 5], at: usize) -> Option<usize> {
        (0..5).find(|hook| self.valid & (1 << hook) != 0 && all[*hook] as usize == at)
    }
}

/// Where the parts of an entry are.
struct Layout {
    source: usize,
    destination: usize,
    source_mask: usize,
    destination_mask: usize,
    address: usize,
    devices: usize,
    protocol: usize,
    flags: usize,
    turned: usize,
    target: usize,
    counters: usize,
    size: usize,
    /// In the packet's own header.
    in_packet: (u32, u32),
    goes: u8,
}

const FOUR: Layout = Layout {
    source: 0,
    destination: 4,
    source_mask: 8,
    destination_mask: 12,
    address: 4,
    devices: 16,
    protocol: 80,
    flags: 82,
    turned: 83,
    target: 88,
    counters: 96,
    size: 112,
    in_packet: (12, 16),
    goes: 1 << 1,
};

const SIX: Layout = Layout {
    source: 0,
    destination: 16,
    source_mask: 32,
    destination_mask: 48,
    address: 16,
    devices: 64,
    protocol: 128,
    flags: 131,
    turned: 132,
    target: 140,
    counters: 152,
    size: 168,
    in_packet: (8, 24),
    goes: 1 << 2,
};

/// One entry.
struct Entry<'a> {
    at: usize,
    bytes: &'a [u8],
    /// Where its target begins.
    target: usize,
}

/// All of a table, or nothing where it does not hold together.
pub fn table(ipv6: bool, name: &str, info: &Info, bytes: &[u8]) -> Option<Table> {
    let layout = if ipv6 { &SIX } else { &FOUR };
    let entries = entries(layout, bytes)?;
    let places: BTreeMap<usize, String> = starts(&entries)?;
    let mut chains: Vec<Chain> = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        if let Some(chain) = error(entry.part()?)? {
            chains.push(chain_of(chain, chains.len(), None));
            continue;
        }
        if let Some(hook) = info.hook(&info.first, entry.at) {
            let base = base(name, Hook::OF_IP[hook]);
            chains.push(chain_of(
                name_of(Hook::OF_IP[hook]).to_owned(),
                chains.len(),
                Some(base),
            ));
        }
        let chain = chains.last_mut()?;
        if let Some(base) = &mut chain.base
            && info.hook(&info.policies, entry.at).is_some()
        {
            base.accepts = standard(entry.part()?)? != DROP;
            continue;
        }
        let (expressions, comment) = expressions(layout, entry, &places)?;
        chain.rules.push(Rule {
            handle: number,
            expressions,
            comment,
        });
    }
    // The last entry says that there are no more.
    chains.pop_if(|chain| chain.base.is_none() && chain.name == "ERROR");
    Some(Table {
        family: Family::of_ip(ipv6),
        name: attributes::name(name.as_bytes())?,
        legacy: true,
        dormant: false,
        chains,
        sets: Vec::new(),
    })
}

fn chain_of(name: String, before: usize, base: Option<BaseChain>) -> Chain {
    Chain {
        name,
        handle: before as u64 + 1,
        base,
        rules: Vec::new(),
    }
}

/// As iptables(8) calls the chain that is asked there.
pub fn name_of(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Input => "INPUT",
        Hook::Forward => "FORWARD",
        Hook::Output => "OUTPUT",
        _ => "POSTROUTING",
    }
}

/// `NF_IP_PRI_…` by the table that it is.
fn base(table: &str, hook: Hook) -> BaseChain {
    let source = matches!(hook, Hook::Input | Hook::Postrouting);
    let (priority, kind) = match table {
        "raw" => (-300, ChainKind::Filter),
        "mangle" if hook == Hook::Output => (-150, ChainKind::Route),
        "mangle" => (-150, ChainKind::Filter),
        "nat" if source => (100, ChainKind::Nat),
        "nat" => (-100, ChainKind::Nat),
        "security" => (50, ChainKind::Filter),
        _ => (0, ChainKind::Filter),
    };
    BaseChain {
        hook,
        priority,
        kind,
        accepts: true,
        devices: Vec::new(),
    }
}

fn entries<'a>(layout: &Layout, bytes: &'a [u8]) -> Option<Vec<Entry<'a>>> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let target = usize::from(short(rest, layout.target)?);
        let length = usize::from(short(rest, layout.target + 2)?);
        if target < layout.size || length < target + PART {
            return None;
        }
        all.push(Entry {
            at,
            bytes: rest.get(..length)?,
            target,
        });
        at += length;
    }
    Some(all)
}

/// The chains that rules lead to, by where they begin.
fn starts(entries: &[Entry<'_>]) -> Option<BTreeMap<usize, String>> {
    let mut places = BTreeMap::new();
    for entry in entries {
        if let Some(name) = error(entry.part()?)? {
            places.insert(entry.at + entry.bytes.len(), name);
        }
    }
    Some(places)
}

/// A match or a target.
struct Part<'a> {
    name: &'a [u8],
    revision: u8,
    info: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Its target.
    fn part(&self) -> Option<Part<'a>> {
        part(&self.bytes[self.target..])
    }
}

fn part(bytes: &[u8]) -> Option<Part<'_>> {
    let length = usize::from(short(bytes, 0)?);
    let name = bytes.get(2..2 + PART_NAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(Part {
        name,
        revision: *bytes.get(2 + PART_NAME)?,
        info: bytes.get(PART..length)?,
    })
}

/// The chain that begins behind it, where it is none of a rule's (XT_ERROR_TARGET).
fn error(part: Part<'_>) -> Option<Option<String>> {
    Some(match part.name {
        b"ERROR" => Some(attributes::name(part.info)?),
        _ => None,
    })
}

const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const QUEUE: i32 = -4;
const RETURN: i32 = -5;

/// XT_STANDARD_TARGET: a verdict, or the entry that is next.
fn standard(part: Part<'_>) -> Option<i32> {
    let verdict = part.info.first_chunk().filter(|_| part.name.is_empty())?;
    Some(i32::from_ne_bytes(*verdict))
}

fn expressions(
    layout: &Layout,
    entry: &Entry<'_>,
    places: &BTreeMap<usize, String>,
) -> Option<(Vec<Expression>, Option<Box<str>>)> {
    let mut all = header(layout, entry.bytes)?;
    let mut comment = None;
    let mut at = layout.size;
    while at < entry.target {
        let bytes = entry.bytes.get(at..entry.target)?;
        let length = usize::from(short(bytes, 0)?);
        if length < PART {
            return None;
        }
        let match_of = part(bytes)?;
        let one = xtables(&match_of, false)?;
        match is_comment(&one) {
            true => comment = attributes::text(match_of.info),
            false => all.push(one),
        }
        at += length;
    }
    let packets = entry.bytes.get(layout.counters..)?.first_chunk()?;
    all.push(Expression::Counter {
        packets: u64::from_ne_bytes(*packets),
    });
    let goes = entry.bytes.get(layout.flags)? & layout.goes != 0;
    let part = entry.part()?;
    if !part.name.is_empty() {
        all.push(xtables(&part, true)?);
        return Some((all, comment));
    }
    let verdict = match standard(part)? {
        DROP => Verdict::Drop,
        ACCEPT => Verdict::Accept,
        QUEUE => Verdict::Queue,
        RETURN => Verdict::Return,
        to => {
            let to = usize::try_from(to).ok()?;
            // It only counts.
            if to == entry.at + entry.bytes.len() {
                return Some((all, comment));
            }
            let chain = places.get(&to)?.clone();
            match goes {
                true => Verdict::Goto(chain),
                false => Verdict::Jump(chain),
            }
        }
    };
    all.push(Expression::Sets(Data::Verdict(verdict), WORD));
    Some((all, comment))
}

fn xtables(part: &Part<'_>, target: bool) -> Option<Expression> {
    Some(Expression::Xtables {
        target,
        name: attributes::name(part.name)?,
        revision: part.revision.into(),
        info: Bytes::from(part.info.to_vec()),
    })
}

/// What the packet's header must be (`ip_packet_match`, `ip6_packet_match`).
fn header(layout: &Layout, entry: &[u8]) -> Option<Vec<Expression>> {
    let (flags, turned) = (*entry.get(layout.flags)?, *entry.get(layout.turned)?);
    let part = |at: usize, length: usize| entry.get(at..at + length);
    let mut all = Vec::new();
    let (source, destination) = layout.in_packet;
    let length = layout.address;
    for (at, mask, offset, not) in [
        (layout.source, layout.source_mask, source, NOT_SOURCE),
        (
            layout.destination,
            layout.destination_mask,
            destination,
            NOT_DESTINATION,
        ),
    ] {
        let load = Load::Payload {
            base: Base::Network,
            offset,
            length: length as u8,
        };
        masked(
            &mut all,
            load,
            (part(at, length)?, part(mask, length)?),
            turned & not != 0,
        );
    }
    for (index, load, not) in [(0, Meta::IifName, NOT_IN), (1, Meta::OifName, NOT_OUT)] {
        let at = layout.devices + index * DEVICE;
        let (name, mask) = (part(at, DEVICE)?, part(at + 2 * DEVICE, DEVICE)?);
        let name: Vec<u8> = name
            .iter()
            .zip(mask)
            .map(|(name, mask)| name & mask)
            .collect();
        masked(&mut all, Load::Meta(load), (&name, mask), turned & not != 0);
    }
    let protocol = short(entry, layout.protocol)?;
    if protocol != 0 {
        let protocol = u8::try_from(protocol).ok()?;
        all.push(Expression::Load(Load::Meta(Meta::L4Protocol), WORD));
        all.push(compares(turned & NOT_PROTOCOL != 0, vec![protocol]));
    }
    /// IPT_F_FRAG; over IPv6 a match says so.
    const FRAGMENT: u8 = 1;
    if layout.address == 4 && flags & FRAGMENT != 0 {
        let load = Load::Payload {
            base: Base::Network,
            offset: 6,
            length: 2,
        };
        // `! -f` is every first one, and what is none.
        masked(
            &mut all,
            load,
            (&[0, 0], &[0x1f, 0xff]),
            turned & NOT_FRAGMENT == 0,
        );
    }
    Some(all)
}

/// Nothing where nothing is asked.
fn masked(all: &mut Vec<Expression>, load: Load, (value, mask): (&[u8], &[u8]), not: bool) {
    let asks = not || mask.iter().chain(value).any(|byte| *byte != 0);
    if !asks {
        return;
    }
    all.push(Expression::Load(load, WORD));
    all.push(Expression::Masks {
        from: WORD,
        to: WORD,
        mask: Bytes::from(mask.to_vec()),
        xor: Bytes::from(vec![0; mask.len()]),
    });
    all.push(compares(not, value.to_vec()));
}

fn compares(not: bool, with: Vec<u8>) -> Expression {
    Expression::Compare {
        how: if not {
            Compare::Unequal
        } else {
            Compare::Equal
        },
        reg: WORD,
        with: Bytes::from(with),
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}
