//! Pods whose gateway does not answer ARP or ND: all that they send off their own link dies in their
//! own namespace, and no hook of the node sees it.
//!
//! Where the node has the gateway's address it answers by itself. Where it has not (Calico's
//! 169.254.1.1), it answers for it (proxy ARP), and only under conditions (arp_process() in
//! net/ipv4/arp.c): `proxy_arp` on the pod's link, forwarding, and a route to the gateway's address
//! that leads elsewhere, a default route mostly. A bridge that is down, or whose address was taken
//! away, answers nobody.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::t;

use super::{
    dead_end,
    filtered::{ARP, Filtered},
    forwarding,
    held_port::HeldPort,
    losses::{self, DropGroup},
    next_hop, restoring, wrong_neighbour_entry,
};
use crate::{
    model::{
        address::Prefix,
        gather::{Answer, Want},
        node::{Link, PodSide},
        pod::label,
        policy::{Chosen, Packet},
        shell::CommandLine,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
    },
    pipeline::facts::{Facts, Loss},
    shell,
};

/// A gateway is asked three times, a second apart, and then the whole queue dies at once
/// (mcast_solicit, retrans_time_ms): drops this far apart are of two rounds.
const ROUNDS_NS: u64 = 2_000_000_000;

/// One pod's gateway that keeps silent.
struct Silent<'a> {
    side: &'a PodSide,
    link: &'a Link,
    gateway: IpAddr,
    source: IpAddr,
}

/// Why it does.
enum Why<'a> {
    /// Nothing is forwarded, and so nothing answered for.
    ForwardingOff(String),
    /// No route, or none that may be taken, leads to the gateway's address.
    Unrouted(Chosen<'a>),
    /// Nobody answers for it on that link.
    NoProxy,
    /// The pod's bridge is down.
    Down(&'a Link),
    /// That link, the pod's or its bridge, has no such address; it had it when the run began, with
    /// this prefix.
    Lost(&'a Link, Option<Prefix>),
    /// IPv6 is switched off on that link.
    Without6(&'a Link),
    /// Netfilter of this node takes the questions or the answers.
    Filtered(Filtered),
    /// The pod's port of the bridge lets nothing pass.
    Held(HeldPort<'a>),
    /// It should answer.
    Unknown,
}

/// What is at fault where a gateway keeps silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Forwarding,
    Route,
    /// Its own entry or link, or nobody knows.
    Neighbour,
}

impl Why<'_> {
    fn fault(&self) -> Fault {
        match self {
            Self::ForwardingOff(_) => Fault::Forwarding,
            Self::Unrouted(_) => Fault::Route,
            _ => Fault::Neighbour,
        }
    }
}

/// The finding about pods' gateways that are silent for this fault, by the cause that names it.
pub fn evaluate(facts: &Facts<'_>, cause: &str, fault: Fault) -> Option<Finding> {
    let mut patterns = losses::patterns(facts, |l| silent(facts, l).is_some());
    let why_of = |p: &DropGroup<'_>| Some(why(facts, &silent(facts, p.losses.first()?)?));
    patterns.retain(|p| {
        let lasts = p.last().saturating_sub(p.first()) >= ROUNDS_NS;
        lasts && why_of(p).is_some_and(|why| why.fault() == fault) && !is_told_elsewhere(facts, p)
    });
    let worst = patterns.first()?;
    let one = silent(facts, worst.losses.first()?)?;
    let why = why(facts, &one);
    let packets: u64 = patterns.iter().map(DropGroup::packets).total();
    let summary = t!(
        "{}; {packets} packets of {}, {} among them, none left the pod",
        tell(&one, &why),
        pods(facts, &patterns),
        worst.target(),
    );
    let severity = match why {
        Why::ForwardingOff(_) => Severity::Critical,
        _ => Severity::Warning,
    };
    let mut finding = losses::finding(facts, cause, severity, &patterns, summary);
    finding.evidence.push(evidence(facts, &one, &why));
    finding.evidence.extend(match &why {
        Why::Held(port) => Some(port.evidence()),
        _ => None,
    });
    if let Why::Filtered(filtered) = &why {
        finding.evidence.extend(filtered.evidence(facts));
        let rule = filtered.subject().into_iter();
        rule.for_each(|rule| finding.ties.rest_on(rule));
    } else {
        finding.evidence.extend(arp_losses(facts, one.link));
    }
    finding.about.push(one.gateway);
    next_hop::rest_on(facts, &mut finding, Some(one.link));
    finding.fix = fix(facts, &one, &why);
    Some(finding)
}

/// Whether nothing here says why its gateway does not answer.
pub fn is_unexplained(facts: &Facts<'_>, loss: &Loss) -> bool {
    asked(facts, loss).is_some()
}

/// The gateway that should answer a pod, as far as anybody here can tell, and the pod's address.
pub fn asked(facts: &Facts<'_>, loss: &Loss) -> Option<(IpAddr, IpAddr)> {
    let silent = silent(facts, loss)?;
    let unexplained = matches!(why(facts, &silent), Why::Unknown);
    unexplained.then_some((silent.gateway, silent.source))
}

/// Whether the question or its answer is seen to end at a step, or that is still being looked for.
fn is_told_elsewhere(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let open = || {
        let state = facts.gathered.answer(&Want::Stack(facts.node.netns));
        state == Answer::Outstanding
    };
    let ends = |l: &&Loss| {
        dead_end::of_loss(facts, l).is_some() || wrong_neighbour_entry::is_gateways(facts, l)
    };
    let mut losses = pattern.losses.iter().copied();
    losses.clone().any(|l| is_unexplained(facts, l)) && (open() || losses.any(|l| ends(&l)))
}

/// A packet that died in a pod because its gateway did not answer.
fn silent<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<Silent<'a>> {
    let node = facts.node;
    if !losses::nobody_answered(loss) || loss.key.netns == node.netns {
        return None;
    }
    let side = node.pod_side(loss.key.netns)?;
    let (source, destination) = crate::model::flow::ends(loss.flow());
    let gateway = side.gateway(destination)?;
    // On a link that is down, or no pod's, other things are wrong.
    let own = |l: &&Link| l.peer_netns == Some(side.netns) && l.up;
    let link = node.links.iter().find(own)?;
    let own = side.addresses.contains(&source) && side.links.len() < 2;
    own.then_some(Silent {
        side,
        link,
        gateway,
        source,
    })
}

fn why<'a>(facts: &Facts<'a>, silent: &Silent<'a>) -> Why<'a> {
    let why = by_state(facts, silent);
    if !matches!(why, Why::Unknown) {
        return why;
    }
    let filtered = || Filtered::of(facts, silent.gateway, &[silent.link.index]);
    let held = HeldPort::of(facts, silent.gateway, Some(silent.side)).map(Why::Held);
    held.or_else(|| filtered().map(Why::Filtered))
        .unwrap_or(why)
}

fn by_state<'a>(facts: &Facts<'a>, silent: &Silent<'a>) -> Why<'a> {
    let (node, link) = (facts.node, silent.link);
    let bridge = link.master.and_then(|master| node.link(master));
    let near = bridge.unwrap_or(link);
    if !near.up {
        return Why::Down(near);
    }
    if node.owns(silent.gateway) && !is_link_local(silent.gateway) || has(near, silent.gateway) {
        return Why::Unknown;
    }
    // A bridge answers for nobody else, and ND neither by itself.
    if bridge.is_some() || silent.gateway.is_ipv6() {
        return match silent.gateway.is_ipv6() && is_off6(facts, near) {
            true => Why::Without6(near),
            false => Why::Lost(near, before(facts, near, silent.gateway)),
        };
    }
    if let Some(sysctl) = forwarding::off_at(facts, link) {
        return Why::ForwardingOff(sysctl);
    }
    let chosen = facts.ways().chosen(&Packet {
        iif: Some(link.index),
        ..Packet::between(silent.source, silent.gateway)
    });
    match chosen {
        Chosen::Route(_) => {}
        Chosen::Unknown => return Why::Unknown,
        refused => return Why::Unrouted(refused),
    }
    let off = |link: &str| node.sysctl(&proxy_arp(link)) == Some("0");
    match off(&link.name) && off("all") {
        true => Why::NoProxy,
        false => Why::Unknown,
    }
}

fn is_off6(facts: &Facts<'_>, link: &Link) -> bool {
    let stack = facts.gathered.stack(facts.node.netns);
    let device = stack.and_then(|stack| stack.device(link.index));
    device.is_some_and(|device| device.conf6.is_some_and(|conf| conf.disable))
}

fn disable_ipv6(link: &Link) -> String {
    format!("net.ipv6.conf.{}.disable_ipv6", link.name.replace('.', "/"))
}

fn has(link: &Link, address: IpAddr) -> bool {
    link.addresses.iter().any(|a| a.prefix.address == address)
}

/// Every link may have the same one.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn before(facts: &Facts<'_>, link: &Link, address: IpAddr) -> Option<Prefix> {
    let mut had = facts.start.link(link.index)?.addresses.iter();
    let had = had.find(|a| a.prefix.address == address)?;
    Some(had.prefix)
}

fn proxy_arp(link: &str) -> String {
    format!("net.ipv4.conf.{}.proxy_arp", link.replace('.', "/"))
}

fn tell(silent: &Silent<'_>, why: &Why<'_>) -> String {
    let (gateway, link) = (silent.gateway, &silent.link.name);
    let by = match why {
        Why::ForwardingOff(sysctl) => {
            return t!(
                "this node does not forward: {sysctl} is 0, and so it does not answer for the \
                 gateway {gateway} on {link} (proxy ARP)"
            );
        }
        Why::Unrouted(Chosen::RefusingRule(rule)) => {
            t!("the policy rule \"{}\" refuses the way to it", rule.text())
        }
        Why::Unrouted(Chosen::RefusingRoute(route, _)) => t!(
            "the route {} of table {} refuses it",
            route.destination,
            route.table
        ),
        Why::Unrouted(_) => t!(
            "this node has no route to {gateway}, not even a default route, without which proxy \
             ARP sends no replies"
        ),
        Why::NoProxy => t!("proxy_arp is 0 on {link}, and this node has no such address"),
        Why::Down(bridge) => t!("{}, the pod's bridge, is down", bridge.name),
        Why::Lost(near, _) => t!("{} has no such address", near.name),
        Why::Without6(near) => t!("{} is 1: {} has no IPv6", disable_ipv6(near), near.name),
        Why::Filtered(filtered) => filtered.text(),
        Why::Held(port) => port.text(),
        Why::Unknown => return t!("the gateway {gateway} does not answer on {link}"),
    };
    t!("the gateway {gateway} does not answer on {link}: {by}")
}

fn pods(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> String {
    let all: BTreeSet<IpAddr> = patterns.iter().map(|p| p.source).collect();
    let Some(first) = all.iter().next() else {
        return String::new();
    };
    let pod = facts.pod(*first, PodRole::Source);
    let name = pod.map_or_else(|| first.to_string(), |p| label(&p));
    match all.len() {
        1 => name,
        n => t!("{name} and {} more", n - 1),
    }
}

fn evidence(facts: &Facts<'_>, silent: &Silent<'_>, why: &Why<'_>) -> Evidence {
    let (gateway, link) = (silent.gateway, &silent.link.name);
    let line = |kind, text: String, confirm: CommandLine| {
        let mut line = Evidence::new(kind, Origin::Configured, text);
        (line.at, line.confirm) = (Some(link.clone()), Some(confirm));
        line
    };
    match why {
        Why::ForwardingOff(sysctl) => forwarding::evidence(facts, sysctl),
        Why::Unrouted(_) => line(
            EvidenceKind::Route,
            tell(silent, why),
            shell!(
                "ip route get {} from {} iif {}",
                gateway,
                silent.source,
                link
            ),
        ),
        Why::NoProxy => line(
            EvidenceKind::Sysctl,
            t!("{} and that of all are 0", proxy_arp(link)),
            shell!("sysctl {}", proxy_arp(link)),
        ),
        Why::Without6(near) => line(
            EvidenceKind::Sysctl,
            t!("{} is 1", disable_ipv6(near)),
            shell!("sysctl {}", disable_ipv6(near)),
        ),
        Why::Down(near) | Why::Lost(near, _) => line(
            EvidenceKind::Link,
            tell(silent, why),
            shell!("ip address show dev {}", near.name),
        ),
        Why::Filtered(_) | Why::Held(_) | Why::Unknown => line(
            EvidenceKind::Neighbour,
            t!("the pod routes by {gateway}, behind {link}"),
            facts
                .node
                .inside(silent.side.netns, shell!("ip neighbour show")),
        ),
    }
}

/// The questions themselves, where something on the node drops them.
fn arp_losses(facts: &Facts<'_>, link: &Link) -> Vec<Evidence> {
    let here = |l: &&Loss| {
        l.key.netns == facts.node.netns
            && l.key.ifindex == link.index
            && l.flow().family == 0
            && l.dropped.ethertype == ARP
    };
    let line = |l: &Loss| {
        let (packets, at) = (l.dropped.packets, &link.name);
        let (reason, symbol) = (&l.reason, l.symbol());
        let text = t!("{packets} ARP packets dropped on {at}: {reason} in {symbol}");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.at = Some(at.clone());
        line.packets = Some(packets);
        line.reason = Some(reason.clone());
        line.location = Some(symbol.to_owned());
        line.confirm = Some(match reason.starts_with("TC_") {
            true => shell!("tc filter show dev {} ingress", at),
            false => shell!("timeout 10 tcpdump -c 5 -lnni {v} arp", at),
        });
        line
    };
    facts.losses.iter().filter(here).map(line).collect()
}

fn fix(facts: &Facts<'_>, silent: &Silent<'_>, why: &Why<'_>) -> Fix {
    let (gateway, link) = (silent.gateway, &silent.link.name);
    let inside = |command| facts.node.inside(silent.side.netns, command);
    let (summary, commands) = match why {
        Why::ForwardingOff(sysctl) => {
            return forwarding::fix(std::slice::from_ref(sysctl));
        }
        Why::Unrouted(chosen) => {
            if let Some(fix) = restoring::allow(facts, *chosen, gateway) {
                return fix;
            }
            let before = facts.way_before(&facts.from_to(silent.source, gateway));
            let again = before.and_then(|r| restoring::again(facts, r));
            let show = shell!(
                "ip route get {} from {} iif {}",
                gateway,
                silent.source,
                link
            );
            (
                t!(
                    "give the node a default route again; where there is no router, one to any \
                 address of its own network will do: proxy ARP asks for a route alone"
                )
                .into(),
                vec![again.unwrap_or(show)],
            )
        }
        Why::NoProxy => (
            t!(
                "let {link} answer for the gateway; the CNI's agent sets it when it sees the pod \
                 (Calico: restart calico-node)"
            ),
            vec![shell!("sysctl -w {}=1", proxy_arp(link))],
        ),
        Why::Down(bridge) => (
            t!("set {} up; find out who took it down", bridge.name),
            vec![shell!("ip link set dev {} up", bridge.name)],
        ),
        Why::Lost(near, Some(had)) => (
            t!(
                "give {} the address {gateway} again: find out who took it away (a network \
                 manager, mostly), and keep that off {}",
                near.name,
                near.name
            ),
            vec![shell!("ip address add {} dev {}", had, near.name)],
        ),
        Why::Without6(near) => (
            t!(
                "switch IPv6 on again on {}, and have the CNI's agent give it {gateway} and the pod's route again: they went with it; find out who switched it off",
                near.name
            ),
            vec![shell!("sysctl -w {}=0", disable_ipv6(near))],
        ),
        Why::Filtered(filtered) => return filtered.fix(),
        Why::Held(port) => return port.fix(),
        // It may be another host's behind the bridge.
        Why::Lost(near, None) => (
            t!(
                "see whose {gateway} is meant to be: where the CNI gives it to {}, let its plugin \
                 or agent set it again; where it is another host's, see whether that is up",
                near.name
            ),
            vec![
                shell!("ip address show dev {}", near.name),
                shell!("timeout 10 tcpdump -c 5 -lnni {v} arp or icmp6", link),
            ],
        ),
        Why::Unknown => (
            t!("find what takes the pod's questions for {gateway} at {link}, or the answers"),
            vec![
                shell!("timeout 10 tcpdump -c 5 -lnni {v} arp or icmp6", link),
                shell!("tc filter show dev {} ingress", link),
                shell!("nft list ruleset"),
                inside(shell!("ip neighbour show")),
            ],
        ),
    };
    Fix { summary, commands }
}

#[cfg(test)]
mod tests;
