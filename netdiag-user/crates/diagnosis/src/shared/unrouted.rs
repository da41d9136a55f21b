//! Packets that no route of this node takes, and those among them whose address is of the range that the
//! CNI gave this node and no pod has: Calico keeps a refusing route for it.
use super::{
    local_pod_route,
    losses::{self, DropGroup},
};
use crate::{
    model::{
        flow,
        node::{Route, RouteKind},
        policy::{Chosen, Packet},
        roles::Role,
        services::Service,
        world::station::Station,
    },
    pipeline::facts::{Facts, Loss},
};
use std::net::IpAddr;

/// Packets to addresses of this node's own range that no pod has.
pub fn of_own_range<'a>(facts: &'a Facts<'_>) -> Vec<DropGroup<'a>> {
    let mut routes = facts.node.routes.iter();
    if !routes.any(|r| r.kind == RouteKind::Refusing) {
        return Vec::new();
    }
    let mut patterns = losses::patterns(facts, |l| is_unrouted(facts, l));
    patterns.retain(|p| is_own(facts, p));
    patterns
}

pub fn is_own(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let ruled = chosen(facts, pattern).rule().is_some();
    !ruled && own_range(facts, pattern.destination).is_some()
}

/// Dropped in this node's own namespace for lack of a route, as the kernel or its table says.
pub fn is_unrouted(facts: &Facts<'_>, loss: &Loss) -> bool {
    match loss.reason.as_str() {
        "IP_INNOROUTES" | "IP_OUTNOROUTES" => true,
        // Kernels before 6.4 give no reason for IPv4, and none gives one for a route that refuses. Rules and
        // tables are walked for what died there alone: a flood dies elsewhere.
        "NOT_SPECIFIED" if loss.key.netns == facts.node.netns => {
            let chosen = || chosen_for(facts, &packet(facts, loss));
            let unrouted = || !matches!(chosen(), Chosen::Route(_) | Chosen::Unknown);
            loss.is_at(Station::Route) && unrouted()
        }
        _ => false,
    }
}

/// As the rules see a lost packet.
pub fn packet(facts: &Facts<'_>, loss: &Loss) -> Packet {
    let link = facts.link(loss.key.ifindex);
    Packet {
        iif: link.map(|link| link.index),
        ..facts.packet_of(loss.flow())
    }
}

/// What rules and tables say of a pattern's packets.
pub fn chosen<'a>(facts: &Facts<'a>, pattern: &DropGroup<'_>) -> Chosen<'a> {
    match pattern.losses.first() {
        Some(loss) => chosen_for(facts, &packet(facts, loss)),
        None => Chosen::None,
    }
}

/// Where no rule that is understood refuses it, one that goes by its mark may.
fn chosen_for<'a>(facts: &Facts<'a>, packet: &Packet) -> Chosen<'a> {
    let ways = facts.ways();
    match ways.chosen(packet) {
        Chosen::Route(route) => ways.may_refuse(packet).unwrap_or(Chosen::Route(route)),
        other => other,
    }
}

/// The refusing route that a CNI sets for this node's own range: pods of this node are in it, and
/// no other node's are.
pub fn own_range<'a>(facts: &Facts<'a>, destination: IpAddr) -> Option<&'a Route> {
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
