//! Commands that change a node (`ip`, `bridge`, `sysctl`, `nft`, `iptables`), carried out on what was read of it: nothing
//! is run, and no other file is read.
//!
//! The grammar is closed. A word that is not in it, a part of the node that was not read, and what the kernel would refuse
//! end a command, each with its own answer; a command that is taken was understood whole.
mod bridge;
mod device;
mod ip;
mod iptables;
mod nft;
mod packet;
mod sysctl;
#[cfg(test)]
mod tests;
mod words;

use netdiag_model::world::{Netns, Stack, World};

pub(crate) use words::Words;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A word of it is not in the grammar.
    Word(String),
    /// It ends where something more is due.
    Ends,
    /// That part of the node was not read, or not whole.
    NotRead,
    /// What it changes is no part of what ways are computed from.
    NotModelled,
    /// There is nothing that it could be about.
    Nothing,
    /// As the kernel says: what it would make is there.
    Exists,
    /// No link leads to the next hop, or the device is down.
    NoWay,
}

type Done = Result<(), Refused>;

/// Carries out a command in one namespace.
pub fn carry_out(world: &mut World, netns: Netns, command: &[&str]) -> Result<(), Refused> {
    let mut words = Words::of(command);
    let program = words.next()?;
    if program == "ip" || program == "bridge" {
        return ip::within(world, netns, program, words);
    }
    let stack = world.stacks.get_mut(&netns).ok_or(Refused::NotRead)?;
    match program {
        "sysctl" => sysctl::carry_out(stack, words),
        "nft" => nft::carry_out(stack, words),
        _ => iptables::carry_out(stack, program, words),
    }
}

fn stack(world: &mut World, netns: Netns) -> Result<&mut Stack, Refused> {
    world.stacks.get_mut(&netns).ok_or(Refused::NotRead)
}
