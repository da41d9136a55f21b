//! What left this node by another link than who asked expects, or with the address of another one: whoever tracks
//! connections there, or filters by source, has not heard of it (RFC 2827).
use std::net::IpAddr;

use netdiag_lang::t;

use super::Symptom;
use crate::{
    model::{
        flow::ends,
        node::{Link, LinkKind},
        roles::Role,
    },
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::{Facts, HopFlow},
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn<'a> {
    /// The request came in by one uplink, or a pod's link, and the answer leaves by another uplink.
    Link { came: &'a Link, left: &'a Link },
    /// It left by one uplink with an address that belongs to another.
    Source {
        left: &'a Link,
        owner: &'a Link,
        source: IpAddr,
    },
}

impl<'a> Turn<'a> {
    pub fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        by_another(facts, symptom).or_else(|| with_anothers(facts, symptom))
    }

    pub fn text(self) -> String {
        match self {
            Self::Link { came, left } => t!(
                "the request came in by {} and the answer leaves by {}",
                came.name,
                left.name
            ),
            Self::Source {
                left,
                owner,
                source,
            } => t!(
                "it left by {} with the source {source}, which is the address of {}",
                left.name,
                owner.name
            ),
        }
    }

    /// The link by which it was to leave.
    pub fn owed(self) -> &'a Link {
        match self {
            Self::Link { came, .. } => came,
            Self::Source { owner, .. } => owner,
        }
    }

    pub fn left(self) -> &'a Link {
        match self {
            Self::Link { left, .. } | Self::Source { left, .. } => left,
        }
    }

    /// Whether others that went so got through: then nobody minds.
    pub fn is_fine_for_others(self, facts: &Facts<'_>) -> bool {
        let all = facts.attempts().iter().flat_map(|all| all.tries.iter());
        let mut works = all.filter(|tried| match self {
            Self::Link { .. } => tried.opened(),
            Self::Source { .. } => matches!(tried.outcome, Outcome::Accepted | Outcome::Refused),
        });
        works.any(|tried| self.went_so(facts, tried))
    }

    fn went_so(self, facts: &Facts<'_>, tried: &Connection<'_>) -> bool {
        let at = |h: &HopFlow, link: &Link, egress: bool| {
            h.egress() == egress && facts.link(h.key.ifindex).is_some_and(|l| are_one(l, link))
        };
        match self {
            Self::Link { came, left } => {
                let mut requests = tried.requests.iter();
                let mut answers = tried.answers.iter();
                requests.any(|h| at(h, came, false)) && answers.any(|h| at(h, left, true))
            }
            Self::Source { left, source, .. } => {
                let own = ends(&tried.flow).0 == source;
                own && tried.requests.iter().any(|h| at(h, left, true))
            }
        }
    }
}

fn by_another<'a>(facts: &Facts<'a>, symptom: &Symptom) -> Option<Turn<'a>> {
    let last = symptom.last.as_ref().filter(|_| symptom.answers)?;
    let requests = facts.journeys().get(&last.flow().reversed())?;
    let outer = |h: &&&HopFlow| matches!(h.role, Some(Role::Uplink | Role::Pod)) && !h.egress();
    let came: Vec<&HopFlow> = requests.hops.iter().filter(outer).copied().collect();
    let by = facts.link(came.first()?.key.ifindex)?;
    let left = facts.link(last.key.ifindex)?;
    let same = |h: &&HopFlow| {
        facts
            .link(h.key.ifindex)
            .is_none_or(|link| are_one(link, left))
    };
    let other = last.role == Some(Role::Uplink) && !came.iter().any(same);
    other.then_some(Turn::Link { came: by, left })
}

fn with_anothers<'a>(facts: &Facts<'a>, symptom: &Symptom) -> Option<Turn<'a>> {
    let last = symptom.last.as_ref()?;
    let (source, _) = ends(last.flow());
    let left = facts.link(last.key.ifindex).filter(|_| last.plain())?;
    let has = |l: &&Link| l.addresses.iter().any(|a| a.prefix.address == source);
    let owner = facts.node.links.iter().find(has)?;
    let uplink = |l: &Link| facts.role(l) == Some(Role::Uplink) && l.kind != LinkKind::Loopback;
    let other = uplink(owner) && uplink(left) && !are_one(owner, left);
    other.then_some(Turn::Source {
        left,
        owner,
        source,
    })
}

/// One is a VLAN or a port of the other.
fn are_one(one: &Link, other: &Link) -> bool {
    // The number of a veth's other end may be one of another namespace.
    let below = |l: &Link| [l.link.filter(|_| l.kind == LinkKind::Vlan), l.master];
    one.index == other.index
        || below(one).contains(&Some(other.index))
        || below(other).contains(&Some(one.index))
}
