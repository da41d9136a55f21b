//! Sets and what is in them (NFT_MSG_GETSET, NFT_MSG_GETSETELEM).
use super::{
    attributes::{self, name, number},
    expression,
};
use crate::{
    gather::netlink::{self, attribute},
    model::world::ruleset::{Bytes, Data, Element, Set, Verdict},
};

pub const TABLE: u16 = 1;
pub const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_LENGTH: u16 = 5;
const DESCRIPTION: u16 = 9;
const CONCATENATION: u16 = 2;
const FIELD_LENGTH: u16 = 1;
/// NFT_SET_…
const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const EVAL: u32 = 0x20;
const OBJECT: u32 = 0x40;

const ELEMENTS: u16 = 3;
const KEY: u16 = 1;
const DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const USER_DATA: u16 = 6;
const EXPRESSION: u16 = 7;
const KEY_END: u16 = 10;
const EXPRESSIONS: u16 = 11;
/// NFT_SET_ELEM_INTERVAL_END.
const GAP: u32 = 1;

pub fn set(message: &[u8]) -> Option<Set> {
    let flags = number(message, FLAGS).unwrap_or(0);
    let length = u8::try_from(number(message, KEY_LENGTH)?).ok()?;
    let described = attribute(message, DESCRIPTION).unwrap_or_default();
    let fields = attribute(described, CONCATENATION).unwrap_or_default();
    let fields = netlink::attributes(fields).filter_map(|(_, field)| number(field, FIELD_LENGTH));
    let parts: Vec<u8> = fields
        .filter_map(|bytes| u8::try_from(bytes).ok())
        .collect();
    Some(Set {
        name: name(attribute(message, NAME)?)?,
        intervals: flags & INTERVAL != 0,
        parts: if parts.is_empty() {
            vec![length]
        } else {
            parts
        },
        dynamic: flags & (TIMEOUT | EVAL) != 0,
        map: flags & (MAP | OBJECT) != 0,
        elements: Vec::new(),
        partly: false,
    })
}

/// Those of one message, as long as there may be more.
pub fn elements(set: &mut Set, message: &[u8], left: &mut usize, comments: bool) -> Option<()> {
    for (_, element) in netlink::attributes(attribute(message, ELEMENTS).unwrap_or_default()) {
        let Some(one) = left.checked_sub(1) else {
            set.partly = true;
            return None;
        };
        *left = one;
        set.elements.push(self::element(element, comments));
    }
    Some(())
}

/// To what a map's elements of one message lead.
pub fn verdicts(message: &[u8], left: &mut usize) -> Vec<Verdict> {
    let all = netlink::attributes(attribute(message, ELEMENTS).unwrap_or_default());
    let led = all.take(*left).filter_map(|(_, element)| {
        match expression::data(attribute(element, DATA)?)? {
            Data::Verdict(verdict) => Some(verdict),
            Data::Value(_) => None,
        }
    });
    let led: Vec<Verdict> = led.collect();
    *left = left.saturating_sub(led.len());
    led
}

fn element(of: &[u8], comments: bool) -> Element {
    let bytes = |kind| attribute(of, kind).and_then(expression::value);
    let all = attribute(of, EXPRESSIONS).map(expression::all);
    let one = attribute(of, EXPRESSION).map(|one| vec![expression::one(one)]);
    Element {
        key: bytes(KEY).map(Bytes::from),
        end: bytes(KEY_END).map(Bytes::from),
        gap: number(of, ELEMENT_FLAGS).unwrap_or(0) & GAP != 0,
        data: attribute(of, DATA).and_then(expression::data),
        expressions: all.or(one).unwrap_or_default(),
        comment: { attribute(of, USER_DATA).filter(|_| comments) }.and_then(attributes::comment),
    }
}
