//! A neighbour that is looked for on one link, and is behind another one.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        node::{Link, Route},
        verdict::Fix,
    },
    pipeline::facts::{Facts, Loss},
    shared::{losses::DropGroup, restoring},
    shell,
};

/// It is looked for on a link, by a route that says that it is there, and what it sends comes in by another one.
pub fn comes_by<'a>(
    facts: &Facts<'a>,
    pattern: &DropGroup<'_>,
    link: &Link,
) -> Option<(&'a Link, &'a Route)> {
    let sent = facts.from_to(pattern.source, pattern.destination);
    let route = facts.way(&sent)?;
    let near = route.gateway.is_none() && route.oif == Some(link.index);
    let back = |loss: &&Loss| facts.journeys().get(&loss.flow().reversed());
    let mut back = pattern.losses.iter().filter_map(back);
    let came = back.find_map(|journey| journey.hops.iter().find(|hop| !hop.egress()).copied())?;
    let by = facts
        .link(came.key.ifindex)
        .filter(|_| came.plain() && near)?;
    let same = [Some(by.index), by.master].contains(&Some(link.index));
    (!same).then_some((by, route))
}

/// It is behind another link than its route says.
pub fn fix(address: IpAddr, link: Option<&Link>, (by, route): (&Link, &Route)) -> Fix {
    let to = route.destination;
    let own = |link: &Link| link.addresses.iter().any(|a| a.prefix.contains(to.address));
    let of_the_link = link.is_some_and(own);
    let command = match of_the_link {
        // The link's own network: somebody of it is elsewhere.
        true => shell!("ip route get {}", address),
        false => restoring::delete(route).of_family(to.address.is_ipv6()),
    };
    Fix {
        summary: t!(
            "find out who set the route {to}: {} is behind {}; lead it there, or take that route away",
            address,
            by.name
        ),
        commands: vec![command],
    }
}
