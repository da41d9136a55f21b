//! # Symptom
//! "Network is unreachable", "No route to host", or silence: one network cannot be reached from
//! this node's pods, others can.
//!
//! # Mechanism
//! The node forwards a packet for which its routing table has no route, or one that refuses
//! (`unreachable`, `prohibit`, `blackhole`). A restart of the daemon that manages the links
//! flushes routes that it did not set; a lease ends and takes the default route along; a link
//! that goes down takes its IPv4 routes along for good.
//!
//! # Signals
//! Observed: drops with the reasons IP_INNOROUTES and IP_OUTNOROUTES, again and again for the same
//! destination, with no answer ever seen; NOT_SPECIFIED in the functions that only refusing routes
//! and missing ones lead to. Configured: what the routing table says of the destination.
//!
//! # Look-alikes
//! `forwarding-disabled` ends in the same function with the reason IP_INADDRERRORS. Where the
//! default route swallows what it should not, no packet is dropped here. A pod that tries IPv6
//! in a cluster without a way out for it is everyday.
//!
//! # By hand
//! `ip route get DESTINATION from POD iif LINK`; `nstat -az IpInNoRoutes Ip6InNoRoutes`.
//!
//! # Fix
//! Bring the route back: restart the CNI's agent, which sets those to other nodes' pods, or
//! configure the default route where it is lost.
use std::net::IpAddr;

use super::losses::{self, Pattern};
use crate::{
    model::{
        node::{Node, Route, RouteKind},
        roles::{Role, role},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::{Facts, Loss},
};

pub const ID: &str = "no-route";
pub const TITLE: &str = "this node has no route to where its pods' packets go";

/// Where packets without a usable route end, among others: kernels before 6.4 give no reason
/// there for IPv4, and none gives one for a route that refuses.
const REFUSED_IN: [&str; 6] = [
    "ip_error",
    "ip6_pkt_drop",
    "ip6_pkt_discard",
    "ip6_pkt_prohibit",
    "dst_discard",
    "dst_discard_out",
];

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut patterns = losses::patterns(facts, |l| is_unrouted(facts, l));
    patterns.retain(|p| !is_everyday(facts, p) && !is_over(facts, p));
    let worst = patterns.first()?;
    let summary = format!(
        "{} from {} cannot leave: {}; {} packets, none got through",
        worst.target(),
        worst.sender(facts),
        what_is_there(facts.node, worst.destination),
        worst.packets(),
    );
    // Somebody asks for pods that are gone; the CNI's route is there to say so.
    let own = |p: &Pattern<'_>| own_range(facts, p.destination).is_some();
    let severity = match patterns.iter().all(own) {
        true => Severity::Info,
        false => Severity::Warning,
    };
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    let mut asked: Vec<_> = patterns.iter().map(|p| p.destination).collect();
    asked.sort();
    asked.dedup();
    let lines = asked.iter().map(|to| route_evidence(facts.node, *to));
    finding.evidence.extend(lines);
    finding.fix = fix(facts, worst);
    Some(finding)
}

/// Dropped in this node's own namespace for want of a route, as the kernel or its table says.
fn is_unrouted(facts: &Facts<'_>, loss: &Loss) -> bool {
    match loss.reason.as_str() {
        "IP_INNOROUTES" | "IP_OUTNOROUTES" => true,
        "NOT_SPECIFIED" if loss.key.netns == facts.node.netns => {
            let (_, destination) = crate::model::flow::ends(loss.flow());
            REFUSED_IN.contains(&loss.symbol()) && usable(facts.node, destination).is_none()
        }
        _ => false,
    }
}

/// The route to the destination, unless there is none or it refuses.
fn usable(node: &Node, destination: IpAddr) -> Option<&Route> {
    let route = node.route_to(destination)?;
    (route.kind != RouteKind::Refusing).then_some(route)
}

/// Programs try IPv6 first wherever they have an address of it, in clusters that have no way
/// out for it too. Not so where there was a route when the run began, where a route was set to
/// refuse, or where answers are lost: somebody came by that way.
fn is_everyday(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let to = pattern.destination;
    to.is_ipv6()
        && !pattern.reply
        && facts.pods.by_address(to).is_none()
        && facts.node.route_to(to).is_none()
        && facts.start.route_to(to).is_none()
}

/// A route that is back makes up for what was lost without it: a NIC's routes go and come with its
/// carrier.
const OVER_NS: u64 = 2_000_000_000;

fn is_over(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    usable(facts.node, pattern.destination).is_some()
        && facts.now.saturating_sub(pattern.last()) > OVER_NS
}

/// The refusing route that a CNI sets for this node's own range: pods of this node are in it, and
/// no other node's are.
fn own_range<'a>(facts: &Facts<'a>, destination: IpAddr) -> Option<&'a Route> {
    let node = facts.node;
    let route = node.route_to(destination)?;
    let range = &route.destination;
    let inside = |address: &IpAddr| range.contains(*address);
    let mut pods = node.pod_sides.iter().flat_map(|s| &s.addresses);
    let elsewhere = |r: &&Route| {
        let link = r.oif.and_then(|oif| node.link(oif));
        r.kind == RouteKind::Unicast
            && r.destination.length > range.length
            && range.contains(r.destination.address)
            && link.is_some_and(|l| matches!(role(node, l), Some(Role::Tunnel | Role::Uplink)))
    };
    let known = facts.pods.by_address(destination).is_some();
    let own = route.kind == RouteKind::Refusing
        && range.length > 0
        && pods.any(inside)
        && !node.routes.iter().any(|r| elsewhere(&r))
        && !known;
    own.then_some(route)
}

fn what_is_there(node: &Node, destination: IpAddr) -> String {
    match node.route_to(destination) {
        None => format!("this node has no route to {destination}"),
        Some(route) if route.kind == RouteKind::Refusing => {
            format!("the route {} refuses it", route.destination)
        }
        // It came back meanwhile, or another table decides.
        Some(route) => format!("the kernel did not take the route {}", route.destination),
    }
}

fn route_evidence(node: &Node, destination: IpAddr) -> Evidence {
    let text = format!("{destination}: {}", what_is_there(node, destination));
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    line.at = Some(destination.to_string());
    line.confirm = Some(format!("ip route get {destination}"));
    line
}

fn fix(facts: &Facts<'_>, worst: &Pattern<'_>) -> Fix {
    let to = worst.destination;
    let family = if to.is_ipv4() { "" } else { "-6 " };
    if let Some(route) = own_range(facts, to) {
        return Fix {
            summary: format!(
                "{} is this node's own range of pod addresses, and no pod has {to}: find out who \
                 still asks for it",
                route.destination
            ),
            commands: vec![format!("ip {family}route show {}", route.destination)],
        };
    }
    let refusing = facts.node.route_to(to);
    if let Some(route) = refusing.filter(|r| r.kind == RouteKind::Refusing) {
        return Fix {
            summary: format!(
                "find out who set the refusing route {} and take it away",
                route.destination
            ),
            commands: vec![
                format!("ip {family}route show {}", route.destination),
                format!("ip {family}route del {}", route.destination),
            ],
        };
    }
    let before = facts.start.route_to(to).and_then(|r| command(facts, r));
    Fix {
        summary: format!(
            "bring back the route to {to}: another node's pods are routed by the CNI's agent \
             (restart it), the rest of the world by the default route",
        ),
        commands: match before {
            Some(command) => vec![command],
            None => vec![
                format!("ip {family}route show"),
                format!("ip route get {to}"),
            ],
        },
    }
}

/// Sets the route again that was there when the run began.
fn command(facts: &Facts<'_>, route: &Route) -> Option<String> {
    let link = facts.start.link(route.oif?)?;
    let near = |to: IpAddr| link.addresses.iter().any(|a| a.prefix.contains(to));
    // A tunnel's gateway is the other end, which no address of the tunnel says to be near.
    let far = route.gateway.is_some_and(|g| !near(g));
    let onlink = if far { " onlink" } else { "" };
    let via = route
        .gateway
        .map_or_else(String::new, |g| format!(" via {g}"));
    Some(format!(
        "ip route add {}{via} dev {}{onlink}",
        route.destination, link.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{POD, died, overlay_node, route, tcp, with_facts},
    };

    fn judge(to: &str, reason: &str, symbol: &str) -> Option<Finding> {
        let from = if to.contains(':') {
            "fd00::5"
        } else {
            "172.20.1.5"
        };
        let flow = tcp(from, to, 443);
        let observation = Observation {
            drops: vec![died(flow, (reason, symbol), POD, 4)],
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, evaluate)
    }

    #[test]
    fn the_reason_or_the_place_and_the_table_decide() {
        let found = judge("198.51.100.7", "IP_INNOROUTES", "ip_error").expect("a finding");
        assert!(found.summary.contains("no route to 198.51.100.7"));
        assert!(judge("198.51.100.7", "NOT_SPECIFIED", "ip_error").is_some());
        let routed = judge("172.20.2.9", "NOT_SPECIFIED", "ip_error");
        assert!(
            routed.is_none(),
            "there is a route, something else is wrong"
        );
        assert!(judge("198.51.100.7", "IP_INADDRERRORS", "ip_error").is_none());
    }

    #[test]
    fn a_route_that_is_back_makes_up_for_it() {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let lost_until = |now| Observation {
            drops: vec![died(flow, ("IP_INNOROUTES", "ip_error"), POD, 4)],
            now,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let named = |now| with_facts(&node, &lost_until(now), evaluate).is_some();
        assert!(named(3_000_000_000), "the last one was lost a second ago");
        assert!(!named(9_000_000_000));
    }

    #[test]
    fn a_cnis_own_blackhole_is_no_fault() {
        let flow = tcp("192.0.2.9", "172.20.1.77", 443);
        let observation = Observation {
            drops: vec![died(flow, ("NOT_SPECIFIED", "ip_error"), POD, 4)],
            ..Observation::default()
        };
        let severity = |range: &str| {
            let mut node = overlay_node(1450, 1450, 1500);
            let mut hole = route(range, POD, None);
            (hole.kind, hole.oif) = (RouteKind::Refusing, None);
            node.routes.push(hole);
            let found = with_facts(&node, &observation, evaluate).expect("a finding");
            (found.severity, found.fix.commands.join(" "))
        };
        let (own, commands) = severity("172.20.1.0/24");
        assert_eq!(own, Severity::Info);
        assert!(!commands.contains("del"), "{commands}");
        assert_eq!(severity("172.20.0.0/16").0, Severity::Warning);
    }

    #[test]
    fn trying_ipv6_is_everyday() {
        assert!(judge("2001:db8::7", "IP_INNOROUTES", "ip6_pkt_drop").is_none());
    }
}
