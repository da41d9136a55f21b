//! # Symptom
//! A host is reachable only some of the time: connections to it stall for some seconds, are reset, and
//! work again. No configuration explains the pattern.
//!
//! # Mechanism
//! Two hosts on one network have the same address, for example one static and one from DHCP, or a cloned
//! machine. Both answer for it (ARP, RFC 826; neighbour discovery, RFC 4861), and the one that answered
//! last gets the traffic.
//!
//! # Signals
//! Observed: on one link, ARP replies and announcements (or neighbour advertisements) for one address
//! come from two MACs in turn; or another host answers again and again for an address of this node. A
//! neighbour entry that changes back and forth between the two shows the same if no packet of them was
//! seen. Requests to that address, direct or tunnelled, without an answer show the harm. A fail-over
//! moves an address once, and perhaps back. Anycast and proxies (neighbour advertisements without the
//! override flag) do not count. Two pods of this node that are routed to, without a bridge: both have the address, the one
//! sends with it, and the route leads to the other. Configured: of two pods on one bridge that have an IPv6 address, the one has
//! it as `dadfailed`: it found it taken. Two pods on one bridge with one link-layer address: what is for one dies in the other.
//!
//! # Look-alikes
//! One host with two NICs on one network answers on both (ARP flux: set arp_ignore=1 there). Two VRRP
//! masters that do not hear each other both claim the address. A router with proxy_arp answers for hosts
//! that exist.
//!
//! # By hand
//! `ip monitor neigh` shows the entry change. `arping -b -I LINK ADDRESS` gets replies from two MACs
//! (iputils' arping asks only the first replier without `-b`). The switch's MAC table shows the ports.
//!
//! # Fix
//! Take the address from one of the hosts: exclude it from the DHCP range, or give the cloned machine its
//! own. If both are pods, delete one and find out why IPAM assigned the address twice.
mod detected;
mod routed;
mod same_mac;

use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::claim::{NeighbourAnnouncement, NeighbourAnnouncementKey};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::{from_wire, mac as text},
        flow,
        gather::Want,
        node::{Link, NeighbourMoves, Node},
        pod::label,
        shell::CommandLine,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRef, PodRole, Severity,
            Subject,
        },
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{losses::PATTERN, overlay},
    shell,
};

pub const ID: &str = "duplicate-address";
pub const TITLE: &str = mark!("two hosts answer for one address");

/// A fail-over and its return are two changes.
const CHANGES: u32 = 3;
/// Back, and back again.
const RETURNS: u32 = 2;
/// Each of the two spoke again after the other had: not three that took over in turn.
const AGAIN: u64 = 2;

/// An address that two hosts hold.
struct Held {
    ifindex: u32,
    address: IpAddr,
    /// Of the others, where it is this node's own.
    lladdrs: Vec<String>,
    own: bool,
    changes: u32,
    first: u64,
    evidence: Vec<Evidence>,
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let routed = routed::evaluate(facts).into_iter();
    let detected = detected::evaluate(facts);
    on_a_link(facts)
        .into_iter()
        .chain(routed)
        .chain(detected)
        .chain(same_mac::evaluate(facts))
        .collect()
}

/// What a kernel that looked before it used an address found.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    detected::wants(facts)
}

/// Who answers for one address on a link, as two.
fn on_a_link(facts: &Facts<'_>) -> Option<Finding> {
    let mut twice: Vec<Held> = facts
        .claims
        .iter()
        .filter_map(|c| claimed(facts, c))
        .collect();
    for held in pods_of_a_bridge(facts) {
        if !twice.iter().any(|known| known.address == held.address) {
            twice.push(held);
        }
    }
    for moves in facts.node.neighbour_moves.iter() {
        if back_and_forth(facts, moves) {
            add_moves(facts, &mut twice, moves);
        }
    }
    twice.sort_by_key(|h| (!h.own, std::cmp::Reverse(h.changes), h.address));
    let worst = twice.first()?;
    let link = facts.node.link_name(worst.ifindex);
    let asks: Vec<&HopFlow> = twice.iter().flat_map(|h| lost(facts, h.address)).collect();
    let severity = match asks.is_empty() {
        true => Severity::Warning,
        false => Severity::Critical,
    };
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary(worst, &link));
    finding.evidence = twice.iter().flat_map(|h| h.evidence.clone()).collect();
    let ports = ports(facts, worst);
    let behind = ports.iter().map(|port| behind(facts, worst.address, port));
    finding.evidence.extend(behind);
    finding.evidence.extend(unanswered(&asks, worst.address));
    overlay::tell(&mut finding, facts, &asks);
    let holders = ports
        .iter()
        .filter_map(|(_, port)| pod(facts, worst.address, port));
    let mut holders: Vec<PodRef> = holders.collect();
    holders.dedup();
    finding.fix = fix(worst, &link, &holders, &ports);
    finding.pods.extend(holders);
    finding.about = twice.iter().map(|h| h.address).collect();
    for address in twice.iter().map(|held| held.address) {
        let because = t!("another host that holds {address}, too, gets its packets");
        finding.ties.blame(Subject::Address { address }, because);
    }
    let others = twice.iter().filter(|h| !h.own).map(|h| h.address);
    finding.scope.add_hosts(&others.collect::<Vec<_>>());
    finding.last_seen = facts.clock.text(facts.now);
    let first = asks.iter().map(|h| h.hop.first);
    let first = first.chain(twice.iter().map(|h| h.first)).min();
    finding.first_seen = facts.clock.text(first.unwrap_or(facts.now));
    Some(finding)
}

fn summary(worst: &Held, link: &str) -> String {
    let (address, hosts) = (worst.address, worst.lladdrs.join(t!(" and ")));
    match worst.own {
        true => t!(
            "{hosts} on {link} claims {address}, which this node holds: whoever spoke last has \
             the traffic"
        ),
        false => t!(
            "two hosts on {link} answer for {address}: {hosts}; whoever spoke last has the traffic"
        ),
    }
}

/// By turns, or one that is this node's.
fn claimed(
    facts: &Facts<'_>,
    (key, claim): &(NeighbourAnnouncementKey, NeighbourAnnouncement),
) -> Option<Held> {
    let address = from_wire(key.address);
    let link = facts.link(key.ifindex).filter(|l| !l.is_tunnel())?;
    let both = [(claim.one, claim.of_one), (claim.other, claim.of_other)];
    let told: Vec<_> = both.into_iter().filter(|(mac, _)| *mac != 0).collect();
    let by_turns = claim.changes >= CHANGES && told.iter().all(|(_, times)| *times >= AGAIN);
    let foreign: Vec<_> = told
        .iter()
        .filter(|(mac, times)| *times >= PATTERN && is_foreign(facts, *mac))
        .collect();
    // An address that came here lately was another's before, who said so.
    let held = facts
        .start
        .link(link.index)
        .is_none_or(|before| holds(facts.start, before, address));
    let own = held && holds(facts.node, link, address) && !foreign.is_empty();
    let others = by_turns && is_reached_by(facts, link, address);
    if !own && !others {
        return None;
    }
    let of = |macs: &[&(u64, u64)]| macs.iter().map(|(mac, _)| text(&bytes(*mac))).collect();
    let all: Vec<_> = told.iter().collect();
    Some(Held {
        ifindex: key.ifindex,
        address,
        lladdrs: of(if own { &foreign } else { &all }),
        own,
        changes: claim.changes,
        first: claim.first,
        evidence: vec![came(link, address, &told, Some(claim.changes))],
    })
}

/// Pods behind two ports of one bridge that have the address now, and both answered for it: a port
/// sees one of them alone, and the node has no entry that would move where it sends them nothing.
fn pods_of_a_bridge(facts: &Facts<'_>) -> Vec<Held> {
    type Answers<'a> = BTreeMap<u32, &'a NeighbourAnnouncement>;
    let mut answered: BTreeMap<(u32, IpAddr), Answers<'_>> = BTreeMap::new();
    for (key, claim) in facts.claims {
        let address = from_wire(key.address);
        let port = facts.link(key.ifindex);
        let bridge = port.and_then(|port| port.master);
        let side = port.and_then(|port| facts.node.pod_side(port.peer_netns?));
        // Not one that was there before, nor a virtual address that moves between pods.
        let has = side.is_some_and(|side| side.addresses.contains(&address));
        if let Some((bridge, side)) = bridge.zip(side).filter(|_| has) {
            // A pod with two links here answers by both (arp_ignore).
            let by = answered.entry((bridge, address)).or_default();
            by.insert(side.netns, claim);
        }
    }
    let held = answered.into_iter().filter_map(|((bridge, address), by)| {
        let mut told: Vec<_> = by.values().map(|c| (c.one, c.of_one)).collect();
        told.sort_unstable();
        told.dedup_by_key(|(mac, _)| *mac);
        // In two VLANs they are on two networks, and may have one address.
        let one_network = |link: &&Link| !link.vlan_filtering && told.len() > 1;
        let link = facts.link(bridge).filter(one_network)?;
        Some(Held {
            ifindex: bridge,
            address,
            lladdrs: told.iter().map(|(mac, _)| text(&bytes(*mac))).collect(),
            own: false,
            changes: 0,
            first: by.values().map(|claim| claim.first).min().unwrap_or(0),
            evidence: vec![came(link, address, &told, None)],
        })
    });
    held.collect()
}

/// Whether this node may send to that address by the link, or by what it is a port or the lower link
/// of. What a pod claims on its own link that is reached by another one, nobody here believes.
fn is_reached_by(facts: &Facts<'_>, link: &Link, address: IpAddr) -> bool {
    let by = facts.link_by(&facts.from_node(address));
    by.is_none_or(|by| {
        let here = [Some(link.index), link.master];
        here.contains(&Some(by.index)) || by.link.is_some() && here.contains(&by.link)
    })
}

/// The link that it came in by, or the bridge or bond that this is a port of, has the address.
fn holds(node: &Node, link: &Link, address: IpAddr) -> bool {
    let master = link.master.and_then(|master| node.link(master));
    let mut addresses = std::iter::once(link)
        .chain(master)
        .flat_map(|l| &l.addresses);
    addresses.any(|a| a.prefix.address == address)
}

/// No link of this node's has that link-layer address, as far as they are known.
fn is_foreign(facts: &Facts<'_>, mac: u64) -> bool {
    let mut known = facts.node.links.iter().filter_map(|l| l.lladdr.as_ref());
    let mac = bytes(mac);
    known.clone().next().is_some() && !known.any(|own| *own == mac)
}

fn bytes(mac: u64) -> Vec<u8> {
    mac.to_be_bytes()[2..].to_vec()
}

fn came(link: &Link, address: IpAddr, told: &[(u64, u64)], changes: Option<u32>) -> Evidence {
    let name = &link.name;
    let each: Vec<_> = told
        .iter()
        .map(|(mac, times)| t!("{times} from {}", text(&bytes(*mac))))
        .collect();
    let turns = match changes {
        Some(changes) if told.len() > 1 => t!("; {changes} times by another one than before"),
        _ => String::new(),
    };
    let sentence = t!(
        "answers and announcements for {address} that came in by {name}: {}{turns}",
        each.join(t!(", ")),
    );
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, sentence);
    line.at = Some(name.clone());
    line.packets = Some(told.iter().map(|(_, times)| times).total());
    let own = link.addresses.iter().any(|a| a.prefix.address == address);
    line.confirm = Some(asked(name, address, own));
    line
}

/// Nobody may speak while one looks on: asked for it, all that have it answer.
fn asked(link: &str, address: IpAddr, own: bool) -> CommandLine {
    match address {
        // With -D as if this node did not have it: whoever answers is another.
        IpAddr::V4(_) if own => shell!("arping -D -c3 -w3 -I {v} {}", link, address),
        // With -b iputils' asks both each time, and the other program of that name gets no answer.
        IpAddr::V4(_) => shell!("arping -b -c2 -w2 -I {v} {}", link, address).then(shell!(
            "arping -c2 -w2 -I {v} {}",
            link,
            address
        )),
        IpAddr::V6(_) => shell!("ndisc6 -m -r1 {} {}", address, link),
    }
}

/// On a bridge: the ports that they came in by, which tells whose they are.
fn ports<'a>(facts: &Facts<'a>, worst: &Held) -> Vec<(String, &'a Link)> {
    let port = |(key, claim): &(NeighbourAnnouncementKey, NeighbourAnnouncement)| {
        let link = facts.link(key.ifindex)?;
        let lladdr = text(&bytes(claim.one));
        let same = from_wire(key.address) == worst.address && worst.lladdrs.contains(&lladdr);
        (same && link.master == Some(worst.ifindex)).then_some((lladdr, link))
    };
    let mut ports: Vec<_> = facts.claims.iter().filter_map(port).collect();
    ports.sort_by(|(a, _), (b, _)| a.cmp(b));
    ports
}

/// The pod behind a port of the bridge, by the address that is not its alone.
fn pod(facts: &Facts<'_>, address: IpAddr, port: &Link) -> Option<PodRef> {
    let pod = facts.pods.by_interface(&port.name)?;
    Some(pod.refer(Some(address), Some(PodRole::Server)))
}

fn behind(facts: &Facts<'_>, address: IpAddr, (lladdr, port): &(String, &Link)) -> Evidence {
    let name = &port.name;
    let sentence = match pod(facts, address, port) {
        Some(pod) => t!("{lladdr} is behind {name}, {}", label(&pod)),
        None => t!("{lladdr} is behind {name}"),
    };
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, sentence);
    line.at = Some(name.clone());
    line.confirm = Some(shell!("bridge fdb show dev {}", name));
    line
}

/// Not the entries of a tunnel, which its daemon writes.
fn back_and_forth(facts: &Facts<'_>, moves: &NeighbourMoves) -> bool {
    let tunnel = facts.link(moves.ifindex).is_none_or(Link::is_tunnel);
    // What began before this run, or before what is looked at of it, is over.
    let start = &facts.start.neighbour_moves;
    let mut start = start.iter();
    let same = |m: &&NeighbourMoves| (m.ifindex, m.address) == (moves.ifindex, moves.address);
    let before = start.find(same).map(|m| (m.changes, m.returns));
    let (changes, returns) = before.unwrap_or_default();
    let changes = moves.changes.saturating_sub(changes);
    // An address goes to one new pod after another, and comes back to none of them.
    let again = match moves.returns {
        Some(all) => all.saturating_sub(returns.unwrap_or(0)) >= RETURNS,
        None => moves.changes as usize >= moves.lladdrs.len(),
    };
    !tunnel && changes >= CHANGES && again
}

/// What the kernel's entry shows, beside what was seen of the same address on the wire.
fn add_moves(facts: &Facts<'_>, twice: &mut Vec<Held>, moves: &NeighbourMoves) {
    let line = changed(facts, moves);
    let known = twice.iter_mut().find(|h| h.address == moves.address);
    match known {
        Some(held) => held.evidence.push(line),
        None => twice.push(Held {
            ifindex: moves.ifindex,
            address: moves.address,
            lladdrs: lladdrs(moves),
            own: false,
            changes: moves.changes,
            first: facts.now,
            evidence: vec![line],
        }),
    }
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
    moves.lladdrs.iter().map(|lladdr| text(lladdr)).collect()
}

fn changed(facts: &Facts<'_>, moves: &NeighbourMoves) -> Evidence {
    let link = facts.node.link_name(moves.ifindex);
    let (address, changes) = (moves.address, moves.changes);
    let hosts = lladdrs(moves).join(t!(" and "));
    let text =
        t!("the neighbour entry of {address} on {link} changed {changes} times between {hosts}");
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
    line.confirm = Some(asked(&link, moves.address, false));
    line.at = Some(link);
    line
}

fn unanswered(asks: &[&HopFlow], address: IpAddr) -> Option<Evidence> {
    let packets = asks.iter().map(|h| overlay::asked(h)).total();
    let text = t!(
        "{packets} requests of {} flows to {address}, or tunnelled to it, got no answer",
        asks.len()
    );
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
    line.at = Some(asks.first()?.interface.clone());
    line.packets = Some(packets);
    Some(line)
}

fn fix(worst: &Held, link: &str, pods: &[PodRef], ports: &[(String, &Link)]) -> Fix {
    match (pods, ports) {
        ([one, other, ..], _) if !worst.own => of_pods(worst, one, other),
        ([], [one, other, ..]) if !worst.own => of_ports(worst, &one.1.name, &other.1.name),
        _ => of_hosts(worst, link),
    }
}

/// Nobody tells whose they are.
fn of_ports(worst: &Held, one: &str, other: &str) -> Fix {
    let address = worst.address;
    Fix {
        summary: t!(
            "take {address} from what is behind {one} or from what is behind {other}: a pod is recreated, \
             and given another one; then find out who gave it out twice"
        ),
        commands: vec![
            shell!("bridge fdb show dev {}", one),
            shell!("bridge fdb show dev {}", other),
        ],
    }
}

/// Whoever gives out addresses gave this one out twice.
fn of_pods(worst: &Held, one: &PodRef, other: &PodRef) -> Fix {
    let (address, second) = (worst.address, label(other));
    let delete = |pod: &PodRef| {
        let (namespace, name) = (pod.namespace.as_ref()?, pod.name.as_ref()?);
        Some(shell!("kubectl -n {v} delete pod {}", namespace, name))
    };
    Fix {
        summary: t!(
            "delete {} or {second}: the new pod is given another address than {address}; then \
             find out why the CNI's IPAM gave it out twice (its files or its datastore lost, two \
             ranges that overlap)",
            label(one),
        ),
        commands: delete(other).into_iter().collect(),
    }
}

fn of_hosts(worst: &Held, link: &str) -> Fix {
    let address = worst.address;
    let whose = match worst.own {
        true => t!("this node or that host, whichever"),
        false => t!("the one that"),
    };
    Fix {
        summary: t!(
            "find {} in the switch's table of MACs, and take {address} from {whose} should not \
             have it: out of the DHCP range, or another static address. If both are one host's \
             NICs: sysctl -w net.ipv4.conf.all.arp_ignore=1 there",
            worst.lladdrs.join(t!(" and ")),
        ),
        commands: vec![asked(link, address, worst.own)],
    }
}

#[cfg(test)]
mod tests;
