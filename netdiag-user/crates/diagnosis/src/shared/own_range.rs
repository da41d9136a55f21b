//! Packets without a way whose address is of the range that the CNI gave this node, and that no pod has: Calico keeps a
//! refusing route for it.
use std::net::IpAddr;

use super::{
    local_pod_route,
    losses::DropGroup,
    refused::{self, Case},
};
use crate::{
    model::{
        flow,
        node::{Route, RouteKind},
        roles::Role,
        services::Service,
        world::station::Station,
    },
    pipeline::facts::{Facts, Loss},
};

/// All of them.
pub fn asked<'f>(facts: &'f Facts<'_>) -> Vec<DropGroup<'f>> {
    let mut routes = facts.node.routes.iter();
    if !routes.any(|r| r.kind == RouteKind::Refusing) {
        return Vec::new();
    }
    let cases = refused::at(facts, Station::Route).into_iter();
    let own = cases.filter(|case| is_own(facts, case));
    own.map(|case| case.pattern).collect()
}

pub fn is_own(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    case.asked.rule().is_none() && of(facts, case.pattern.destination).is_some()
}

/// The refusing route that a CNI sets for this node's own range: pods of this node are in it, and
/// no other node's are.
pub fn of<'a>(facts: &Facts<'a>, destination: IpAddr) -> Option<&'a Route> {
    let node = facts.node;
    let route = facts.way(&facts.from_node(destination))?;
    let range = &route.destination;
    let inside = |address: &IpAddr| range.contains(*address);
    let mut pods = node.pod_sides.iter().flat_map(|s| &s.addresses);
    let elsewhere = |r: &&Route| {
        let link = r.oif.and_then(|oif| node.link(oif));
        r.kind == RouteKind::Unicast
            && r.destination.length > range.length
            && range.contains(r.destination.address)
            && link.is_some_and(|l| matches!(facts.role(l), Some(Role::Tunnel | Role::Uplink)))
    };
    let known = facts.pods.by_address(destination).is_some();
    let own = route.kind == RouteKind::Refusing
        && range.length > 0
        && pods.any(inside)
        && !node.routes.iter().any(|r| elsewhere(&r))
        && !known
        && local_pod_route::missing(facts, destination).is_none();
    own.then_some(route)
}

/// What was lost had been asked of another address, which this node translates.
pub fn is_translated(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let mut lost = pattern.losses.iter();
    !pattern.reply && lost.any(|l| facts.legs().origin(l.flow()).is_some())
}

/// Whether a Service's rule or entry sends them there.
pub fn is_a_services(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let Some(known) = facts.gathered.services() else {
        return false;
    };
    let backend = (pattern.destination, pattern.port);
    let named = |s: &Service| s.protocol == pattern.protocol && s.backends.contains(&backend);
    let asked = |loss: &&Loss| {
        let (asked, _) = facts.legs().origin(loss.flow())?;
        known.rule(flow::ends(&asked).1, asked.destination_port, asked.protocol)
    };
    let ruled = known.rules.iter().any(named);
    is_translated(facts, pattern) && (ruled || pattern.losses.iter().any(|l| asked(l).is_some()))
}
