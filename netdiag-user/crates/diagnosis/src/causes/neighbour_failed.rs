//! # Symptom
//! "No route to host" after three seconds, or no answer at all: one node, one pod or the gateway is
//! unreachable while others on the same network answer.
//!
//! # Mechanism
//! The route leads to a next hop that does not answer ARP or neighbour solicitations. On an overlay like
//! flannel's nobody sends ARP: the CNI's agent enters each peer's tunnel address in the neighbour table
//! and its VTEP in the FDB. If one of the two entries is missing, packets are dropped in the tunnel
//! device.
//!
//! A permanent entry may hold an outdated MAC: the kernel sends no ARP for it, and whoever gets the
//! frames drops them. The same happens if a peer's agent never learned the new MAC of a tunnel device.
//!
//! A pod's gateway may be an address that the node does not have but answers for (proxy ARP, Calico's
//! 169.254.1.1). If the node sends no reply, nothing leaves the pod. A node that does not forward, or has
//! no route to that address, sends no replies either: these have causes of their own.
//!
//! # Signals
//! Observed: drops with the reason NEIGH_FAILED (for IPv6 recognised by their location), in more than one
//! round of solicitations. On a VXLAN device: drops in `vxlan_xmit` (NO_TX_TARGET, NOT_SPECIFIED on older
//! kernels), which mean a missing FDB entry. OTHERHOST for packets that are in the right namespace, if
//! the neighbour table has a permanent entry for them, or if they come out of a tunnel device for a pod
//! of this node. NEIGH_FAILED in a pod for packets to its gateway, and drops of ARP on its link; where this node is the
//! gateway, and answers neighbour discovery by a permanent entry of the pod that is wrong, that entry is named.
//! Configured: `proxy_arp` of that link, neighbour table and FDB.
//!
//! Where netfilter of this node drops what is asked or answered there (ARP by a rule of a bridge, neighbour discovery by a
//! rule for IPv6), that is told with the rule; so is a bridge's port that lets nothing pass, a rule that leads others' packets
//! to an address that no pod has, and a tunnel of the pods' bridge by which the question leaves.
//!
//! # Look-alikes
//! Two isolated ports of one bridge: the ARP request does not get through; the finding says so. Just
//! after a rollout clients still send to pods that are gone: addresses on pods' own links get ten
//! seconds. `no-route`: there is no route at all. `vxlan-source-mismatch`: the address without an owner
//! is a VTEP's old one.
//!
//! # By hand
//! `ip neighbour show to ADDRESS`, `bridge fdb show dev DEVICE`, `ip route get DESTINATION`.
//!
//! # Fix
//! On an overlay: find out why the agent did not enter that node (its lease or Node object is missing),
//! and restart the agent. Otherwise: bring the host back, or stop using its address.
mod below;
mod beside;
mod elsewhere;
mod entries;
mod flooded;
mod hop;
mod led;
mod shadow;
mod why;

use std::net::IpAddr;

use netdiag_lang::{mark, t};

use self::{
    hop::{Hop, Missing, hop, link_of, neighbours},
    why::Why,
};
use crate::{
    model::{
        address::mac,
        flow,
        node::{Link, LinkKind},
        roles::Role,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Passage, PodRole, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shared::{
        daemon, filtered, held_port,
        isolation::Isolation,
        local_pod_route,
        losses::{self, DropGroup, Standing},
        next_hop,
        pod_gateway_silent::{self, Fault},
        wrong_neighbour_entry,
    },
    shell,
};

pub const ID: &str = "neighbour-failed";
pub const TITLE: &str =
    mark!("a next hop does not answer ARP/ND, or its entry is missing or wrong");

/// A neighbour is asked three times, a second apart, and then its whole queue dies at once
/// (mcast_solicit, retrans_time_ms): drops this far apart are of two rounds.
const ROUNDS_NS: u64 = 2_000_000_000;
/// Pods that are gone are asked for until endpoints and clients have caught up.
const ROLLOUT_NS: u64 = 10_000_000_000;

/// Which rule of netfilter's takes what neighbours ask and answer, and which port of a bridge lets nothing pass.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let all = [
        filtered::wants(facts),
        held_port::wants(facts),
        flooded::wants(facts),
    ];
    all.concat()
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let gateway = pod_gateway_silent::evaluate(facts, ID, Fault::Neighbour);
    let wrong = wrong_neighbour_entry::evaluate(facts, ID);
    [missing(facts), gateway, wrong]
        .into_iter()
        .flatten()
        .collect()
}

fn missing(facts: &Facts<'_>) -> Option<Finding> {
    let mut patterns = losses::patterns(facts, |l| is_unresolved(facts, l));
    patterns.retain(|p| concerns_us(facts, p) && persists(facts, p) && is_next_hop(facts, p));
    let worst = patterns.first()?;
    let hop = hop(facts, worst);
    let summary = t!(
        "{}; {} from {}: {} packets, none got through",
        tell(&hop),
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    let apart = hop.apart.as_ref().map(Isolation::evidence);
    let why = hop.why.iter().flat_map(|why| why.evidence(facts));
    let table = [table_evidence(facts, &hop)].into_iter();
    finding.evidence.extend(table.chain(apart).chain(why));
    if let Some(subject) = hop.why.as_ref().and_then(Why::subject) {
        finding.ties.blame(subject.clone(), tell(&hop));
        finding.blames(subject);
    }
    finding.about.push(hop.address);
    next_hop::rest_on(facts, &mut finding, hop.link);
    // A pod's own neighbours are nobody else's.
    if worst.losses.iter().any(|l| l.key.netns == facts.node.netns) {
        finding.scope.add_passage(Passage::Host(hop.address));
    }
    finding.fix = fix(facts, worst, &hop);
    Some(finding)
}

fn is_unresolved(facts: &Facts<'_>, loss: &Loss) -> bool {
    if losses::nobody_answered(loss) {
        return true;
    }
    let unspecified = loss.reason == "NOT_SPECIFIED";
    let kind = link_of(facts, loss).map(|l| &l.kind);
    let unaddressed =
        matches!(loss.reason.as_str(), "NO_TX_TARGET" | "VXLAN_NO_REMOTE") || unspecified;
    unaddressed && kind == Some(&LinkKind::Vxlan) && loss.symbol().starts_with("vxlan_xmit")
}

/// What the outside sends through this node to nobody is a scan.
fn concerns_us(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let ours = |a| facts.pod(a, PodRole::Source).is_some();
    let led_on = || losses::standing(facts, pattern) == Some(Standing::Published);
    ours(pattern.source) || ours(pattern.destination) || facts.owns(pattern.source) || led_on()
}

/// Whether the destination, or the node's gateway to it, is who did not answer. What a pod could not
/// resolve may be its own gateway, unless the destination is on the bridge that the pod is on, as this node or the pod
/// itself leads there.
fn is_next_hop(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let sent = facts.from_to(pattern.source, pattern.destination);
    let bridge = facts.way(&sent).and_then(|r| r.oif);
    let mut losses = pattern.losses.iter();
    losses.any(|loss| {
        let netns = loss.key.netns;
        let mut links = facts.node.links.iter();
        let link = links.find(|l| l.peer_netns == Some(netns));
        let bridged = |l: &Link| {
            let led_there = l.master == bridge || is_beside(facts, loss);
            l.master.is_some() && led_there
        };
        netns == facts.node.netns || link.is_some_and(bridged)
    })
}

/// As its own routes say, and nobody's rules lead elsewhere what it asks there.
fn is_beside(facts: &Facts<'_>, loss: &Loss) -> bool {
    let (_, to) = flow::ends(loss.flow());
    let side = facts.node.pod_side(loss.key.netns);
    let way = side.and_then(|side| side.way(to));
    way.is_some_and(|(_, gateway)| gateway.is_none()) && facts.translates(loss.flow()).is_none()
}

fn persists(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let link = pattern.losses.iter().find_map(|l| link_of(facts, l));
    let to_pods = link.and_then(|l| facts.role(l));
    // Who is seen elsewhere is not gone.
    let seen = link.is_some_and(|link| elsewhere::comes_by(facts, pattern, link).is_some());
    let beside = || pattern.losses.iter().any(|l| is_beside(facts, l));
    let patience = match to_pods {
        Some(Role::Pod | Role::Bridge) if !seen => ROLLOUT_NS,
        None if link.is_none() && beside() => ROLLOUT_NS,
        _ => ROUNDS_NS,
    };
    pattern.last().saturating_sub(pattern.first()) >= patience
}

fn tell(hop: &Hop<'_>) -> String {
    let address = hop.address;
    let on = hop.link.map_or(t!("the link"), |l| l.name.as_str());
    if let Some(off) = hop.off {
        return t!(
            "{address} does not answer on {on}: the link {} of the pod that has it is switched off",
            off.name
        );
    }
    if let Some((by, route)) = hop.comes {
        return t!(
            "{address} does not answer on {on}, where the route {} looks for it: what it sends comes in by {}",
            route.destination,
            by.name
        );
    }
    match &hop.missing {
        Missing::Answer => match &hop.apart {
            Some(apart) => t!("{address} does not answer: {}", apart.text()),
            None => match hop.behind {
                Some(link) => t!(
                    "{address} does not answer on {on}: {}",
                    local_pod_route::tell(address, link)
                ),
                None => unanswered_on(hop, on),
            },
        },
        Missing::Neighbour => {
            t!("{on} has no neighbour entry for {address}, the other end of the overlay")
        }
        Missing::Forwarding(lladdr) => t!(
            "{on} has no forwarding entry for {}, the address of {address}",
            mac(lladdr)
        ),
    }
}

fn unanswered_on(hop: &Hop<'_>, on: &str) -> String {
    let address = hop.address;
    match hop.why.as_ref().map(Why::text) {
        Some(why) => t!("{address} does not answer on {on}: {why}"),
        None => t!("{address} does not answer on {on}"),
    }
}

fn table_evidence(facts: &Facts<'_>, hop: &Hop<'_>) -> Evidence {
    if let Some(asker) = hop.asker {
        let text = t!(
            "a pod asks for {} itself, in its own namespace",
            hop.address
        );
        let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
        let shown = shell!("ip neighbour show to {}", hop.address);
        line.confirm = Some(facts.node.inside(asker.netns, shown));
        return line;
    }
    let shown = match hop.missing {
        Missing::Forwarding(_) => shell!("bridge fdb show"),
        // The kernel makes one of its own for a moment, with no address in it.
        Missing::Neighbour => shell!("ip neighbour show nud permanent to {}", hop.address),
        Missing::Answer => shell!("ip neighbour show to {}", hop.address),
    };
    let shown = match hop.link {
        Some(link) => shown.with_names(["dev", &link.name]),
        None => shown,
    };
    let (kind, text, shown) = match &hop.missing {
        Missing::Forwarding(lladdr) => {
            let entries = shown.pipe(shell!("grep -c -e {v}", mac(lladdr)));
            (EvidenceKind::Fdb, tell(hop), entries.showing(&["0"]))
        }
        Missing::Neighbour => (EvidenceKind::Neighbour, tell(hop), shown.showing_nothing()),
        Missing::Answer => {
            let entry = neighbours(facts, hop.link).find(|n| n.address == hop.address);
            // It is asked for again and again, and forgotten in between.
            let states = ["FAILED", "INCOMPLETE"];
            let address = hop.address;
            let (text, shown) = match entry {
                Some(n) if n.failed => (t!("{address} is FAILED"), shown.showing(&states)),
                Some(n) if n.lladdr.is_none() => (
                    t!("{address} is still being asked for"),
                    shown.showing(&states),
                ),
                Some(_) => (
                    t!("{address} was found again meanwhile"),
                    shown.showing(&["lladdr"]),
                ),
                None => (
                    t!("{address} has no entry any more"),
                    shown.showing_nothing(),
                ),
            };
            (EvidenceKind::Neighbour, text, shown)
        }
    };
    let mut line = Evidence::new(kind, Origin::Configured, text);
    line.at = hop.link.map(|l| l.name.clone());
    line.confirm = Some(shown);
    line
}

fn fix(facts: &Facts<'_>, worst: &DropGroup<'_>, hop: &Hop<'_>) -> Fix {
    if let Some(off) = hop.off {
        return Fix {
            summary: t!(
                "switch {} on again: nothing gets to or from that pod",
                off.name
            ),
            commands: vec![shell!("ip link set dev {} up", off.name)],
        };
    }
    if let Some((by, route)) = hop.comes {
        return elsewhere::fix(hop.address, hop.link, (by, route));
    }
    // What an overlay lacks is lacking on its device.
    let device = hop.link.map_or("", |l| l.name.as_str());
    let network = facts
        .way(&facts.from_to(worst.source, worst.destination))
        .map(|r| r.destination);
    let network = network.map_or_else(|| worst.destination.to_string(), |n| n.to_string());
    let lease = t!(
        "the lease of the node that owns {network} is missing here: see that its Node object or \
         lease names its address, then restart the CNI's agent on this node, which enters it"
    );
    if let Some(apart) = &hop.apart {
        return Fix {
            summary: apart.advice(),
            commands: vec![apart.lift()],
        };
    }
    if let (Missing::Answer, Some(link)) = (&hop.missing, hop.behind) {
        return local_pod_route::lead(facts, hop.address, link);
    }
    if let Missing::Answer = hop.missing {
        let why = hop.why.as_ref().map(|why| why.fix(by_hand(facts, hop)));
        let here = || shadow::of_nobody_here(facts, hop.address, by_hand(facts, hop));
        if let Some(fix) = why.or_else(here) {
            return fix;
        }
    }
    let restart = daemon::of_network(facts).map(|it| it.restart(facts));
    let (summary, mut commands) = match &hop.missing {
        Missing::Answer => (unanswered(facts, hop), by_hand(facts, hop)),
        Missing::Neighbour => (
            lease,
            match entries::spare(facts, hop) {
                Some(entry) => vec![shell!(
                    "ip neighbour replace {} lladdr {} dev {} nud permanent",
                    hop.address,
                    mac(&entry.lladdr),
                    device
                )],
                None => vec![shell!("ip neighbour show dev {}", device)],
            },
        ),
        Missing::Forwarding(lladdr) => (
            lease,
            vec![match entries::sender(facts, worst, hop) {
                Some(peer) => shell!(
                    "bridge fdb replace {} dev {} dst {} self permanent",
                    mac(lladdr),
                    device,
                    peer
                ),
                None => shell!("bridge fdb show dev {}", device),
            }],
        ),
    };
    if !matches!(hop.missing, Missing::Answer) {
        commands.extend(restart);
    }
    Fix { summary, commands }
}

fn unanswered(facts: &Facts<'_>, hop: &Hop<'_>) -> String {
    let address = hop.address;
    let vtep = facts.node.fdb.iter().any(|f| f.vtep == address);
    if vtep {
        t!(
            "{address} is the VTEP of a node that is gone or cut off: bring it back, or delete \
             its Node object, so that nothing is sent to its pods any more"
        )
    } else {
        t!("see whether the host {address} is up and in this network; it does not answer")
    }
}

/// What shows whether it answers: where the pod asks, in its own namespace.
fn by_hand(facts: &Facts<'_>, hop: &Hop<'_>) -> Vec<CommandLine> {
    let shown = shell!("ip neighbour show to {}", hop.address);
    let Some(asker) = hop.asker else {
        let device = hop.link.map(|l| asking(hop.address, &l.name));
        return [shown].into_iter().chain(device).collect();
    };
    let device = asker.links.first().map(|(_, name)| name);
    let device = device.map(|name| asking(hop.address, name));
    let all = [shown].into_iter().chain(device);
    all.map(|command| facts.node.inside(asker.netns, command))
        .collect()
}

/// A command that asks for the address by hand.
fn asking(address: IpAddr, device: &str) -> CommandLine {
    match address {
        IpAddr::V4(_) => shell!("arping -c3 -w3 -I {v} {}", device, address),
        IpAddr::V6(_) => shell!("ndisc6 -r1 {} {}", address, device),
    }
}

#[cfg(test)]
mod tests;
