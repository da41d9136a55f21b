//! # Symptom
//! A host is reached and not reached by turns: connections to it stall for some seconds, are
//! reset, and work again, without a pattern that any configuration explains.
//!
//! # Mechanism
//! Two hosts on one network hold the same address, one by hand and one by DHCP, say, or a machine
//! that was cloned. Both answer for it (ARP, RFC 826; neighbour discovery, RFC 4861), and
//! whichever spoke last has the traffic.
//!
//! # Signals
//! Observed: the kernel's neighbour entry for one address changes between two link-layer
//! addresses, back and forth, during the run; requests to that address, or tunnelled to it, that
//! get no answer. A fail-over moves an address once, and perhaps back.
//!
//! # Look-alikes
//! One host with two NICs on one network answers by both (ARP flux: arp_ignore=1 there); a
//! fail-over that cannot make up its mind (two VRRP masters that do not hear each other). That
//! another host has an address of this node itself shows only on the other hosts.
//!
//! # By hand
//! `ip monitor neighbour`, and `arping -I LINK ADDRESS`: answers with two MACs. The switch's
//! table of MACs tells the ports.
//!
//! # Fix
//! Take the address from one of them: exclude it from the DHCP range, or give the cloned machine
//! one of its own.
use std::net::IpAddr;

use super::overlay;
use crate::{
    model::{
        flow,
        node::{Link, NeighbourMoves},
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::{Facts, HopFlow},
};

pub const ID: &str = "duplicate-address";
pub const TITLE: &str = "two hosts answer for one address";

/// A fail-over and its return are two changes.
const CHANGES: u32 = 3;

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let moves = facts.node.neighbour_moves.iter();
    let mut twice: Vec<&NeighbourMoves> = moves.filter(|m| back_and_forth(facts, m)).collect();
    twice.sort_by_key(|m| std::cmp::Reverse(m.changes));
    let worst = twice.first()?;
    let link = facts.node.link_name(worst.ifindex);
    let asks: Vec<&HopFlow> = twice.iter().flat_map(|m| lost(facts, m.address)).collect();
    let severity = if asks.is_empty() {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let summary = format!(
        "two hosts on {link} answer for {}: {}; whichever spoke last has the traffic",
        worst.address,
        lladdrs(worst).join(" and "),
    );
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    finding.evidence = twice.iter().map(|m| changed(facts, m)).collect();
    finding.evidence.extend(unanswered(&asks, worst.address));
    (finding.flows, finding.pods) = overlay::refer(facts, &asks);
    finding.fix = fix(worst, &link);
    finding.about = twice.iter().map(|m| m.address).collect();
    finding.last_seen = facts.clock.text(facts.now);
    let first = asks.iter().map(|h| h.hop.first).min();
    finding.first_seen = facts.clock.text(first.unwrap_or(facts.now));
    Some(finding)
}

/// Not the entries of a tunnel, which its daemon writes.
fn back_and_forth(facts: &Facts<'_>, moves: &NeighbourMoves) -> bool {
    let tunnel = facts.node.link(moves.ifindex).is_none_or(Link::is_tunnel);
    let again = moves.changes as usize >= moves.lladdrs.len();
    !tunnel && moves.changes >= CHANGES && again
}

/// Requests to the address, or tunnelled to it, that nobody answered.
fn lost<'a>(facts: &'a Facts<'_>, address: IpAddr) -> Vec<&'a HopFlow> {
    overlay::unanswered(facts, |h| {
        let to = || flow::ends(h.flow()).1 == address;
        let through = || !h.plain() && overlay::peer_of(facts, h.flow()) == Some(address);
        h.egress() && (to() || through())
    })
}

fn lladdrs(moves: &NeighbourMoves) -> Vec<String> {
    let text = |bytes: &Vec<u8>| {
        let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        bytes.join(":")
    };
    moves.lladdrs.iter().map(text).collect()
}

fn changed(facts: &Facts<'_>, moves: &NeighbourMoves) -> Evidence {
    let link = facts.node.link_name(moves.ifindex);
    let text = format!(
        "the neighbour entry of {} on {link} changed {} times between {}",
        moves.address,
        moves.changes,
        lladdrs(moves).join(" and "),
    );
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
    line.confirm = Some(format!(
        "ip monitor neighbour dev {link} | grep -w {}",
        moves.address
    ));
    line.at = Some(link);
    line
}

fn unanswered(asks: &[&HopFlow], address: IpAddr) -> Option<Evidence> {
    let packets = asks.iter().map(|h| overlay::asked(h)).sum();
    let text = format!(
        "{packets} requests of {} flows to {address}, or tunnelled to it, got no answer",
        asks.len()
    );
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
    line.at = Some(asks.first()?.interface.clone());
    line.packets = Some(packets);
    Some(line)
}

fn fix(moves: &NeighbourMoves, link: &str) -> Fix {
    let address = moves.address;
    let ask = match address {
        IpAddr::V4(_) => format!("arping -c3 -I {link} {address}"),
        IpAddr::V6(_) => format!("ndisc6 -m {address} {link}"),
    };
    Fix {
        summary: format!(
            "find the hosts behind {} in the switch's table of MACs, and take {address} from the \
             one that should not have it: out of the DHCP range, or another static address. If \
             both are one host's NICs: sysctl -w net.ipv4.conf.all.arp_ignore=1 there",
            lladdrs(moves).join(" and "),
        ),
        commands: vec![ask],
    }
}
