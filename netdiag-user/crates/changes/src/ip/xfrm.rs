//! ip-xfrm(8), of policies.
use netdiag_model::world::{Stack, ipsec::Direction};

use crate::{Done, Refused, Words, device::whole, words::unknown};

/// `ip xfrm policy delete src PREFIX dst PREFIX dir DIR`.
pub fn change(stack: &mut Stack, mut words: Words<'_>) -> Done {
    match (words.next()?, words.next()?) {
        ("policy", "delete" | "del") => {}
        ("policy" | "state", _) => return Err(Refused::NotModelled),
        (other, _) => return Err(unknown(other)),
    }
    let (mut from, mut to, mut direction) = (None, None, None);
    while let Some(word) = words.more() {
        match word {
            "src" => from = Some(words.prefix()?),
            "dst" => to = Some(words.prefix()?),
            "dir" => direction = Some(self::direction(words.next()?)?),
            other => return Err(unknown(other)),
        }
    }
    let (from, to) = (from.ok_or(Refused::Ends)?, to.ok_or(Refused::Ends)?);
    let direction = direction.ok_or(Refused::Ends)?;
    let policies = &mut whole(&mut stack.ipsec)?.policies;
    let is = |of: &netdiag_model::world::ipsec::IpsecPolicy| {
        (of.from, of.to, of.direction) == (from, to, direction)
    };
    let at = policies.iter().position(is);
    policies.remove(at.ok_or(Refused::Nothing)?);
    Ok(())
}

fn direction(word: &str) -> Result<Direction, Refused> {
    Ok(match word {
        "in" => Direction::In,
        "out" => Direction::Out,
        "fwd" => Direction::Forward,
        other => return Err(unknown(other)),
    })
}
