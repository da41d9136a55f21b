//! What the overlay and path causes share: which peer a flow is tunnelled to, and what this node
//! asked for in vain.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::{dns::PORT, flow::FlowKey, hop::PLAIN};
use netdiag_lang::t;

use crate::{
    model::{
        flow::{self, TCP},
        limits,
        policy::Packet,
        roles::Role,
        shell::CommandLine,
        verdict::{Finding, PodRef},
    },
    pipeline::facts::{Facts, HopFlow},
};

/// An answer may still be on its way for as long as a SYN waits before it is sent again
/// (RFC 6298).
const ON_ITS_WAY: u64 = 1_000_000_000;
/// Flows named in a finding: enough to see the pattern.
const MOST_FLOWS: usize = 10;
/// An overlay's own packets: IPv4 or IPv6 in IP; anything else that is encapsulated is UDP.
pub const IN_IP: [u8; 2] = [4, 41];

/// The peer that a flow's packets are tunnelled to, as the routes say.
pub fn peer_of(facts: &Facts<'_>, flow: &FlowKey) -> Option<IpAddr> {
    peer_by(facts, &facts.packet_of(flow))
}

/// The peer that this node's own packets to an address are tunnelled to.
pub fn peer_towards(facts: &Facts<'_>, destination: IpAddr) -> Option<IpAddr> {
    peer_by(facts, &facts.from_node(destination))
}

fn peer_by(facts: &Facts<'_>, packet: &Packet) -> Option<IpAddr> {
    let route = facts.way(packet)?;
    let link = facts.link(route.oif?).filter(|l| l.is_tunnel())?;
    limits::remote(facts.node, link, route.gateway)
}

/// Requests that got no answer at any hop: TCP connections that open, echoes, and questions to
/// name servers. Any other datagram may be one that nobody answers.
pub fn unanswered<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&HopFlow) -> bool) -> Vec<&'a HopFlow> {
    let asks = facts.flows.iter().filter(|h| asked(h) > 0 && wanted(h));
    let asks: Vec<&HopFlow> = asks.collect();
    if asks.is_empty() {
        return asks;
    }
    let seen = facts.journeys();
    let waited = |h: &&HopFlow| facts.now.saturating_sub(h.hop.first) > ON_ITS_WAY;
    let silent = |h: &&HopFlow| !seen.contains_key(&h.flow().reversed());
    asks.into_iter().filter(waited).filter(silent).collect()
}

/// How often a flow asked for something.
pub fn asked(hop: &HopFlow) -> u64 {
    match hop.flow().protocol {
        TCP => u64::from(hop.hop.syns),
        flow::UDP if hop.flow().destination_port == PORT => hop.hop.packets,
        1 | 58 if hop.flow().source_port != 0 => hop.hop.packets,
        _ => 0,
    }
}

/// Whether the node at `address` itself answered, outside of any tunnel, later than `since`.
pub fn answers_plainly<'a>(
    facts: &'a Facts<'_>,
    address: IpAddr,
    since: u64,
) -> Option<&'a HopFlow> {
    let uplink = |h: &&HopFlow| h.plain() && h.role == Some(Role::Uplink);
    let from = |h: &&HopFlow| {
        let (source, destination) = flow::ends(h.flow());
        source == address && facts.owns(destination) && h.hop.last > since && !h.egress()
    };
    let asked = |h: &HopFlow| {
        let back = h.flow().reversed();
        let to = |o: &HopFlow| o.egress() && o.flow() == &back;
        facts.flows.iter().any(to)
    };
    let mut into = facts.flows.iter().filter(uplink).filter(from);
    into.find(|h| asked(h))
}

/// Whether something on this node dropped packets for `address`, or the network refused them:
/// there is a better explanation than silence.
pub fn refused(facts: &Facts<'_>, address: IpAddr) -> bool {
    let encapsulated = |flow: &FlowKey| {
        flow::ends(flow).1 == address
            && (flow.protocol == flow::UDP || IN_IP.contains(&flow.protocol))
    };
    let lost = |l: &crate::pipeline::facts::Loss| !l.harmless && encapsulated(l.flow());
    facts.losses.iter().any(lost)
        || facts
            .icmp_errors
            .iter()
            .any(|(k, _)| encapsulated(&k.about))
}

/// What an encapsulated packet is on the wire, as people and filters write it.
pub fn wire_form(carried: u8, port: u16) -> String {
    match (carried, port) {
        (PLAIN, _) | (_, 0) => t!("IP protocol 4").into(),
        (_, port) => t!("UDP port {port}"),
    }
}

/// Which way packets pass a link, within a sentence.
pub fn way(egress: bool) -> &'static str {
    match egress {
        true => t!("egress"),
        false => t!("ingress"),
    }
}

/// A capture of it by `tcpdump`, which is given its link already.
pub fn captured(tcpdump: CommandLine, carried: u8, port: u16) -> CommandLine {
    match (carried, port) {
        (PLAIN, _) | (_, 0) => tcpdump.with_names(["ip", "proto", "4"]),
        (_, port) => tcpdump.with_names(["udp", "port", &port.to_string()]),
    }
}

/// Tells the flows of those hops, and the pods at their ends.
pub fn tell(finding: &mut Finding, facts: &Facts<'_>, hops: &[&HopFlow]) {
    let keys: BTreeSet<FlowKey> = hops.iter().map(|h| *h.flow()).collect();
    let all = facts.journeys();
    let flows = keys.iter().filter_map(|k| all.get(k)).take(MOST_FLOWS);
    let pods: BTreeSet<PodRef> = keys.iter().flat_map(|k| facts.pods_of(k)).collect();
    finding.flows = flows.map(|j| j.refer()).collect();
    finding.pods = pods.into_iter().collect();
    keys.iter().for_each(|key| finding.scope.add_key(key));
}
