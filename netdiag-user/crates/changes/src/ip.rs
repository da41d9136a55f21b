//! ip(8) and bridge(8).
mod address;
mod link;
mod neighbour;
mod route;
mod rule;
mod xfrm;

use netdiag_model::world::{Netns, World};

use crate::{Done, Refused, Words, bridge, stack, words::unknown};

pub(crate) use address::{connected, routers};
pub(crate) use rule::protocol;

/// What a command does with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Append,
    Change,
    Replace,
    Delete,
    Flush,
    Set,
}

impl Verb {
    pub(crate) fn named(word: &str) -> Result<Self, Refused> {
        match word {
            "add" => Ok(Self::Add),
            "append" => Ok(Self::Append),
            "change" => Ok(Self::Change),
            "replace" => Ok(Self::Replace),
            "del" | "delete" => Ok(Self::Delete),
            "flush" => Ok(Self::Flush),
            "set" => Ok(Self::Set),
            other => Err(unknown(other)),
        }
    }
}

pub(crate) fn within(world: &mut World, netns: Netns, program: &str, mut words: Words<'_>) -> Done {
    let ipv6 = match words.peek() {
        Some("-6") => Some(true),
        Some("-4") => Some(false),
        _ => None,
    };
    if ipv6.is_some() {
        words.next()?;
    }
    let object = words.next()?;
    if (program, object) == ("ip", "xfrm") {
        return xfrm::change(stack(world, netns)?, words);
    }
    let verb = Verb::named(words.next()?)?;
    if (program, object) == ("ip", "link") {
        return link::change(world, netns, verb, words);
    }
    let stack = stack(world, netns)?;
    match (program, object) {
        ("bridge", "link") => bridge::link(stack, verb, words),
        ("bridge", "fdb") => bridge::fdb(stack, verb, words),
        ("bridge", "vlan") => bridge::vlan(stack, verb, words),
        ("ip", "route") => route::change(stack, (verb, ipv6), words),
        ("ip", "rule") => rule::change(stack, (verb, ipv6), words),
        ("ip", "neighbour" | "neigh") => neighbour::change(stack, verb, words),
        ("ip", "address" | "addr") => address::change(stack, verb, words),
        (_, other) => Err(unknown(other)),
    }
}
