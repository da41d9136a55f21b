//! Why nobody answers where an address is looked for, as far as this node's own state tells.
use std::net::IpAddr;

use super::{below::Below, beside::Beside, shadow::Shadow};
use crate::{
    model::{
        node::{Link, PodSide},
        shell::CommandLine,
        verdict::{Evidence, Fix},
    },
    pipeline::facts::Facts,
    shared::filtered::Filtered,
};

pub enum Why<'a> {
    Filtered(Filtered),
    Below(Below<'a>),
    Beside(Beside<'a>),
    Shadow(Shadow<'a>),
}

impl<'a> Why<'a> {
    /// Of an address on the way to somebody, looked for on a link, or by a pod in its own namespace.
    pub fn of(
        facts: &Facts<'a>,
        (address, to): (IpAddr, IpAddr),
        link: Option<&'a Link>,
        asker: Option<&'a PodSide>,
    ) -> Option<Self> {
        let askers = facts
            .node
            .links
            .iter()
            .filter(|l| asker.is_some_and(|asker| l.peer_netns == Some(asker.netns)));
        let links: Vec<u32> = link.into_iter().chain(askers).map(|l| l.index).collect();
        if let Some(filtered) = Filtered::of(facts, address, &links) {
            return Some(Self::Filtered(filtered));
        }
        Below::of(facts, address, asker)
            .map(Self::Below)
            .or_else(|| Beside::of(facts, (address, to), link).map(Self::Beside))
            .or_else(|| Shadow::of(facts, address).map(Self::Shadow))
    }

    pub fn text(&self) -> String {
        match self {
            Self::Filtered(why) => why.text(),
            Self::Below(why) => why.text(),
            Self::Beside(why) => why.text(),
            Self::Shadow(why) => why.text(),
        }
    }

    pub fn evidence(&self, facts: &Facts<'_>) -> Vec<Evidence> {
        match self {
            Self::Filtered(why) => why.evidence(facts),
            Self::Below(why) => vec![why.evidence()],
            Self::Beside(why) => vec![why.evidence()],
            Self::Shadow(why) => vec![why.evidence()],
        }
    }

    pub fn fix(&self, look: Vec<CommandLine>) -> Fix {
        match self {
            Self::Filtered(why) => why.fix(),
            Self::Below(why) => why.fix(),
            Self::Beside(why) => why.fix(look),
            Self::Shadow(why) => why.fix(),
        }
    }
}

#[cfg(test)]
mod tests;
