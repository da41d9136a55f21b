//! Why nobody answers where an address is looked for, as far as this node's own state tells.
use std::net::IpAddr;

use super::{below::Below, beside::Beside, flooded::Flooded, led::Led, shadow::Shadow};
use crate::{
    model::{
        node::{Link, PodSide},
        shell::CommandLine,
        verdict::{Evidence, Fix, Subject},
    },
    pipeline::facts::Facts,
    shared::{filtered::Filtered, held_port::HeldPort},
};

pub enum Why<'a> {
    Filtered(Filtered),
    Below(Below<'a>),
    Beside(Beside<'a>),
    Shadow(Shadow<'a>),
    Flooded(Flooded<'a>),
    Led(Led),
    Port(HeldPort<'a>),
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
        HeldPort::of(facts, address, asker)
            .map(Self::Port)
            .or_else(|| Below::of(facts, address, asker).map(Self::Below))
            .or_else(|| Beside::of(facts, (address, to), link).map(Self::Beside))
            .or_else(|| Shadow::of(facts, address).map(Self::Shadow))
            .or_else(|| {
                let own = link.filter(|_| asker.is_none());
                let flooded = own.and_then(|link| Flooded::by(facts, link));
                let flooded = flooded.or_else(|| Flooded::of(facts, address, asker));
                flooded.map(Self::Flooded)
            })
    }

    pub fn text(&self) -> String {
        match self {
            Self::Filtered(why) => why.text(),
            Self::Below(why) => why.text(),
            Self::Beside(why) => why.text(),
            Self::Shadow(why) => why.text(),
            Self::Flooded(why) => why.text(),
            Self::Led(why) => why.text(),
            Self::Port(why) => why.text(),
        }
    }

    /// What others rest on, too.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::Port(why) => Some(why.subject()),
            Self::Filtered(why) => why.subject(),
            _ => None,
        }
    }

    pub fn evidence(&self, facts: &Facts<'_>) -> Vec<Evidence> {
        match self {
            Self::Filtered(why) => why.evidence(facts),
            Self::Below(why) => vec![why.evidence()],
            Self::Beside(why) => vec![why.evidence()],
            Self::Shadow(why) => vec![why.evidence()],
            Self::Flooded(why) => vec![why.evidence()],
            Self::Led(why) => vec![why.evidence()],
            Self::Port(why) => vec![why.evidence()],
        }
    }

    pub fn fix(&self, look: Vec<CommandLine>) -> Fix {
        match self {
            Self::Filtered(why) => why.fix(),
            Self::Below(why) => why.fix(),
            Self::Beside(why) => why.fix(look),
            Self::Shadow(why) => why.fix(),
            Self::Flooded(why) => why.fix(),
            Self::Led(why) => why.fix(),
            Self::Port(why) => why.fix(),
        }
    }
}

#[cfg(test)]
mod tests;
