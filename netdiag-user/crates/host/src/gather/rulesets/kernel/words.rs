//! How a rule reads, out of the kernel's own registers and comparisons (net/netfilter/nft_*.c): in
//! nft's words, as far as they are the usual ones. For chains so long that nft would take seconds
//! and hundreds of MiB to list the one rule that matters.
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{DROP, EXPRESSION_DATA, EXPRESSION_NAME, text, u32_of, u64_of};
use crate::{
    gather::netlink::{attribute, attributes},
    model::{
        flow::{self, TCP, UDP},
        netfilter::Family,
    },
};

/// NFTA_PAYLOAD_…, NFTA_META_…, NFTA_CT_…, NFTA_CMP_…, NFTA_BITWISE_…, NFTA_LOOKUP_…
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
/// Both of meta's and ct's; a key without it is written, not read.
const DESTINATION: u16 = 1;
const KEY: u16 = 2;
const OPERATOR: u16 = 2;
const COMPARED: u16 = 3;
const RANGE_TO: u16 = 4;
const MASK: u16 = 4;
const SET: u16 = 1;
const SET_FLAGS: u16 = 5;
/// NFTA_DATA_VALUE.
const VALUE: u16 = 1;
const XT_NAME: u16 = 1;
/// Expressions of one rule that are looked at.
const MOST: usize = 64;

/// What was loaded into a register.
#[derive(Clone, Debug)]
struct Loaded {
    name: String,
    kind: Kind,
    mask: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of so many bytes; a prefix loads fewer.
    Address(usize),
    Number,
    Protocol,
    /// NFPROTO_…, or an ethertype.
    Layer3,
    Name,
    States,
    Other,
}

struct Words {
    ipv6: Option<bool>,
    protocol: Option<u8>,
    /// The protocol, while no selector of its own has said it.
    unsaid: Option<u8>,
    loaded: Vec<Loaded>,
    /// With what was compared last; a range's two ends are compared one after the other.
    compared: Option<Loaded>,
    words: Vec<String>,
}

/// The rule's selectors and what it does.
pub fn of(family: Family, expressions: &[u8]) -> String {
    let mut words = Words {
        ipv6: match family {
            Family::Ip => Some(false),
            Family::Ip6 => Some(true),
            _ => None,
        },
        protocol: None,
        unsaid: None,
        loaded: Vec::new(),
        compared: None,
        words: Vec::new(),
    };
    for (_, expression) in attributes(expressions).take(MOST) {
        let name = attribute(expression, EXPRESSION_NAME).map(text);
        let data = attribute(expression, EXPRESSION_DATA).unwrap_or_default();
        if let Some(name) = name {
            words.read(&name, data);
        }
    }
    words.say_protocol();
    words.words.join(" ")
}

impl Words {
    fn read(&mut self, name: &str, data: &[u8]) {
        match name {
            "payload" => self.payload(data),
            "meta" => self.meta(data),
            "ct" => self.ct(data),
            "bitwise" => self.bitwise(data),
            "cmp" => self.compare(data),
            "range" => self.range(data),
            "lookup" => self.lookup(data),
            "counter" => {
                let count = |kind| attribute(data, kind).and_then(u64_of).unwrap_or(0);
                self.say(format!("counter packets {} bytes {}", count(2), count(1)));
            }
            "immediate" => {
                let verdict = attribute(data, 2).and_then(|d| attribute(d, 2));
                let code = verdict.and_then(|v| attribute(v, 1)).and_then(u32_of);
                self.say(match code == Some(DROP) {
                    true => "drop",
                    false => "immediate",
                });
            }
            "match" | "target" => {
                let of = attribute(data, XT_NAME).map(text).unwrap_or_default();
                self.say(format!("xt {name} \"{of}\""));
            }
            other => self.say(other.to_owned()),
        }
    }

    fn say(&mut self, word: impl Into<String>) {
        self.say_protocol();
        self.words.push(word.into());
    }

    /// A protocol stands before its port, or alone.
    fn say_protocol(&mut self) {
        if let Some(protocol) = self.unsaid.take() {
            let word = format!("meta l4proto {}", flow::protocol(protocol));
            self.words.push(word);
        }
    }

    fn load(&mut self, name: impl Into<String>, kind: Kind) {
        self.loaded.push(Loaded {
            name: name.into(),
            kind,
            mask: None,
        });
    }

    fn payload(&mut self, data: &[u8]) {
        let number = |kind| attribute(data, kind).and_then(u32_of);
        let (Some(base), Some(offset), Some(length)) = (
            number(PAYLOAD_BASE),
            number(PAYLOAD_OFFSET),
            number(PAYLOAD_LENGTH),
        ) else {
            return self.say("payload");
        };
        let bytes = length as usize;
        match (base, self.ipv6, offset, length) {
            (1, Some(false), 9, 1) => self.load("ip protocol", Kind::Protocol),
            (1, Some(false), 12, ..=4) => self.load("ip saddr", Kind::Address(4)),
            (1, Some(false), 16, ..=4) => self.load("ip daddr", Kind::Address(4)),
            (1, Some(true), 6, 1) => self.load("ip6 nexthdr", Kind::Protocol),
            (1, Some(true), 8, ..=16) => self.load("ip6 saddr", Kind::Address(16)),
            (1, Some(true), 24, ..=16) => self.load("ip6 daddr", Kind::Address(16)),
            (2, _, 0, 2) => self.port("sport"),
            (2, _, 2, 2) => self.port("dport"),
            // nft's raw selectors, in bits.
            (0..=2, ..) => {
                let base = ["ll", "nh", "th"][base as usize];
                let (offset, bits) = (offset.saturating_mul(8), bytes.saturating_mul(8));
                self.load(format!("@{base},{offset},{bits}"), Kind::Other);
            }
            _ => self.load("payload", Kind::Other),
        }
    }

    fn port(&mut self, side: &str) {
        let protocol = match self.protocol {
            Some(protocol @ (TCP | UDP | 132)) => {
                self.unsaid = None;
                flow::protocol(protocol)
            }
            _ => "th".into(),
        };
        self.load(format!("{protocol} {side}"), Kind::Number);
    }

    fn meta(&mut self, data: &[u8]) {
        let key = attribute(data, KEY).and_then(u32_of);
        if attribute(data, DESTINATION).is_none() {
            return self.say("meta set");
        }
        match key {
            Some(1) => self.load("meta protocol", Kind::Layer3),
            Some(3) => self.load("meta mark", Kind::Other),
            Some(6) => self.load("iifname", Kind::Name),
            Some(7) => self.load("oifname", Kind::Name),
            Some(15) => self.load("meta nfproto", Kind::Layer3),
            Some(16) => self.load("meta l4proto", Kind::Protocol),
            Some(key) => self.load(format!("meta key {key}"), Kind::Other),
            None => self.say("meta"),
        }
    }

    fn ct(&mut self, data: &[u8]) {
        match attribute(data, KEY).and_then(u32_of) {
            Some(_) if attribute(data, DESTINATION).is_none() => self.say("ct set"),
            Some(0) => self.load("ct state", Kind::States),
            Some(key) => self.load(format!("ct key {key}"), Kind::Other),
            None => self.say("ct"),
        }
    }

    fn bitwise(&mut self, data: &[u8]) {
        let mask = attribute(data, MASK).and_then(|m| attribute(m, VALUE));
        if let (Some(last), Some(mask)) = (self.loaded.last_mut(), mask) {
            last.mask = Some(mask.to_vec());
        }
    }

    fn compare(&mut self, data: &[u8]) {
        let operator = attribute(data, OPERATOR).and_then(u32_of);
        let value = attribute(data, COMPARED).and_then(|d| attribute(d, VALUE));
        let (Some(operator), Some(value)) = (operator, value) else {
            return self.say("cmp");
        };
        let Some(loaded) = self.loaded.pop().or_else(|| self.compared.take()) else {
            return self.say("cmp");
        };
        self.loaded.clear();
        self.compared = Some(loaded.clone());
        match (loaded.kind, operator) {
            (Kind::Layer3, 0) => {
                self.ipv6 = match value {
                    [2] | [8, 0] => Some(false),
                    [10] | [0x86, 0xdd] => Some(true),
                    _ => None,
                };
                // What follows says which it is, and a rule of one family needs no word.
                if self.ipv6.is_none() {
                    self.say(format!("{} {}", loaded.name, hex(value)));
                }
            }
            (Kind::Protocol, 0) => {
                self.say_protocol();
                self.protocol = value.first().copied();
                self.unsaid = self.protocol;
            }
            (Kind::States, 1) if value.iter().all(|byte| *byte == 0) => {
                let states = states(loaded.mask.as_deref().unwrap_or_default());
                self.say(format!("ct state {states}"));
            }
            // The other end of a range.
            (_, 3) if self.begins(&loaded.name) => {
                let from = self.words.pop().unwrap_or_default().replace(">= ", "");
                self.say(format!("{from}-{}", spelled(&loaded, value)));
            }
            _ => {
                let value = spelled(&loaded, value);
                // NFT_CMP_…
                let operators = ["", "!= ", "< ", "<= ", "> ", ">= "];
                let operator = operators.get(operator as usize).unwrap_or(&"? ");
                self.say(format!("{} {operator}{value}", loaded.name));
            }
        }
    }

    fn begins(&self, name: &str) -> bool {
        let last = self.words.last().and_then(|word| word.strip_prefix(name));
        last.is_some_and(|rest| rest.starts_with(" >= "))
    }

    fn range(&mut self, data: &[u8]) {
        let value = |kind| attribute(data, kind).and_then(|d| attribute(d, VALUE));
        let loaded = self.loaded.pop();
        self.loaded.clear();
        let (Some(loaded), Some(from), Some(to)) = (loaded, value(COMPARED), value(RANGE_TO))
        else {
            return self.say("range");
        };
        let not = attribute(data, OPERATOR).and_then(u32_of) == Some(1);
        let (from, to) = (spelled(&loaded, from), spelled(&loaded, to));
        let not = if not { "!= " } else { "" };
        self.say(format!("{} {not}{from}-{to}", loaded.name));
    }

    fn lookup(&mut self, data: &[u8]) {
        let set = attribute(data, SET).map(text).unwrap_or_default();
        let not = attribute(data, SET_FLAGS).and_then(u32_of).unwrap_or(0) & 1 == 1;
        let not = if not { "!= " } else { "" };
        let names: Vec<String> = self.loaded.drain(..).map(|l| l.name).collect();
        self.say(format!("{} {not}@{set}", names.join(" . ")));
    }
}

/// A value as the selector has it: a prefix where only so many bits are compared.
fn spelled(loaded: &Loaded, value: &[u8]) -> String {
    match (loaded.kind, value) {
        (Kind::Address(size), bytes) if bytes.len() <= size => {
            let bits = match &loaded.mask {
                Some(mask) => prefix(mask).unwrap_or(bytes.len() * 8),
                None => bytes.len() * 8,
            };
            address(size, bytes, bits)
        }
        (Kind::Number, [high, low]) => u16::from_be_bytes([*high, *low]).to_string(),
        (Kind::Protocol, [number]) => flow::protocol(*number),
        (Kind::Name, name) => format!("\"{}\"", text(name)),
        (Kind::States, bits) => states(bits),
        (_, bytes) => hex(bytes),
    }
}

fn address(size: usize, bytes: &[u8], bits: usize) -> String {
    let mut whole = [0; 16];
    whole[..bytes.len()].copy_from_slice(bytes);
    let address = match size {
        4 => Ipv4Addr::from([whole[0], whole[1], whole[2], whole[3]]).to_string(),
        _ => Ipv6Addr::from(whole).to_string(),
    };
    match bits < size * 8 {
        true => format!("{address}/{bits}"),
        false => address,
    }
}

/// How many bits a mask has from the left; none of one that has others.
fn prefix(mask: &[u8]) -> Option<usize> {
    let ones: usize = mask.iter().map(|byte| byte.count_ones() as usize).sum();
    let leading: usize = mask.iter().take_while(|byte| **byte == 0xff).count();
    let rest = mask.get(leading).map_or(0, |byte| byte.leading_ones());
    (leading * 8 + rest as usize == ones).then_some(ones)
}

/// Bits of the node's own byte order (NF_CT_STATE_BIT).
fn states(bits: &[u8]) -> String {
    const STATES: [(u32, &str); 5] = [
        (1, "invalid"),
        (2, "established"),
        (4, "related"),
        (8, "new"),
        (64, "untracked"),
    ];
    let bits = bits.try_into().map_or(0, u32::from_ne_bytes);
    let named = STATES.iter().filter(|(bit, _)| bits & bit != 0);
    let named: Vec<&str> = named.map(|(_, name)| *name).collect();
    named.join(",")
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("0x{}", digits.collect::<String>())
}
