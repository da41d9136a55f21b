//! Where a packet should pass, as routes, forwarding entries and tunnels say.
use std::net::IpAddr;

use netdiag_common::hop::{EGRESS, INGRESS, IPIP, PLAIN, VXLAN};

use super::{facts::Facts, ways::routed_by};
use crate::model::{
    limits,
    node::{Link, LinkKind, Node, RouteKind},
    policy::Packet,
    roles::{Role, role},
};

/// A link, passed in one direction, encapsulated or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub ifindex: u32,
    pub direction: u8,
    pub carried: u8,
}

/// The places on this node that a packet passes in that order; empty where no route is known.
/// `translated`: the destination is the one behind a translation, so the packet goes up to the
/// node's stack whatever bridge joins both pods, unless bridged packets are translated too.
pub fn expected_path(
    facts: &Facts<'_>,
    source: IpAddr,
    destination: IpAddr,
    translated: bool,
) -> Vec<Place> {
    let node = facts.node;
    if let Some(places) = beside(facts, source, destination) {
        return places;
    }
    let (from, to) = (pod_link(facts, source), pod_link(facts, destination));
    // What netfilter translates while it is bridged does not go up either.
    let bridged = !translated || translates_bridged(node, destination);
    if let (Some(from), Some(to), true) = (from, to, bridged)
        && from.master.is_some()
        && from.master == to.master
    {
        return vec![place(from, INGRESS, PLAIN), place(to, EGRESS, PLAIN)];
    }
    let ends = Ends {
        source,
        destination,
    };
    let Some(out) = out(facts, (from, to), ends) else {
        return Vec::new();
    };
    let mut places = into(facts, (from, to), ends);
    places.extend(out);
    places.retain(|p| watched(node, p));
    places
}

fn translates_bridged(node: &Node, destination: IpAddr) -> bool {
    let name = match destination {
        IpAddr::V4(_) => "net.bridge.bridge-nf-call-iptables",
        IpAddr::V6(_) => "net.bridge.bridge-nf-call-ip6tables",
    };
    node.sysctl(name) == Some("1")
}

/// Where a packet comes from and where it goes, and the pods' links of both ends.
#[derive(Clone, Copy)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

type PodLinks<'a> = (Option<&'a Link>, Option<&'a Link>);

fn watched(node: &Node, place: &Place) -> bool {
    let link = node.link(place.ifindex);
    link.is_some_and(|l| role(node, l).is_some())
}

/// By the device that a pod without a link shares, past the node's stack: macvlan and ipvlan hand
/// over to it, and take from it. Nothing where both ends are others.
fn beside(facts: &Facts<'_>, source: IpAddr, destination: IpAddr) -> Option<Vec<Place>> {
    let node = facts.node;
    let side = |address: IpAddr| {
        let mut sides = node.linkless.iter();
        sides.find(|s| s.addresses.contains(&address))
    };
    let (from, to) = (side(source), side(destination));
    let side = from.or(to)?;
    let other = if from.is_some() { destination } else { source };
    let here =
        from.is_some() == to.is_some() || node.owns(other) || pod_link(facts, other).is_some();
    let lower = side.lower.and_then(|index| node.link(index));
    let direction = if from.is_some() { EGRESS } else { INGRESS };
    // What it has to do with this node itself, it has in ways that differ by mode.
    let lower = lower.filter(|_| !here);
    Some(
        lower
            .map(|l| place(l, direction, PLAIN))
            .into_iter()
            .collect(),
    )
}

/// The host side of a local pod's link.
pub fn pod_link<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<&'a Link> {
    let name = facts
        .pods
        .by_address(address)
        .and_then(|p| p.interface.as_ref());
    let by_name = name.and_then(|name| facts.node.links.iter().find(|l| l.name == *name));
    by_name.or_else(|| {
        let side = facts.pod_side_of(address)?;
        let mut links = facts.node.links.iter();
        links.find(|l| l.peer_netns == Some(side.netns) && facts.role(l) == Some(Role::Pod))
    })
}

/// Up to the node's stack.
fn into(facts: &Facts<'_>, (from, to): PodLinks<'_>, ends: Ends) -> Vec<Place> {
    let node = facts.node;
    if let Some(link) = from {
        return with_bridge(node, link, INGRESS);
    }
    if node.owns(ends.source) {
        return Vec::new();
    }
    // What comes from elsewhere comes by the way that leads there, as long as routing is symmetric.
    let back = Ends {
        source: ends.destination,
        destination: ends.source,
    };
    let mut back = beyond(facts, to, back, INGRESS).unwrap_or_default();
    back.reverse();
    back
}

/// From the node's stack on.
fn out(facts: &Facts<'_>, (from, to): PodLinks<'_>, ends: Ends) -> Option<Vec<Place>> {
    let node = facts.node;
    if let Some(link) = to {
        let mut places = with_bridge(node, link, EGRESS);
        places.reverse();
        return Some(places);
    }
    if node.owns(ends.destination) {
        return Some(Vec::new());
    }
    beyond(facts, from, ends, EGRESS)
}

/// A pod's link and the bridge that it is a port of.
fn with_bridge(node: &Node, link: &Link, direction: u8) -> Vec<Place> {
    let bridge = link.master.and_then(|index| node.link(index));
    let bridge = bridge.filter(|b| b.kind == LinkKind::Bridge);
    let bridge = bridge.map(|b| place(b, direction, PLAIN));
    [place(link, direction, PLAIN)]
        .into_iter()
        .chain(bridge)
        .collect()
}

/// The tunnel, if any, and the uplink towards an address that is not on this node: by the table that
/// policy rules choose.
fn beyond(facts: &Facts<'_>, from: Option<&Link>, ends: Ends, direction: u8) -> Option<Vec<Place>> {
    let node = facts.node;
    let packet = Packet {
        iif: from.map(|l| routed_by(node, l)),
        ..Packet::between(ends.source, ends.destination)
    };
    let chosen = facts.ways().chosen(&packet).usable();
    // Rules that refuse the way out say nothing of what comes in.
    let own = || facts.way(&facts.from_node(ends.destination));
    let comes = || own().filter(|_| direction == INGRESS);
    let route = chosen.or_else(comes);
    let route = route.filter(|r| r.kind == RouteKind::Unicast)?;
    let link = node.link(route.oif?)?;
    if !link.is_tunnel() {
        return Some(vec![place(link, direction, PLAIN)]);
    }
    let mut places = vec![place(link, direction, PLAIN)];
    let far = limits::remote(node, link, route.gateway);
    let under = limits::underlay(node, link, far).and_then(|(_, index)| node.link(index));
    if let (Some(under), Some(carried)) = (under, carried(&link.kind)) {
        places.push(place(under, direction, carried));
    }
    Some(places)
}

/// How the kernel side marks what it sees inside; other tunnels' packets are their outer flow's.
fn carried(kind: &LinkKind) -> Option<u8> {
    match kind {
        LinkKind::Vxlan => Some(VXLAN),
        LinkKind::Ipip => Some(IPIP),
        _ => None,
    }
}

fn place(link: &Link, direction: u8, carried: u8) -> Place {
    Place {
        ifindex: link.index,
        direction,
        carried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{node::PodSide, observation::Observation, policy::Action},
        testing::{OVERLAY, POD, UPLINK, ip, link, overlay_node, policy, route, with_facts},
    };

    fn places(node: &Node, from: &str, to: &str) -> Vec<(u32, u8, u8)> {
        with_facts(node, &Observation::default(), |facts| {
            let places = expected_path(facts, ip(from), ip(to), false);
            places
                .iter()
                .map(|p| (p.ifindex, p.direction, p.carried))
                .collect()
        })
    }

    #[test]
    fn a_remote_pod_is_behind_tunnel_and_uplink() {
        let node = overlay_node(1450, 1450, 1500);
        let there = [
            (POD, INGRESS, PLAIN),
            (OVERLAY, EGRESS, PLAIN),
            (UPLINK, EGRESS, VXLAN),
        ];
        assert_eq!(places(&node, "172.20.1.5", "172.20.2.9"), there);
        let back = [
            (UPLINK, INGRESS, VXLAN),
            (OVERLAY, INGRESS, PLAIN),
            (POD, EGRESS, PLAIN),
        ];
        assert_eq!(places(&node, "172.20.2.9", "172.20.1.5"), back);
    }

    #[test]
    fn pods_on_one_bridge_do_not_go_up_to_it() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links.push(link(9, "br0", LinkKind::Bridge, 1500));
        let mut other = link(10, "veth2", LinkKind::Veth, 1500).with_peer(77);
        (other.master, node.links[2].master) = (Some(9), Some(9));
        node.links.push(other);
        node.pod_sides.push(PodSide {
            netns: 77,
            addresses: vec![ip("172.20.1.6")],
            ..node.pod_sides[0].clone()
        });
        let direct = [(POD, INGRESS, PLAIN), (10, EGRESS, PLAIN)];
        assert_eq!(places(&node, "172.20.1.5", "172.20.1.6"), direct);
        let out = places(&node, "172.20.1.5", "172.20.2.9");
        assert_eq!(out[..2], [(POD, INGRESS, PLAIN), (9, INGRESS, PLAIN)]);
        let translated = |node: &Node| {
            with_facts(node, &Observation::default(), |facts| {
                expected_path(facts, ip("172.20.1.5"), ip("172.20.1.6"), true).len()
            })
        };
        assert_eq!(translated(&node), 4, "up to the bridge and back");
        let value = ("net.bridge.bridge-nf-call-iptables".into(), "1".into());
        node.sysctls.push(value);
        assert_eq!(translated(&node), 2);
    }

    #[test]
    fn a_pod_that_shares_a_device_goes_past_the_stack() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.linkless.push(PodSide {
            netns: 77,
            addresses: vec![ip("192.0.2.77")],
            lower: Some(UPLINK),
            ..PodSide::default()
        });
        let out = [(UPLINK, EGRESS, PLAIN)];
        assert_eq!(places(&node, "192.0.2.77", "198.51.100.1"), out);
        let back = [(UPLINK, INGRESS, PLAIN)];
        assert_eq!(places(&node, "198.51.100.1", "192.0.2.77"), back);
        assert_eq!(places(&node, "172.20.1.5", "192.0.2.77"), []);
        node.linkless[0].lower = None;
        assert_eq!(places(&node, "192.0.2.77", "198.51.100.1"), []);
    }

    #[test]
    fn the_rules_choose_the_table() {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut other = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
        other.table = 77;
        node.routes.push(other);
        let mut rule = policy(100, Action::Table(77), "from all iif cali1 lookup 77");
        rule.iif = Some("cali1".into());
        node.rules = vec![rule, policy(32_766, Action::Table(254), "lookup main")];
        let out = [(POD, INGRESS, PLAIN), (UPLINK, EGRESS, PLAIN)];
        assert_eq!(places(&node, "172.20.1.5", "172.20.2.9"), out);
    }

    #[test]
    fn without_a_route_nothing_is_expected() {
        let mut node = overlay_node(1450, 1450, 1500);
        assert_eq!(places(&node, "172.20.1.5", "198.51.100.7"), []);
        node.routes
            .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
        let out = [(POD, INGRESS, PLAIN), (UPLINK, EGRESS, PLAIN)];
        assert_eq!(places(&node, "172.20.1.5", "198.51.100.7"), out);
    }
}
