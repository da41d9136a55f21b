//! # Symptom
//! Pods reach no pod of one other node, or of any, although the nodes reach each other. Encapsulated
//! packets leave the node and no usable reply comes back.
//!
//! # Mechanism
//! The node's NIC has two addresses, for example a static one and one from DHCP. The VXLAN device sends
//! from one of them. The peers' forwarding tables (FDB), and perhaps the network, know the node by the
//! other. The network drops packets with the wrong outer source (source guard, security groups), or the
//! replies go to an address that no host has any more.
//!
//! # Signals
//! Observed, with flows that stall: a peer sends to one outer address of this node, and this node sends
//! from another. Or, seen on the peer: the outer source of incoming packets is no VTEP in the FDB, and
//! the replies go to another address. Configured: the NIC's addresses, which of them is dynamic, and the
//! VXLAN device's `local`. Two addresses that differ and still work are no finding. Recordings of both
//! nodes, replayed together, show the source of what left one, what reached the other, and its FDB.
//!
//! # Look-alikes
//! `overlay-blocked`: no encapsulated packet comes in. `overlay-port-or-vni-mismatch`: wrong port or VNI.
//!
//! # By hand
//! `ip -d link show DEVICE` shows `local` and `dstport`, `ip address show dev UPLINK` the NIC's
//! addresses. Run `tcpdump -nni UPLINK udp port PORT` on both nodes (PORT is `dstport`) and compare the
//! outer addresses with `bridge fdb show dev DEVICE`: each outer source must be a `dst` in the other
//! node's FDB.
//!
//! # Fix
//! Keep one address on the NIC, or pin the VXLAN source to the address that the peers know (flannel:
//! `--iface=ADDRESS`, or the annotation flannel.alpha.coreos.com/public-ip-overwrite).
mod fix;
mod other_node;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, VXLAN},
};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        node::{Link, LinkKind},
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, FlowRef, Origin, Severity, Subject,
        },
    },
    pipeline::facts::{Facts, HopFlow, OuterPair},
    shared::{overlay, overlay_annotations},
    shell,
};

pub use other_node::complete;

pub const ID: &str = "vxlan-source-mismatch";
pub const TITLE: &str =
    mark!("a VXLAN outer source address is not the one the peers have for the node");

/// Retransmits of a conversation, both directions together, without any progress. A SYN is sent
/// again after 1 s and 3 s (RFC 6298), its answer too: two are a second of silence.
const STALLED: u32 = 2;

/// Whose address the peers and the network disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// This node's: its packets leave with another source than the one it is answered at.
    Ours,
    /// The peer's: its packets come from an address that the FDB does not know.
    Peers,
}

/// Two outer addresses that should be one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mismatch {
    pub side: Side,
    /// The source that is on the wire.
    pub source: IpAddr,
    /// The other end of those packets.
    pub destination: IpAddr,
    /// The address that is expected instead.
    pub expected: IpAddr,
    /// Who expects it: `fdb`, `node address` or `peers' traffic`.
    pub expected_from: &'static str,
    pub vni: u32,
    pub port: u16,
    pub interface: String,
}

/// Every disagreement on the wire, whether it hurts or not.
pub fn mismatches(facts: &Facts<'_>) -> Vec<Mismatch> {
    let vxlan = |egress| {
        let of = move |o: &&OuterPair| o.key.carried == VXLAN && o.egress() == egress;
        facts.outers.iter().filter(of)
    };
    let mut found = BTreeSet::new();
    for out in vxlan(true) {
        found.extend(not_the_nodes(facts, out));
        let same_network = |o: &&OuterPair| o.key.vni == out.key.vni;
        found.extend(
            vxlan(false)
                .filter(same_network)
                .filter_map(|into| ours(facts, out, into)),
        );
    }
    found.extend(vxlan(false).filter_map(|into| peers(facts, into)));
    found.into_iter().collect()
}

/// The same peer answers to another address than the one we send from.
fn ours(facts: &Facts<'_>, out: &OuterPair, into: &OuterPair) -> Option<Mismatch> {
    let same_peer = into.source == out.destination;
    let differs = into.destination != out.source;
    let both_own = facts.owns(into.destination) && facts.owns(out.source);
    (same_peer && differs && both_own).then(|| Mismatch {
        side: Side::Ours,
        source: out.source,
        destination: out.destination,
        expected: into.destination,
        expected_from: "peers' traffic",
        vni: out.key.vni,
        port: out.key.port,
        interface: out.interface.clone(),
    })
}

/// The node sends from another of its addresses than the one by which the cluster knows it.
fn not_the_nodes(facts: &Facts<'_>, out: &OuterPair) -> Option<Mismatch> {
    let (known, expected_from) = overlay_annotations::advertised(facts, out.source.is_ipv4());
    let expected = *known.first()?;
    let differs = !known.contains(&out.source);
    // Another NIC altogether is `overlay-wrong-interface`.
    let on = |address: IpAddr| {
        let mut all = facts.node.addresses();
        all.find(|(_, a)| a.prefix.address == address)
            .map(|(l, _)| l.index)
    };
    let source = on(out.source);
    let one_nic = source.is_some() && on(expected).is_none_or(|index| Some(index) == source);
    (differs && one_nic).then(|| Mismatch {
        side: Side::Ours,
        source: out.source,
        destination: out.destination,
        expected,
        expected_from,
        vni: out.key.vni,
        port: out.key.port,
        interface: out.interface.clone(),
    })
}

/// A peer sends from an address that no forwarding entry has, and the answers to its flows are
/// sent to one that has: whether they leave, or die for lack of a neighbour.
fn peers(facts: &Facts<'_>, into: &OuterPair) -> Option<Mismatch> {
    let device = device(facts, into.key.vni, into.key.port)?;
    let known = |address: IpAddr| {
        facts
            .node
            .fdb
            .iter()
            .any(|f| f.ifindex == device.index && f.vtep == address)
    };
    let expected = answered_to(facts, device, &into.outer.inner.reversed())?;
    (!known(into.source) && known(expected)).then(|| Mismatch {
        side: Side::Peers,
        source: into.source,
        destination: into.destination,
        expected,
        expected_from: "fdb",
        vni: into.key.vni,
        port: into.key.port,
        interface: into.interface.clone(),
    })
}

/// The VTEP that an answer is sent to: as the routes say, else (a bridged overlay has none) as
/// the wire shows.
fn answered_to(facts: &Facts<'_>, device: &Link, answer: &FlowKey) -> Option<IpAddr> {
    route_vtep(facts, device, answer).or_else(|| {
        let carries = |o: &&OuterPair| o.egress() && o.outer.inner == *answer;
        facts.outers.iter().find(carries).map(|o| o.destination)
    })
}

/// The VTEP that a flow's destination is sent to.
fn route_vtep(facts: &Facts<'_>, device: &Link, flow: &FlowKey) -> Option<IpAddr> {
    let route = facts.way(&facts.packet_of(flow))?;
    if route.oif != Some(device.index) {
        return None;
    }
    crate::model::limits::remote(facts.node, device, route.gateway)
}

fn device<'a>(facts: &Facts<'a>, vni: u32, port: u16) -> Option<&'a Link> {
    let is = |l: &&Link| {
        let tunnel = l.tunnel.as_ref();
        l.kind == LinkKind::Vxlan
            && tunnel.is_some_and(|t| !t.external && t.vni == Some(vni) && t.port == Some(port))
    };
    facts.node.links.iter().find(is)
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let hurting = mismatches(facts).into_iter().find_map(|m| {
        let stalled = stalled(facts, &m);
        (!stalled.is_empty()).then_some((m, stalled))
    });
    let (mismatch, stalled) = hurting?;
    let mut pods = BTreeSet::new();
    for flow in &stalled {
        pods.extend(facts.pods_of(flow));
    }
    let first = stalled_hops(facts, &stalled).map(|h| h.hop.first).min()?;
    let last = stalled_hops(facts, &stalled).map(|h| h.hop.last).max()?;
    let (severity, confidence) = (Severity::Critical, Confidence::Confirmed);
    let mut finding = Finding::new(ID, severity, confidence, summary(&mismatch));
    finding.evidence = evidence(facts, &mismatch, stalled.len());
    finding.pods = pods.into_iter().collect();
    finding.flows = flow_refs(facts, &stalled);
    finding.fix = fix::fix(facts, &mismatch);
    finding.about = vec![mismatch.destination, mismatch.expected];
    let (peer, old) = (mismatch.destination, mismatch.expected);
    finding.ties.blame(
        Subject::Vtep { address: peer },
        t!("{peer} is sent packets from an address that it does not expect"),
    );
    finding.ties.blame(
        Subject::Vtep { address: old },
        t!("{old} is a VTEP's old address, which nobody holds"),
    );
    stalled.iter().for_each(|flow| finding.scope.add_key(flow));
    let others = finding.about.iter().filter(|host| !facts.owns(**host));
    finding
        .scope
        .add_hosts(&others.copied().collect::<Vec<_>>());
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
    Some(finding)
}

fn summary(m: &Mismatch) -> String {
    match m.side {
        Side::Ours => {
            let (link, source, known, peer) = (&m.interface, m.source, m.expected, m.destination);
            match m.expected_from {
                "node address" | "annotation" => t!(
                    "VXLAN packets leave {link} from {source}, but the cluster knows this node as \
                     {known}: flows to {peer} stall"
                ),
                _ => t!(
                    "VXLAN packets leave {link} from {source}, but the peer {peer} knows this node as \
                     {known}: flows to {peer} stall"
                ),
            }
        }
        Side::Peers => t!(
            "VXLAN packets come in from {}, but the forwarding table sends the answers to {}: \
             flows between them stall",
            m.source,
            m.expected
        ),
    }
}

/// Inner TCP conversations over the pair that retransmit without progress; none where any
/// conversation over it got through since.
fn stalled(facts: &Facts<'_>, m: &Mismatch) -> Vec<FlowKey> {
    let over = |h: &&HopFlow| h.key.carried == VXLAN && concerns(facts, m, h);
    let hops: Vec<&HopFlow> = facts.flows.iter().filter(over).collect();
    let mut places: HashMap<(FlowKey, bool), &HopFlow> = HashMap::new();
    for hop in &hops {
        places.entry((*hop.flow(), hop.egress())).or_insert(hop);
    }
    let at = |flow: &FlowKey, egress: bool| places.get(&(*flow, egress));
    // Answers that die for lack of a neighbour never reach the uplink: any hop's count will do.
    let journeys = facts.journeys();
    let of = |flow: &FlowKey| journeys.get(flow).map_or(0, |j| j.stalled());
    let mut stalled = BTreeSet::new();
    let mut first = u64::MAX;
    for hop in &hops {
        let back = at(&hop.flow().reversed(), !hop.egress());
        let both = of(hop.flow()).saturating_add(of(&hop.flow().reversed()));
        if hop.flow().protocol == flow::TCP && both >= STALLED {
            first = first.min(hop.hop.first);
            // One name per conversation: the direction that was seen first.
            let later = back.is_some_and(|b| b.hop.first < hop.hop.first);
            stalled.insert(if later {
                hop.flow().reversed()
            } else {
                *hop.flow()
            });
        }
    }
    let got_through = hops.iter().any(|h| {
        !h.egress()
            && h.hop.flags & ACK != 0
            && h.hop.last > first
            && h.hop.stalled < STALLED
            && at(&h.flow().reversed(), true).is_some_and(|b| b.hop.stalled < STALLED)
    });
    if got_through {
        Vec::new()
    } else {
        stalled.into_iter().collect()
    }
}

/// Whether a carried flow travels between this node and the mismatch's peer.
fn concerns(facts: &Facts<'_>, m: &Mismatch, hop: &HopFlow) -> bool {
    let Some(device) = device(facts, m.vni, m.port) else {
        return true;
    };
    let towards_peer = if hop.egress() {
        *hop.flow()
    } else {
        hop.flow().reversed()
    };
    let vtep = match m.side {
        Side::Ours => m.destination,
        Side::Peers => m.expected,
    };
    route_vtep(facts, device, &towards_peer).is_none_or(|v| v == vtep)
}

fn stalled_hops<'a>(
    facts: &'a Facts<'_>,
    stalled: &'a [FlowKey],
) -> impl Iterator<Item = &'a HopFlow> {
    let stalled: HashSet<&FlowKey> = stalled.iter().collect();
    facts
        .flows
        .iter()
        .filter(move |h| stalled.contains(h.flow()))
}

fn flow_refs(facts: &Facts<'_>, stalled: &[FlowKey]) -> Vec<FlowRef> {
    let all = facts.journeys();
    stalled
        .iter()
        .filter_map(|k| all.get(k))
        .take(10)
        .map(|j| j.refer())
        .collect()
}

fn evidence(facts: &Facts<'_>, m: &Mismatch, stalled: usize) -> Vec<Evidence> {
    let mut lines = outer_evidence(facts, m);
    lines.extend(address_evidence(facts, m));
    lines.extend(overlay_annotations::of(facts, m.expected));
    lines.extend(fdb_evidence(facts, m));
    lines.extend(unreached_evidence(facts, m));
    let text = t!("{stalled} connections over this pair retransmit and get no further");
    let mut line = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
    line.at = Some(m.interface.clone());
    lines.push(line);
    lines
}

/// Counts of both outer pairs.
fn outer_evidence(facts: &Facts<'_>, m: &Mismatch) -> Vec<Evidence> {
    let part = |o: &&OuterPair| {
        let peer = if o.egress() { o.destination } else { o.source };
        let peers = [m.destination, m.source, m.expected];
        o.key.carried == VXLAN && o.key.vni == m.vni && peers.contains(&peer)
    };
    let line = |o: &OuterPair| {
        let direction = crate::pipeline::facts::direction(o.key.direction);
        let text = t!(
            "{} packets {} on {}: outer {} → {}, VNI {}, port {}",
            o.outer.packets,
            overlay::way(o.egress()),
            o.interface,
            o.source,
            o.destination,
            o.key.vni,
            o.key.port
        );
        let mut line = Evidence::new(EvidenceKind::OuterAddress, Origin::Observed, text);
        line.at = Some(o.interface.clone());
        line.direction = Some(direction.into());
        line.packets = Some(o.outer.packets);
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} udp port {}",
            o.interface,
            o.key.port
        ));
        line
    };
    facts.outers.iter().filter(part).map(line).collect()
}

/// This node's addresses beside each other, and which one is dynamic.
fn address_evidence(facts: &Facts<'_>, m: &Mismatch) -> Option<Evidence> {
    if m.side != Side::Ours {
        return None;
    }
    let describe = |address: IpAddr| {
        let (link, own) = facts
            .node
            .addresses()
            .find(|(_, a)| a.prefix.address == address)?;
        let kind = if own.dynamic {
            t!("dynamic")
        } else {
            t!("static")
        };
        Some((link.name.clone(), t!("{address} ({kind})")))
    };
    let (name, source) = describe(m.source)?;
    let (_, expected) = describe(m.expected)?;
    let text = t!("{name} has {source}, the outer source, and {expected}, the one expected");
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.confirm = Some(shell!("ip address show {}", name));
    line.at = Some(name);
    Some(line)
}

fn fdb_evidence(facts: &Facts<'_>, m: &Mismatch) -> Option<Evidence> {
    if m.side != Side::Peers {
        return None;
    }
    let device = device(facts, m.vni, m.port)?;
    let text = t!(
        "{}'s forwarding table has {} and no entry for {}",
        device.name,
        m.expected,
        m.source
    );
    let mut line = Evidence::new(EvidenceKind::Fdb, Origin::Configured, text);
    line.at = Some(device.name.clone());
    line.confirm = Some(shell!("bridge fdb show dev {}", device.name));
    Some(line)
}

/// Encapsulated answers that died on this node, because nobody holds the address any more.
fn unreached_evidence(facts: &Facts<'_>, m: &Mismatch) -> Option<Evidence> {
    let lost = |l: &&crate::pipeline::facts::Loss| {
        let (_, destination) = flow::ends(l.flow());
        destination == m.expected && l.flow().destination_port == m.port
    };
    let losses: Vec<_> = facts.losses.iter().filter(lost).collect();
    let first = losses.first()?;
    let packets: u64 = losses.iter().map(|l| l.dropped.packets).total();
    let text = t!(
        "{packets} encapsulated answers to {} dropped: {} in {}",
        m.expected,
        first.reason,
        first.symbol()
    );
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.at.clone_from(&first.interface);
    line.packets = Some(packets);
    line.reason = Some(first.reason.clone());
    line.location = Some(first.symbol().to_owned());
    line.confirm = Some(shell!("ip neighbour show {}", m.expected));
    Some(line)
}
