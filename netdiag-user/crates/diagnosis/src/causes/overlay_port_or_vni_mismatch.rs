//! # Symptom
//! Pods reach no pod of another node. Encapsulated packets arrive there and are dropped.
//!
//! # Mechanism
//! Both ends of a VXLAN tunnel must use the same UDP port and the same network identifier (VNI). The
//! Linux kernel's default port is 8472, RFC 7348's is 4789. The defaults of flannel and Calico differ,
//! and a changed setting reaches a node's existing device only when the device is created again. The
//! kernel refuses packets for a port without a socket and drops those with an unknown VNI.
//!
//! # Signals
//! Observed on either node, while connections over the tunnel get no answer: drops with the reason
//! VXLAN_VNI_NOT_FOUND (in `vxlan_rcv` on older kernels) and the VNI that came in from a peer of the FDB;
//! drops with NO_SOCKET of UDP packets from such a peer, or its ICMP "port unreachable" for this node's
//! encapsulated packets. Configured: the device's port and VNI.
//!
//! # Look-alikes
//! A peer without its VXLAN device refuses the port as well: then it sends no encapsulated packets, and
//! the finding is a suspicion. `overlay-blocked`: nothing comes back, not even a refusal.
//!
//! # By hand
//! `ip -d link show DEVICE` on both nodes (`id`, `dstport`); `tcpdump -nni UPLINK udp and host PEER`.
//!
//! # Fix
//! Set the same VNI and port in the CNI's configuration, and create the device again on the node that
//! still has the old ones.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow::{self, UDP},
        node::{Link, LinkKind, Tunnel},
        roles::Role,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
        world::station::Station,
    },
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::{losses::PATTERN, overlay, overlay_annotations},
    shell,
};

pub const ID: &str = "overlay-port-or-vni-mismatch";
pub const TITLE: &str = mark!("the two ends of a VXLAN tunnel use different ports or VNIs");

/// "Port unreachable": type and code of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const PORT_UNREACHABLE: [(u8, u8, u8); 2] = [(4, 3, 3), (6, 1, 4)];

/// What the two ends do not agree about, as far as it is known.
struct Mismatch<'a> {
    device: &'a Link,
    peer: IpAddr,
    what: &'static str,
    ours: u32,
    theirs: Option<u32>,
    packets: u64,
    losses: Vec<&'a Loss>,
    /// What gets no answer because of it.
    asks: Vec<&'a HopFlow>,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let tunnelled = |h: &HopFlow| !h.plain() && h.egress() && h.role == Some(Role::Uplink);
    let asks = overlay::unanswered(facts, tunnelled);
    let found = devices(facts).flat_map(|(device, tunnel)| {
        let peers = peers(facts, device, tunnel).into_iter();
        let judge =
            |peer| vni(facts, device, tunnel, peer).or_else(|| port(facts, device, tunnel, peer));
        peers.filter_map(judge).collect::<Vec<_>>()
    });
    let mut found: Vec<_> = found.collect();
    for mismatch in &mut found {
        let peer = mismatch.peer;
        let theirs = |h: &&&HopFlow| overlay::peer_of(facts, h.flow()) == Some(peer);
        mismatch.asks = asks.iter().filter(theirs).copied().collect();
    }
    found.retain(|m| !m.asks.is_empty() && m.packets >= PATTERN);
    let worst = found
        .iter()
        .max_by_key(|m| (m.theirs.is_some(), m.packets))?;
    finding(facts, worst, &found)
}

fn devices<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a Link, &'a Tunnel)> {
    let own = facts
        .node
        .links
        .iter()
        .filter(|l| l.kind == LinkKind::Vxlan && l.up);
    own.filter_map(|l| Some((l, l.tunnel.as_ref().filter(|t| !t.external)?)))
}

/// The other ends that this device knows.
fn peers(facts: &Facts<'_>, device: &Link, tunnel: &Tunnel) -> BTreeSet<IpAddr> {
    let own = facts.node.fdb.iter().filter(|f| f.ifindex == device.index);
    own.map(|f| f.vtep).chain(tunnel.remote).collect()
}

/// The peer's packets are for a VNI that no device here has.
fn vni<'a>(
    facts: &'a Facts<'_>,
    device: &'a Link,
    tunnel: &Tunnel,
    peer: IpAddr,
) -> Option<Mismatch<'a>> {
    let unknown = |l: &&Loss| {
        let by_place = l.reason == "NOT_SPECIFIED" && l.is_at(Station::Encap);
        (l.reason == "VXLAN_VNI_NOT_FOUND" || by_place) && from(facts, l, peer)
    };
    let losses: Vec<_> = facts.losses.iter().filter(unknown).collect();
    let port = losses.first()?.flow().destination_port;
    let here = |vni| devices(facts).any(|(_, t)| t.vni == Some(vni) && t.port == Some(port));
    let mut into = facts
        .outers
        .iter()
        .filter(|o| !o.egress() && o.source == peer);
    let theirs = into.find(|o| o.key.port == port && !here(o.key.vni))?;
    Some(Mismatch {
        device,
        peer,
        what: "VNI",
        ours: tunnel.vni?,
        theirs: Some(theirs.key.vni),
        packets: losses.iter().map(|l| l.dropped.packets).total(),
        losses,
        asks: Vec::new(),
    })
}

/// The peer's packets are for a port where nothing listens, or it refuses ours; none comes to ours.
fn port<'a>(
    facts: &'a Facts<'_>,
    device: &'a Link,
    tunnel: &Tunnel,
    peer: IpAddr,
) -> Option<Mismatch<'a>> {
    let ours = tunnel.port?;
    if facts.outers.iter().any(|o| !o.egress() && o.source == peer) {
        return None;
    }
    let unheard = |l: &&Loss| l.reason == "NO_SOCKET" && from(facts, l, peer);
    let losses: Vec<_> = facts.losses.iter().filter(unheard).collect();
    // What a VTEP sends to a port that is nobody's may be anything as long as it takes ours.
    let refused = refusals(facts, peer, ours);
    let theirs = losses.first().map(|l| l.flow().destination_port.into());
    let lost: u64 = losses.iter().map(|l| l.dropped.packets).total();
    (refused > 0).then(|| Mismatch {
        device,
        peer,
        what: t!("port"),
        ours: ours.into(),
        theirs,
        packets: refused.saturating_add(lost),
        losses,
        asks: Vec::new(),
    })
}

/// A UDP packet of the peer's to this node.
fn from(facts: &Facts<'_>, loss: &Loss, peer: IpAddr) -> bool {
    let (source, destination) = flow::ends(loss.flow());
    loss.flow().protocol == UDP && source == peer && facts.owns(destination)
}

/// How often the peer said that nothing listens at our port.
fn refusals(facts: &Facts<'_>, peer: IpAddr, port: u16) -> u64 {
    let errors = facts.icmp_errors.iter().filter(|(key, _)| {
        let kind = (key.about.family, key.kind, key.code);
        PORT_UNREACHABLE.contains(&kind)
            && key.about.protocol == UDP
            && key.about.destination_port == port
            && flow::ends(&key.about).1 == peer
    });
    errors.map(|(_, error)| error.packets).total()
}

fn finding(facts: &Facts<'_>, worst: &Mismatch<'_>, found: &[Mismatch<'_>]) -> Option<Finding> {
    let (device, peer, what) = (&worst.device.name, worst.peer, worst.what);
    let (summary, confidence) = match worst.theirs {
        Some(theirs) => (
            t!(
                "{device} uses {what} {}, {peer} sends to {what} {theirs}: what either sends the \
                 other discards",
                worst.ours
            ),
            Confidence::Confirmed,
        ),
        None => (
            t!(
                "{peer} refuses what {device} sends to {what} {}: it uses another one, or its \
                 device is gone",
                worst.ours
            ),
            Confidence::Suspected,
        ),
    };
    let mut finding = Finding::new(ID, Severity::Critical, confidence, summary);
    finding.evidence = found.iter().flat_map(|m| evidence(facts, m)).collect();
    let asks: Vec<&HopFlow> = found.iter().flat_map(|m| m.asks.iter().copied()).collect();
    overlay::tell(&mut finding, facts, &asks);
    finding.fix = fix(worst);
    finding.about = found.iter().map(|m| m.peer).collect();
    finding.scope.add_hosts(&finding.about);
    for address in found.iter().map(|m| m.peer) {
        let because = t!("encapsulated packets from or to {address} are discarded");
        finding.ties.blame(Subject::Vtep { address }, because);
    }
    finding.first_seen = facts.clock.text(asks.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(asks.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

fn evidence(facts: &Facts<'_>, m: &Mismatch<'_>) -> Vec<Evidence> {
    let (device, peer, what) = (&m.device.name, m.peer, m.what);
    let text = t!("{device} uses {what} {}", m.ours);
    let mut own = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    own.at = Some(device.clone());
    own.confirm = Some(shell!("ip -d link show {}", device));
    let mut lines = vec![own];
    if let (Some(first), Some(theirs)) = (m.losses.first(), m.theirs) {
        let packets: u64 = m.losses.iter().map(|l| l.dropped.packets).total();
        let text = t!(
            "{packets} packets from {peer} to {what} {theirs} dropped: {} in {}",
            first.reason,
            first.symbol()
        );
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.at.clone_from(&first.interface);
        line.packets = Some(packets);
        line.reason = Some(first.reason.clone());
        line.location = Some(first.symbol().to_owned());
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni any udp and src host {}",
            peer
        ));
        lines.push(line);
    }
    let refused = m.device.tunnel.as_ref().and_then(|t| t.port);
    let refused = refused.map_or(0, |port| refusals(facts, peer, port));
    if refused > 0 {
        let text = t!("{peer} answered {refused} packets with \"port unreachable\"");
        let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
        line.packets = Some(refused);
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni any '(icmp or icmp6) and src host {}'",
            peer
        ));
        lines.push(line);
    }
    lines.extend(overlay_annotations::vni(facts, m.peer));
    lines.extend(overlay_annotations::meant(facts));
    lines
}

fn fix(worst: &Mismatch<'_>) -> Fix {
    let (device, peer, what) = (&worst.device.name, worst.peer, worst.what);
    let theirs = worst
        .theirs
        .map_or_else(String::new, |t| t!(" ({t} there)"));
    Fix {
        summary: t!(
            "agree on one {what}: {} here, another on {peer}{theirs}. Both come from the CNI's \
             configuration (flannel: Backend.VNI and Backend.Port of net-conf.json; Calico: \
             vxlanVNI and vxlanPort of FelixConfiguration); where it is right already, that node's \
             device still has the old one: restart its agent, which makes the device again",
            worst.ours
        ),
        commands: vec![shell!("ip -d link show {}", device)],
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{
        flow::FlowKey,
        hop::{self, EGRESS, INGRESS, IcmpError, IcmpErrorKey, Outer, OuterKey, VXLAN},
    };

    use super::*;
    use crate::{
        model::{address::to_wire, observation::Observation},
        testing::{UPLINK, at, died, ip, overlay_node, tcp, with_facts},
    };

    fn outer_flow(source: &str, destination: &str, port: u16) -> FlowKey {
        let mut flow = tcp(source, destination, port);
        flow.protocol = UDP;
        flow
    }

    /// Our request goes out over the tunnel; nothing answers.
    fn silence() -> Observation {
        let ask = tcp("172.20.1.5", "172.20.2.9", 80);
        let hop = at(ask, UPLINK, true, VXLAN, |hop| {
            hop.syns = 3;
            hop.flags = hop::SYN;
        });
        Observation {
            now: 9_000_000_000,
            flows: vec![hop],
            ..Observation::default()
        }
    }

    fn judge(observation: &Observation) -> Option<Finding> {
        with_facts(&overlay_node(1450, 1450, 1500), observation, evaluate)
    }

    #[test]
    fn the_two_vnis_are_told() {
        let mut observation = silence();
        let flow = outer_flow("192.0.2.2", "192.0.2.1", 4789);
        let death = ("VXLAN_VNI_NOT_FOUND", "vxlan_rcv");
        observation.drops = vec![died(flow, death, UPLINK, 5)];
        assert!(judge(&observation).is_none(), "no VNI came in");
        let key = OuterKey {
            source: to_wire(ip("192.0.2.2")),
            destination: to_wire(ip("192.0.2.1")),
            ifindex: UPLINK,
            vni: 99,
            port: 4789,
            direction: INGRESS,
            carried: VXLAN,
            padding: [0; 4],
        };
        observation.outers = vec![(key, Outer::default())];
        let found = judge(&observation).expect("a finding");
        assert!(found.summary.contains("VNI 7"), "{}", found.summary);
        assert!(found.summary.contains("VNI 99"), "{}", found.summary);
    }

    #[test]
    fn a_refusal_alone_is_a_suspicion() {
        let mut observation = silence();
        let key = IcmpErrorKey {
            about: outer_flow("192.0.2.1", "192.0.2.2", 4789),
            sender: to_wire(ip("192.0.2.2")),
            ifindex: UPLINK,
            direction: EGRESS,
            kind: 3,
            code: 3,
            padding: 0,
        };
        let error = IcmpError {
            packets: 4,
            ..IcmpError::default()
        };
        observation.icmp_errors = vec![(key, error)];
        let found = judge(&observation).expect("a finding");
        assert_eq!(found.confidence, Confidence::Suspected);
        let flow = outer_flow("192.0.2.2", "192.0.2.1", 8472);
        observation.drops = vec![died(flow, ("NO_SOCKET", "__udp4_lib_rcv"), UPLINK, 5)];
        let found = judge(&observation).expect("a finding");
        assert_eq!(found.confidence, Confidence::Confirmed);
        assert!(found.summary.contains("sends to port 8472"));
    }
}
