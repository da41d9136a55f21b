//! ip-neighbour(8).
use netdiag_model::world::{
    Stack,
    neighbour::{Neighbour, Proxied, State},
};

use super::Verb;
use crate::{
    Done, Refused, Words,
    device::{index, whole},
    words::unknown,
};

pub fn change(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    match verb {
        Verb::Flush => return flush(stack, words),
        _ if words.take("proxy") => return proxied(stack, verb, words),
        _ => {}
    }
    let address = words.address()?;
    let (mut device, mut mac, mut state) = (None, None, State::Permanent);
    while let Some(word) = words.more() {
        match word {
            "dev" => device = Some(index(stack, words.next()?)?),
            "lladdr" => mac = Some(words.mac()?),
            "nud" => state = self::state(words.next()?)?,
            other => return Err(unknown(other)),
        }
    }
    let device = device.ok_or(Refused::Ends)?;
    let all = whole(&mut stack.neighbours)?;
    let at = |entry: &Neighbour| (entry.device, entry.address) == (device, address);
    let there = all.iter().position(at);
    let made = Neighbour {
        device,
        address,
        mac,
        state,
    };
    match (verb, there) {
        (Verb::Delete, Some(at)) => drop(all.remove(at)),
        (Verb::Delete | Verb::Change, None) => return Err(Refused::Nothing),
        (Verb::Add, Some(_)) => return Err(Refused::Exists),
        (Verb::Replace | Verb::Change, Some(at)) => all[at] = made,
        (Verb::Add | Verb::Replace, None) => all.push(made),
        _ => return Err(Refused::NotModelled),
    }
    Ok(())
}

fn state(word: &str) -> Result<State, Refused> {
    Ok(match word {
        "permanent" => State::Permanent,
        "reachable" | "stale" | "delay" | "probe" => State::Valid,
        "noarp" => State::NoArp,
        "failed" => State::Failed,
        "incomplete" => State::Incomplete,
        other => return Err(unknown(other)),
    })
}

/// Those of a device, in a state; permanent ones stay where no state is said.
fn flush(stack: &mut Stack, mut words: Words<'_>) -> Done {
    let (mut device, mut wanted) = (None, None);
    while let Some(word) = words.more() {
        match word {
            "dev" => device = Some(index(stack, words.next()?)?),
            "nud" => wanted = Some(state(words.next()?)?),
            other => return Err(unknown(other)),
        }
    }
    let flushed = |entry: &Neighbour| match wanted {
        Some(state) => entry.state == state,
        None => !matches!(entry.state, State::Permanent | State::NoArp),
    };
    let all = whole(&mut stack.neighbours)?;
    all.retain(|entry| device.is_some_and(|device| entry.device != device) || !flushed(entry));
    Ok(())
}

fn proxied(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    let address = words.address()?;
    let device = match words.take("dev") {
        true => Some(index(stack, words.next()?)?),
        false => None,
    };
    words.end()?;
    let all = whole(&mut stack.proxied)?;
    let made = Proxied { device, address };
    let at = all.iter().position(|entry| *entry == made);
    match (verb, at) {
        (Verb::Delete, Some(at)) => drop(all.remove(at)),
        (Verb::Delete, None) => return Err(Refused::Nothing),
        (Verb::Add | Verb::Replace, None) => all.push(made),
        (Verb::Add | Verb::Replace, Some(_)) => {}
        _ => return Err(Refused::NotModelled),
    }
    Ok(())
}
