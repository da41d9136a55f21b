//! # Symptom
//! Pods of different nodes cannot reach each other, often since a daemon or node restarted, while the
//! nodes reach each other.
//!
//! # Mechanism
//! A node has two NICs: one to the internet, with the default route, and one to the other nodes. Without --iface
//! flannel takes the NIC of the default route and announces its address. Encapsulated packets then leave
//! from an address that neither the cluster nor the network between the nodes knows. The switch or
//! gateway drops them or their replies.
//!
//! # Signals
//! Configured: the tunnel's local address, or the device that it is bound to, belongs to the NIC of the
//! default route; the address by which the cluster knows this node (kubelet's --node-ip, given to netdiag
//! as --node-ip) is on another NIC. Observed: packets leave with that source, requests inside them get no
//! answer and none comes in from the peers. If the node's own address is unknown, but the peers are
//! neighbours on another NIC, the finding is a suspicion. So it is where the local address is that of a bridge of this node's
//! own (Docker's, LXD's), and the packets leave by an uplink that has another one.
//!
//! # Look-alikes
//! `vxlan-source-mismatch`: two addresses on one NIC. `overlay-blocked`: the right NIC, and the network
//! drops the packets. An overlay that uses another NIC on purpose works, and is no finding.
//!
//! # By hand
//! `ip -d link show DEVICE` (local, dev) against `ip route get PEER` and the INTERNAL-IP of `kubectl get
//! nodes -o wide`.
//!
//! # Fix
//! Tell the daemon which NIC to use: flannel's --iface=NIC or --iface-regex=^(NIC)$, Calico's
//! IP_AUTODETECTION_METHOD=interface=NIC.
use std::net::IpAddr;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        limits,
        node::{Link, LinkKind, Node, RouteKind},
        roles::{Role, role},
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    pipeline::facts::{Facts, HopFlow, OuterPair},
    shared::{losses::PATTERN, overlay},
    shell,
};

pub const ID: &str = "overlay-wrong-interface";
pub const TITLE: &str = mark!("the overlay uses the default route's NIC, not the cluster's");

/// As long as nothing answers a SYN and its first two repetitions (1 s and 3 s, RFC 6298).
const SILENCE: u64 = 3_000_000_000;

/// A tunnel that leaves by the wrong NIC.
struct Wrong<'a> {
    tunnel: &'a Link,
    /// The NIC that it uses, and the address that it sends from.
    used: &'a Link,
    local: IpAddr,
    /// The NIC that it should use, with its address.
    right: &'a Link,
    address: IpAddr,
    /// Who says that this is the cluster's address.
    said_by: Option<&'a str>,
    /// The link of its address leads to no other node: its packets leave by the right one.
    inward: bool,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let tunnels = facts.node.links.iter().filter(|l| l.is_tunnel() && l.up);
    let wrong = |tunnel| wrong(facts.node, tunnel).or_else(|| inward(facts, tunnel));
    let mut wrong = tunnels.filter_map(wrong);
    wrong.find_map(|w| judge(facts, &w))
}

/// What a tunnel's packet from that address comes to, and what to do; nothing where nobody says which address is the
/// cluster's.
pub fn foretold(facts: &Facts<'_>, (local, peer): (IpAddr, IpAddr)) -> Option<(String, Fix)> {
    let mut tunnels = facts.node.links.iter().filter(|l| l.is_tunnel() && l.up);
    let wrong = tunnels.find_map(|tunnel| {
        wrong(facts.node, tunnel).filter(|it| it.local == local && it.said_by.is_some())
    })?;
    Some((summary(&wrong), fix(&wrong, peer)))
}

fn wrong<'a>(node: &'a Node, tunnel: &'a Link) -> Option<Wrong<'a>> {
    let attributes = tunnel.tunnel.as_ref().filter(|t| !t.external)?;
    let owner = |address: IpAddr| {
        let mut all = node.addresses();
        all.find(|(_, a)| a.prefix.address == address)
            .map(|(l, _)| l)
    };
    let by_local = attributes.local.and_then(owner);
    let used = by_local.or_else(|| node.link(attributes.underlay?))?;
    let first = || used.addresses.iter().find(|a| !a.link_local);
    let local = attributes.local.or_else(|| Some(first()?.prefix.address))?;
    let family = |a: &IpAddr| a.is_ipv4() == local.is_ipv4();
    if !carries_default(node, used) || !is_uplink(node, used) {
        return None;
    }
    let mut known = node.known_as.iter().filter(|(a, _)| family(a));
    let (right, address, said_by) = match known.next() {
        Some((address, from)) => (owner(*address)?, *address, Some(from.as_str())),
        None => {
            let (right, address) = beside_the_peers(node, tunnel, used)?;
            (right, address, None)
        }
    };
    let other = right.index != used.index && is_uplink(node, right);
    other.then_some(Wrong {
        tunnel,
        used,
        local,
        right,
        address,
        said_by,
        inward: false,
    })
}

/// Its packets leave by an uplink with the address of a link to pods or containers of this node: no peer is there.
fn inward<'a>(facts: &Facts<'a>, tunnel: &'a Link) -> Option<Wrong<'a>> {
    let local = tunnel.tunnel.as_ref()?.local?;
    let mut out = facts
        .outers
        .iter()
        .filter(|o| o.egress() && o.source == local);
    let right = facts.link(out.next()?.key.ifindex)?;
    let mut all = facts.node.addresses();
    let (used, own) = all.find(|(_, a)| a.prefix.address == local)?;
    let mut peers = facts
        .outers
        .iter()
        .filter(|o| o.egress() && o.source == local);
    let leads = peers.any(|o| own.prefix.contains(o.destination));
    let address = right
        .addresses
        .iter()
        .find(|a| !a.link_local && a.prefix.address.is_ipv4() == local.is_ipv4())?;
    let inward = used.kind == LinkKind::Bridge || facts.role(used) == Some(Role::Bridge);
    let apart = used.index != right.index && right.master != Some(used.index);
    (inward && apart && !leads).then_some(Wrong {
        tunnel,
        used,
        local,
        right,
        address: address.prefix.address,
        said_by: None,
        inward: true,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "which link has the route, not who takes it"
)]
fn carries_default(node: &Node, link: &Link) -> bool {
    let mut routes = node.routes.iter().filter(|r| r.kind == RouteKind::Unicast);
    routes.any(|r| r.destination.is_anywhere() && r.oif == Some(link.index))
}

fn is_uplink(node: &Node, link: &Link) -> bool {
    role(node, link) == Some(Role::Uplink)
}

/// The NIC in whose subnet every peer of the tunnel is.
fn beside_the_peers<'a>(node: &'a Node, tunnel: &Link, used: &Link) -> Option<(&'a Link, IpAddr)> {
    let routes = node.routes.iter().filter(|r| r.oif == Some(tunnel.index));
    let peers = routes.filter_map(|r| limits::remote(node, tunnel, r.gateway));
    let peers: Vec<IpAddr> = peers.collect();
    let beside = |l: &Link, a: &crate::model::node::LinkAddress| {
        l.index != used.index && peers.iter().all(|p| a.prefix.contains(*p))
    };
    let mut all = node
        .addresses()
        .filter(|(l, a)| !l.is_tunnel() && beside(l, a));
    let (link, address) = all.next().filter(|_| !peers.is_empty())?;
    Some((link, address.prefix.address))
}

fn judge(facts: &Facts<'_>, wrong: &Wrong<'_>) -> Option<Finding> {
    let out = |o: &&OuterPair| o.egress() && o.source == wrong.local;
    let out: Vec<&OuterPair> = facts.outers.iter().filter(out).collect();
    let peers: Vec<IpAddr> = out.iter().map(|o| o.destination).collect();
    let into = |o: &&OuterPair| !o.egress() && peers.contains(&o.source);
    let heard = facts.outers.iter().filter(into).map(|o| o.outer.last).max();
    let asks = overlay::unanswered(facts, |h| {
        let peer = || overlay::peer_of(facts, h.flow());
        let ours = !h.plain() && h.egress() && h.hop.first > heard.unwrap_or(0);
        ours && peer().is_some_and(|p| peers.contains(&p))
    });
    let since = asks.iter().map(|h| h.hop.first).min()?;
    let asked: u64 = asks.iter().map(|h| overlay::asked(h)).total();
    if asked < PATTERN || facts.now.saturating_sub(since) < SILENCE {
        return None;
    }
    let (severity, confidence) = match wrong.said_by {
        Some(_) => (Severity::Critical, Confidence::Confirmed),
        None => (Severity::Warning, Confidence::Suspected),
    };
    let mut finding = Finding::new(ID, severity, confidence, summary(wrong));
    finding.evidence = evidence(wrong, &out, &asks);
    overlay::tell(&mut finding, facts, &asks);
    finding.fix = fix(wrong, peers[0]);
    finding.scope.add_hosts(&peers);
    for peer in &peers {
        let because =
            t!("{peer} is sent packets from the address of a NIC that does not lead to it");
        finding
            .ties
            .blame(Subject::Vtep { address: *peer }, because);
    }
    finding.about = peers;
    finding.first_seen = facts.clock.text(since);
    finding.last_seen = facts.clock.text(asks.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

fn summary(wrong: &Wrong<'_>) -> String {
    let Wrong {
        tunnel,
        used,
        local,
        right,
        address,
        said_by,
        inward,
    } = wrong;
    if *inward {
        return t!(
            "{} sends from {local}, the address of {}, which leads to no other node, while its packets leave by {} ({address}): nothing comes back",
            tunnel.name,
            used.name,
            right.name
        );
    }
    let why = match said_by {
        Some(_) => t!("the cluster knows this node as {address} on {}", right.name),
        None => t!("its peers are neighbours of {address} on {}", right.name),
    };
    t!(
        "{} sends from {local}, the address of the default route's NIC {}, but {why}: nothing \
         comes back",
        tunnel.name,
        used.name
    )
}

fn evidence(wrong: &Wrong<'_>, out: &[&OuterPair], asks: &[&HopFlow]) -> Vec<Evidence> {
    let device = &wrong.tunnel.name;
    let said = wrong.said_by.map_or_else(String::new, |by| t!(" ({by})"));
    let text = t!(
        "{device} sends from {} of {}; the other nodes are reached from {} of {}{said}",
        wrong.local,
        wrong.used.name,
        wrong.address,
        wrong.right.name
    );
    let mut link = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    link.at = Some(device.clone());
    link.confirm = Some(shell!("ip -d link show {}; ip -br address", device));
    let line = |o: &&OuterPair| {
        let what = overlay::wire_form(o.key.carried, o.key.port);
        let text = t!(
            "{} packets egress on {}: outer {} → {}, {what}; none came in from it",
            o.outer.packets,
            o.interface,
            o.source,
            o.destination
        );
        let mut line = Evidence::new(EvidenceKind::OuterAddress, Origin::Observed, text);
        line.at = Some(o.interface.clone());
        line.direction = Some("egress".into());
        line.packets = Some(o.outer.packets);
        let tcpdump = shell!("timeout 10 tcpdump -c 5 -lnni {v}", o.interface);
        line.confirm = Some(overlay::captured(tcpdump, o.key.carried, o.key.port));
        line
    };
    let asked = asks.iter().map(|h| overlay::asked(h)).total();
    let text = t!("{asked} requests inside the tunnel, none answered");
    let mut silence = Evidence::new(EvidenceKind::OuterAddress, Origin::Observed, text);
    silence.packets = Some(asked);
    let outers = out.iter().take(3).map(line);
    std::iter::once(link)
        .chain(outers)
        .chain([silence])
        .collect()
}

fn fix(wrong: &Wrong<'_>, peer: IpAddr) -> Fix {
    let (right, device) = (&wrong.right.name, &wrong.tunnel.name);
    let flannel = t!(
        "flanneld --iface={right} (or --iface-regex=^({right})$, with both anchors) in its \
         DaemonSet or unit, if all nodes of it have {right}"
    );
    let calico = t!(
        "calico-node's environment variable IP_AUTODETECTION_METHOD=interface={right}, if all \
         nodes have {right}"
    );
    // By the device's name, for words only: nothing is decided by it.
    let how = match device.as_str() {
        name if name.starts_with("flannel") => flannel,
        name if name.contains("calico") => calico,
        _ => t!("{flannel}; {calico}"),
    };
    Fix {
        summary: t!(
            "let the CNI daemon use {right}: {how}; when it has restarted, {device} has the local \
             address {}",
            wrong.address
        ),
        commands: vec![
            shell!("ip -d link show {}", device),
            shell!("ip route get {}", peer),
        ],
    }
}
