//! Frames sent to a link-layer address that nobody has, because somebody's neighbour entry is wrong.
//!
//! A bridge floods them, and whoever they are not for drops them (OTHERHOST): a healthy node's day,
//! but for packets whose own destination, or the router they were meant for, drops them so. A tunnel
//! device carries what a peer addresses to it: what it drops so for this node's own pods, the peer's
//! entry of the device's address sent astray.
use std::{cell::RefCell, collections::BTreeMap, net::IpAddr};

use netdiag_lang::t;

use super::{
    losses::{self, DropGroup, PATTERN},
    overlay, pod_gateway_silent,
};
use crate::{
    model::{
        address::mac,
        flow,
        node::{Link, LinkKind, Neighbour, PodSide},
        roles::Role,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
        world::device::Mac,
    },
    pipeline::{
        facts::{Facts, Loss},
        misled::Misled,
    },
    shell,
};

pub const REASON: &str = "OTHERHOST";
/// An entry that was learned is asked for again when it is old: half a minute and a half, five
/// seconds of grace, three questions (base_reachable_time_ms, delay_first_probe_time, ucast_solicit).
/// Whoever holds a wrong one for longer holds it for good.
const FOR_GOOD_NS: u64 = 55_000_000_000;
/// A permanent entry does not heal: two repetitions of a SYN are enough.
const PERMANENT_NS: u64 = 2_000_000_000;

/// Whose entry is wrong.
enum Holder<'a> {
    Node(&'a Neighbour),
    /// With the entry, where it is known: the address, and what it names.
    Pod(&'a PodSide, Option<(IpAddr, Mac)>),
    /// Another node, which sends by this tunnel device.
    Peer(&'a Link),
}

pub fn evaluate(facts: &Facts<'_>, cause: &str) -> Option<Finding> {
    // Each gateway's way to each pod is walked once.
    let known = RefCell::new(BTreeMap::new());
    let for_gateway = |l: &Loss| {
        let asked = pod_gateway_silent::asked(facts, l);
        let of = |asked| {
            *known
                .borrow_mut()
                .entry(asked)
                .or_insert_with(|| is_gateways(facts, l))
        };
        asked.is_some_and(of)
    };
    let patterns = losses::patterns(facts, |l| is_theirs(facts, l) || for_gateway(l));
    let held = |p: &DropGroup<'_>| {
        let patience = match holder(facts, p) {
            Some(Holder::Node(_) | Holder::Peer(_) | Holder::Pod(_, Some(_))) => PERMANENT_NS,
            Some(Holder::Pod(_, None)) => FOR_GOOD_NS,
            None => return false,
        };
        p.last().saturating_sub(p.first()) >= patience
    };
    let many = |p: &DropGroup<'_>| p.packets() >= PATTERN;
    let patterns: Vec<_> = patterns.into_iter().filter(many).filter(held).collect();
    let worst = patterns.first()?;
    let holder = holder(facts, worst)?;
    let summary = t!(
        "{}; {} from {}: {} packets, none got through",
        tell(facts, worst, &holder),
        worst.target(),
        worst.sender(facts),
        worst.packets()
    );
    let mut finding = losses::finding(facts, cause, Severity::Warning, &patterns, summary);
    let (confirm, fix) = commands(facts, worst, &holder);
    let text = tell(facts, worst, &holder);
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
    line.confirm = Some(confirm);
    finding.evidence.push(line);
    finding.fix = fix;
    Some(finding)
}

/// Packets that those whom they are for drop as somebody else's.
pub fn patterns<'a>(facts: &'a Facts<'_>) -> Vec<DropGroup<'a>> {
    let mut all = losses::patterns(facts, |l| is_theirs(facts, l));
    all.retain(|p| p.packets() >= PATTERN);
    all
}

fn is_theirs(facts: &Facts<'_>, loss: &Loss) -> bool {
    loss.reason == REASON && is_astray(facts, loss)
}

/// Whether it died in a pod whose gateway, this node, answers to whom its own entry of the pod names.
pub fn is_gateways(facts: &Facts<'_>, loss: &Loss) -> bool {
    gateways(facts, loss).is_some()
}

/// This node's entry of the pod in which it died.
fn gateways<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<&'a Neighbour> {
    let (gateway, asker) = pod_gateway_silent::asked(facts, loss)?;
    let Misled::Entry(netns, entry) = facts.answers_misled(gateway, asker)? else {
        return None;
    };
    let mut own = facts.node.neighbours.iter();
    let here = netns == facts.node.netns;
    own.find(|n| here && n.ifindex == entry.device && n.address == entry.address)
}

fn is_astray(facts: &Facts<'_>, loss: &Loss) -> bool {
    let (source, destination) = flow::ends(loss.flow());
    let node = facts.node;
    if loss.key.netns == node.netns {
        let link = node.link(loss.key.ifindex);
        let of_a_pod = link.is_some_and(|l| facts.role(l) == Some(Role::Pod));
        return of_a_pod || tunnel(facts, loss).is_some();
    }
    let has = |s: &&PodSide| s.addresses.contains(&destination);
    if node.sides().filter(has).any(|s| s.netns == loss.key.netns) {
        return true;
    }
    if entry(facts, loss).is_some() {
        return true;
    }
    // Flooded to others, and the node that should have routed it did not get it.
    let bridge = side(facts, source).and_then(|s| bridge(facts, s));
    let near = |b: &Link| b.addresses.iter().any(|a| a.prefix.contains(destination));
    bridge.is_some_and(|b| !near(b) && !b.addresses.is_empty() && !came_up(facts, loss, b))
}

/// The entry of its sender, a pod here, that sends it astray, as computed.
fn entry(facts: &Facts<'_>, loss: &Loss) -> Option<(IpAddr, Mac)> {
    let side = side(facts, flow::ends(loss.flow()).0)?;
    if facts.gathered.stack(side.netns).is_none() || facts.succeeds(loss) {
        return None;
    }
    match facts.misled(loss.flow())? {
        Misled::Entry(netns, entry) if netns == side.netns => Some((entry.address, entry.mac?)),
        _ => None,
    }
}

/// The tunnel device, an end of its own and no bridge's port, that dropped what is for this node or a
/// pod of its. What is flooded to all peers is for another node's.
fn tunnel<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<&'a Link> {
    let destination = flow::ends(loss.flow()).1;
    let own = facts.owns(destination) || facts.is_local_pod(destination);
    let link = facts.link(loss.key.ifindex)?;
    let end = loss.key.netns == facts.node.netns && link.is_tunnel() && link.master.is_none();
    (end && own && link.ethernet).then_some(link)
}

/// The peer's address by which what comes from there is tunnelled.
fn peer(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<IpAddr> {
    overlay::peer_towards(facts, pattern.source)
}

/// Whether the bridge handed the flow to the node.
fn came_up(facts: &Facts<'_>, loss: &Loss, bridge: &Link) -> bool {
    let journey = facts.journeys().get(loss.flow());
    journey.is_some_and(|j| j.hops.iter().any(|h| h.key.ifindex == bridge.index))
}

fn side<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<&'a PodSide> {
    facts.pod_side_of(address)
}

fn link<'a>(facts: &Facts<'a>, side: &PodSide) -> Option<&'a Link> {
    let mut links = facts.node.links.iter();
    links.find(|l| l.peer_netns == Some(side.netns))
}

fn bridge<'a>(facts: &Facts<'a>, side: &PodSide) -> Option<&'a Link> {
    let master = link(facts, side)?.master?;
    facts
        .node
        .link(master)
        .filter(|l| l.kind == LinkKind::Bridge)
}

/// A pod on the same link, or the node, which learned nothing where its entry is permanent.
fn holder<'a>(facts: &Facts<'a>, pattern: &DropGroup<'_>) -> Option<Holder<'a>> {
    let loss = pattern.losses.first()?;
    if let Some(entry) = gateways(facts, loss) {
        return Some(Holder::Node(entry));
    }
    if let Some(link) = tunnel(facts, loss) {
        return Some(Holder::Peer(link));
    }
    let journey = facts.journeys().get(loss.flow());
    let routed = journey.is_some_and(|j| {
        let bridge = |h: &&&crate::pipeline::facts::HopFlow| h.role == Some(Role::Bridge);
        j.hops.iter().filter(bridge).any(|h| h.egress())
    });
    match side(facts, pattern.source) {
        Some(side) if !routed => Some(Holder::Pod(side, entry(facts, loss))),
        _ => {
            let oif = facts.way(&facts.packet_of(loss.flow()))?.oif?;
            let mut entries = facts.node.neighbours.iter();
            let entry = entries.find(|n| n.ifindex == oif && n.address == pattern.destination);
            entry.filter(|n| n.permanent).map(Holder::Node)
        }
    }
}

fn tell(facts: &Facts<'_>, pattern: &DropGroup<'_>, holder: &Holder<'_>) -> String {
    match holder {
        Holder::Node(entry) => t!(
            "the permanent neighbour entry of {} on {} names {}, which is not its link-layer address",
            entry.address,
            facts.node.link_name(entry.ifindex),
            mac(entry.lladdr.as_deref().unwrap_or_default())
        ),
        Holder::Peer(link) => t!(
            "{} sends to a link-layer address that is not {}'s, {}",
            peer(facts, pattern)
                .map_or_else(|| t!("a peer").to_owned(), |peer| t!("the peer {peer}")),
            link.name,
            mac(link.lladdr.as_deref().unwrap_or_default())
        ),
        Holder::Pod(_, Some((address, named))) => t!(
            "the permanent neighbour entry of {address} in {} names {}, which is not its link-layer address",
            pattern.sender(facts),
            mac(&named.0)
        ),
        Holder::Pod(_, None) => t!(
            "{} sends to a link-layer address that is not {}'s",
            pattern.sender(facts),
            next_hop(facts, pattern)
                .map_or_else(|| t!("its gateway").to_owned(), |to| to.to_string())
        ),
    }
}

/// Who the frames were for, where it is on the pod's own link.
fn next_hop(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<IpAddr> {
    let to = pattern.destination;
    side(facts, to).map(|_| to)
}

fn commands(facts: &Facts<'_>, pattern: &DropGroup<'_>, holder: &Holder<'_>) -> (CommandLine, Fix) {
    let node = facts.node;
    match holder {
        Holder::Node(entry) => {
            let device = node.link_name(entry.ifindex);
            let fix = Fix {
                summary: t!("delete the entry: {} is asked for then", entry.address),
                commands: vec![shell!("ip neighbour del {} dev {}", entry.address, device)],
            };
            let show = shell!("ip neighbour show to {} dev {}", entry.address, device);
            (show, fix)
        }
        Holder::Peer(link) => by_the_peer(link, peer(facts, pattern)),
        Holder::Pod(side, entry) => {
            let pod = facts.pod(pattern.source, PodRole::Source);
            let who = pod.map_or_else(
                || pattern.source.to_string(),
                |p| crate::model::pod::label(&p),
            );
            let show = node.inside(side.netns, shell!("ip neighbour show nud permanent"));
            // Where the pod has no device that is up, the list alone tells which it is.
            let device = side.links.first().map(|(_, name)| name);
            let address = entry.map(|(address, _)| address);
            let to = address.or_else(|| next_hop(facts, pattern));
            // Whoever made it permanent did not count on an answer: on a link of its own there is one end that it can name.
            let routed = link(facts, side).filter(|link| link.master.is_none());
            let owner = routed.and_then(|link| Some((link, mac(link.lladdr.as_deref()?))));
            let command = device.map(|device| match (to, &owner) {
                (Some(to), Some((_, own))) => shell!(
                    "ip neighbour replace {} lladdr {} dev {} nud permanent",
                    to,
                    own,
                    device
                ),
                (Some(to), None) => shell!("ip neighbour del {} dev {}", to, device),
                (None, _) => shell!("ip neighbour flush dev {} nud permanent", device),
            });
            let command = command.map(|command| node.inside(side.netns, command));
            let summary = match (to, &owner) {
                (Some(_), Some((link, _))) => t!(
                    "name the link-layer address of {} in that entry of the pod {who}",
                    link.name
                ),
                _ => t!("delete the wrong entry in the pod {who}"),
            };
            let fix = Fix {
                summary,
                commands: vec![command.unwrap_or_else(|| show.clone())],
            };
            (show, fix)
        }
    }
}

/// What this end is, and the entries that the other one should have of it.
fn by_the_peer(link: &Link, peer: Option<IpAddr>) -> (CommandLine, Fix) {
    let show = shell!("ip -d link show {}", link.name);
    let who = peer.map_or_else(|| t!("the peer").to_owned(), |peer| peer.to_string());
    let own = link.lladdr.as_deref().map(mac).unwrap_or_default();
    let address = link.addresses.iter().find(|a| !a.link_local);
    let local = link.tunnel.as_ref().and_then(|t| t.local);
    let neighbour = peer.zip(address).map(|(peer, address)| {
        shell!(
            "ssh {} ip neighbour replace {} lladdr {} dev {} nud permanent",
            peer,
            address.prefix.address,
            own,
            link.name
        )
    });
    let forwarding = peer.zip(local).map(|(peer, local)| {
        let name = &link.name;
        shell!(
            "ssh {} bridge fdb replace {} dev {} dst {}",
            peer,
            own,
            name,
            local
        )
    });
    let fix = Fix {
        summary: t!(
            "on {who}: restart its CNI agent, which enters the address of this node's {}, or enter it \
             by hand; and see why that changed (systemd's MACAddressPolicy, a device made anew)",
            link.name
        ),
        commands: [neighbour, forwarding].into_iter().flatten().collect(),
    };
    (show, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{node::Node, observation::Observation},
        testing::{OVERLAY, POD, POD_NETNS, at, died, ip, overlay_node, tcp, with_facts},
    };

    fn node(permanent: bool) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        node.neighbours.push(Neighbour {
            ifindex: POD,
            address: ip("172.20.1.5"),
            lladdr: Some(vec![2, 0, 0, 0, 0, 0x99]),
            failed: false,
            permanent,
        });
        node
    }

    fn named(node: &Node, netns: u32, last: u64) -> Option<Finding> {
        let flow = tcp("192.0.2.9", "172.20.1.5", 443);
        let mut drop = died(flow, (REASON, "ip_rcv_core"), 2, 5);
        (drop.0.netns, drop.1.last) = (netns, last);
        let observation = Observation {
            flows: vec![at(flow, POD, true, 0, |_| {})],
            drops: vec![drop],
            ..Observation::default()
        };
        with_facts(node, &observation, |facts| evaluate(facts, "x"))
    }

    #[test]
    fn a_permanent_entry_whose_frames_the_pod_drops_is_wrong() {
        let found = named(&node(true), POD_NETNS, 4_000_000_000).expect("a finding");
        assert!(
            found.summary.contains("names 02:00:00:00:00:99"),
            "{}",
            found.summary
        );
        assert_eq!(
            found.fix.commands,
            ["ip neighbour del 172.20.1.5 dev cali1"]
        );
        assert!(named(&node(true), POD_NETNS, 2).is_none(), "a moment's");
        assert!(
            named(&node(false), POD_NETNS, 4_000_000_000).is_none(),
            "it heals"
        );
    }

    #[test]
    fn flooding_alone_is_a_healthy_nodes_day() {
        assert!(named(&node(true), 77, 4_000_000_000).is_none());
    }

    /// What the tunnel device drops of a peer's packets to `to`.
    fn by_the_tunnel(to: &str) -> Option<Finding> {
        let mut node = overlay_node(1450, 1450, 1500);
        let tunnel = node.links.iter_mut().find(|l| l.index == OVERLAY);
        tunnel.expect("a tunnel").lladdr = Some(vec![2, 0, 0, 0, 0, 1]);
        let flow = tcp("172.20.2.9", to, 443);
        let mut drop = died(flow, (REASON, "ip_rcv_core"), OVERLAY, 5);
        drop.1.last = 4_000_000_000;
        let observation = Observation {
            drops: vec![drop],
            ..Observation::default()
        };
        with_facts(&node, &observation, |facts| evaluate(facts, "x"))
    }

    #[test]
    fn what_a_tunnel_device_drops_for_an_own_pod_went_by_the_peers_wrong_entry() {
        let found = by_the_tunnel("172.20.1.5").expect("a finding");
        for word in ["192.0.2.2", "vxlan.calico's, 02:00:00:00:00:01"] {
            assert!(found.summary.contains(word), "{}", found.summary);
        }
        assert_eq!(
            found.fix.commands,
            [
                "ssh 192.0.2.2 ip neighbour replace 172.20.1.0 lladdr 02:00:00:00:00:01 dev vxlan.calico nud permanent",
                "ssh 192.0.2.2 bridge fdb replace 02:00:00:00:00:01 dev vxlan.calico dst 192.0.2.1"
            ]
        );
        assert!(by_the_tunnel("172.20.3.9").is_none(), "flooded");
    }
}
