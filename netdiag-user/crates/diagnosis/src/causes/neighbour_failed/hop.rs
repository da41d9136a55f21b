//! The next hop that was not found, with all that this node's state says of it.
use std::net::IpAddr;

use super::{elsewhere, flooded::Flooded, led::Led, why::Why};
use crate::{
    model::node::{Link, LinkKind, Neighbour, PodSide, Route, RouteKind},
    pipeline::facts::{Facts, Loss},
    shared::{
        isolation::{self, Isolation},
        local_pod_route,
        losses::DropGroup,
    },
};

/// What is missing.
pub enum Missing {
    /// Nobody answers.
    Answer,
    /// The tunnel device has no neighbour entry.
    Neighbour,
    /// The tunnel device has no forwarding entry for the neighbour's address.
    Forwarding(Vec<u8>),
}

/// The next hop that was not found.
pub struct Hop<'a> {
    pub address: IpAddr,
    pub link: Option<&'a Link>,
    pub missing: Missing,
    /// The asker and it are kept apart on their bridge.
    pub apart: Option<Isolation>,
    /// The link of the pod of this node that has the address, where its routes lead elsewhere.
    pub behind: Option<&'a Link>,
    /// That link, where it is switched off.
    pub off: Option<&'a Link>,
    /// The other link by which its own packets come in, with the route that leads elsewhere.
    pub comes: Option<(&'a Link, &'a Route)>,
    /// What else this node's state says of it.
    pub why: Option<Why<'a>>,
    /// The namespace of the pod of this node that asked.
    pub asker: Option<&'a PodSide>,
}

/// The link of this node on which it was lost.
pub fn link_of<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<&'a Link> {
    let own = loss.key.netns == facts.node.netns;
    facts.link(loss.key.ifindex).filter(|_| own)
}

/// The gateway by which a link leads there, whichever table or next hop of several says so: the one that
/// was not found, where one was.
pub fn next_hop_by(facts: &Facts<'_>, link: &Link, to: IpAddr) -> Option<IpAddr> {
    let by = |r: &&Route| {
        let here = r.kind == RouteKind::Unicast && r.oif == Some(link.index);
        here && r.destination.contains(to)
    };
    let routes = || facts.node.routes.iter().filter(by);
    let length = routes().map(|r| r.destination.length).max()?;
    let gateways = || {
        let best = routes().filter(|r| r.destination.length == length);
        best.filter_map(|r| r.gateway)
    };
    let found = |address: IpAddr| {
        let mut entries = neighbours(facts, Some(link));
        entries.any(|n| n.address == address && n.lladdr.is_some() && !n.failed)
    };
    gateways()
        .find(|g| !found(*g))
        .or_else(|| gateways().next())
}

/// The gateway by which the pod that asked leads there, or this node.
fn led_by(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<IpAddr> {
    let own = died_in(facts, pattern).and_then(|side| side.way(pattern.destination));
    match own {
        Some((_, gateway)) => gateway,
        None => {
            facts
                .way(&facts.from_to(pattern.source, pattern.destination))?
                .gateway
        }
    }
}

pub fn hop<'a>(facts: &Facts<'a>, pattern: &DropGroup<'_>) -> Hop<'a> {
    let link = pattern.losses.iter().find_map(|l| link_of(facts, l));
    let gateway = match link {
        Some(link) => next_hop_by(facts, link, pattern.destination),
        None => led_by(facts, pattern),
    };
    let address = gateway.unwrap_or(pattern.destination);
    // Where it has others to ask, it asks them.
    let asks = |l: &'a Link| Flooded::by(facts, l).is_some();
    let overlay = link.is_some_and(|l| l.kind == LinkKind::Vxlan && !asks(l));
    let entry = neighbours(facts, link).find(|n| n.address == address);
    let missing = match entry.and_then(|n| n.lladdr.clone()) {
        Some(lladdr) if overlay => Missing::Forwarding(lladdr),
        None if overlay => Missing::Neighbour,
        _ => Missing::Answer,
    };
    let behind = local_pod_route::missing(facts, address)
        .filter(|it| Some(it.index) != link.map(|l| l.index));
    let asker = died_in(facts, pattern);
    // A pod of this node is led to by its own route.
    let another = link.filter(|_| behind.is_none());
    let led = || Led::of(facts, pattern, address, link).map(Why::Led);
    Hop {
        address,
        link,
        missing,
        apart: isolation::between(facts, pattern.source, address),
        behind,
        off: local_pod_route::switched_off(facts, address),
        why: Why::of(facts, (address, pattern.destination), link, asker).or_else(led),
        comes: another.and_then(|link| elsewhere::comes_by(facts, pattern, link)),
        asker,
    }
}

/// The pod whose own question it was.
fn died_in<'a>(facts: &Facts<'a>, pattern: &DropGroup<'_>) -> Option<&'a PodSide> {
    let mut lost = pattern.losses.iter();
    lost.find_map(|l| facts.node.pod_side(l.key.netns))
}

pub fn neighbours<'a>(
    facts: &Facts<'a>,
    link: Option<&Link>,
) -> impl Iterator<Item = &'a Neighbour> {
    let index = link.map(|l| l.index);
    let neighbours = facts.node.neighbours.iter();
    neighbours.filter(move |n| index.is_none_or(|i| n.ifindex == i))
}
