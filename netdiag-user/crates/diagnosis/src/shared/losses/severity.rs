//! How bad it is that packets of a pattern are refused on purpose, by a rule or a program.
use std::net::IpAddr;

use netdiag_common::{dns::PORT as DNS, flow::FlowKey};

use super::DropGroup;
use crate::{
    model::{
        address::is_link_local,
        flow::{TCP, UDP, ends as ends_of},
        node::Neighbour,
        verdict::Severity,
    },
    pipeline::{
        facts::{Facts, Loss},
        journey::Journey,
    },
    shared::published,
};

/// Whose trouble it is that packets of a pattern die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A stranger's, sent to what the node itself serves or to a pod's own address: firewalls keep them
    /// out all day.
    Stranger,
    /// A stranger's, sent to what is led on here for everybody: a Service, a NodePort, a hostPort, a
    /// balancer's address.
    Published,
    /// A pod, this node or another one sent it, or it answers what they asked.
    Ours,
}

/// Nothing where nobody misses them: what the outside sends to a node's ports is scanned and dropped all
/// day, and worth a word only where somebody takes it there.
pub fn standing(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<Standing> {
    let pod = |address| facts.is_local_pod(address) || facts.pods.by_address(address).is_some();
    // Whether it is this node's pod or another's: this node is its way out.
    let forwarded = || !facts.owns(pattern.destination) && facts.is_behind_us(pattern.source);
    let sent = pod(pattern.source) || facts.owns(pattern.source) || forwarded();
    if sent || is_answer(facts, pattern) || is_part_of_answers(facts, pattern) {
        return Some(Standing::Ours);
    }
    let published = || translated(facts, pattern) || is_led_on(facts, pattern);
    let served = || is_published(facts, pattern) || is_a_services(facts, pattern);
    match pod(pattern.destination) {
        true if in_cluster(facts, pattern.source) => Some(Standing::Ours),
        true if published() => Some(Standing::Published),
        true => Some(Standing::Stranger),
        false if is_peer(facts, pattern.source) => {
            (published() || served()).then_some(Standing::Ours)
        }
        false if published() => Some(Standing::Published),
        false => served().then_some(Standing::Stranger),
    }
}

/// What a pod or a node sends is meant to arrive, and what is published is meant to be reached; what
/// else the outside sends may be kept out on purpose.
pub fn severity(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<Severity> {
    Some(match standing(facts, pattern)? {
        Standing::Stranger => Severity::Info,
        Standing::Ours if is_for_nobody(facts, pattern) => Severity::Info,
        Standing::Published | Standing::Ours => Severity::Warning,
    })
}

/// Datagrams of a pod here to a port of the node's own that no socket takes: they would be refused all the same.
pub fn is_for_nobody(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let server = (pattern.destination, pattern.port);
    let datagrams = pattern.protocol == UDP && pattern.port != DNS && !pattern.reply;
    let to_us = datagrams && facts.owns(pattern.destination);
    let closed = || published::is_closed(facts, server, UDP) == Some(true);
    to_us
        && facts.is_local_pod(pattern.source)
        && !published::by_a_rule(facts, server, UDP)
        && closed()
}

/// To an address and port that a rule leads on, whoever made it.
fn is_led_on(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let server = (pattern.destination, pattern.port);
    !pattern.reply && published::is_led_on(facts, server, pattern.protocol)
}

/// To a Service's address and port: its rule may be for some sources alone (loadBalancerSourceRanges).
fn is_a_services(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let known = facts.gathered.services();
    let (to, port) = (pattern.destination, pattern.port);
    let rule = known.and_then(|known| known.rule(to, port, pattern.protocol));
    !pattern.reply && rule.is_some_and(|rule| !rule.backends.is_empty())
}

/// To what this node itself takes at an address of its own.
pub fn is_published(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let server = (pattern.destination, pattern.port);
    !pattern.reply && published::by_a_socket(facts, server, pattern.protocol)
}

/// To what this node asked, for itself or for a pod behind its masquerade.
fn is_answer(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let asked = |flow: &FlowKey| {
        let journey = facts.journeys().get(&flow.reversed());
        journey.is_some_and(|j| j.hops.iter().any(|h| h.egress()))
    };
    pattern.reply && pattern.losses.iter().any(|l| asked(l.flow()))
}

/// Fragments have no ports: they are of what was asked by that protocol.
fn is_part_of_answers(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let parts = |l: &&Loss| {
        let flow = l.flow();
        let none = (flow.source_port, flow.destination_port) == (0, 0);
        none && [TCP, UDP].contains(&flow.protocol)
    };
    let asked = |(asked, journey): (&FlowKey, &Journey)| {
        let ends = (pattern.destination, pattern.source, pattern.protocol);
        let (source, destination) = ends_of(asked);
        (source, destination, asked.protocol) == ends && journey.hops.iter().any(|h| h.egress())
    };
    pattern.losses.iter().all(parts) && facts.journeys().iter().any(asked)
}

fn translated(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let mut lost = pattern.losses.iter();
    lost.any(|l| facts.legs().origin(l.flow()).is_some())
}

/// Another node, as routes to its pods and tunnels to it say, or one that is known so by its address of
/// the other family.
pub fn is_peer(facts: &Facts<'_>, address: IpAddr) -> bool {
    let known = |address| {
        let (mut routes, mut fdb) = (facts.node.routes.iter(), facts.node.fdb.iter());
        routes.any(|r| r.gateway == Some(address) && !facts.leads_out(r))
            || fdb.any(|f| f.vtep == address)
    };
    known(address) || of_other_family(facts, address).is_some_and(known)
}

/// What the same neighbour is called in the other family: the one further address with its link-layer
/// address. A router that answers for others (proxy ARP, a cloud's network) has many.
fn of_other_family(facts: &Facts<'_>, address: IpAddr) -> Option<IpAddr> {
    let all = || facts.node.neighbours.iter().filter(|n| n.lladdr.is_some());
    let own = all().find(|n| n.address == address)?;
    let same = |n: &&Neighbour| (n.ifindex, &n.lladdr) == (own.ifindex, &own.lladdr);
    let mut others = all()
        .filter(same)
        .map(|n| n.address)
        .filter(|other| *other != address && !is_link_local(*other));
    let other = others.next().filter(|_| others.next().is_none());
    other.filter(|other| other.is_ipv4() != address.is_ipv4())
}

/// Reached by a way of its own and not by that into the world: another node or one of its pods.
fn in_cluster(facts: &Facts<'_>, address: IpAddr) -> bool {
    !facts.leaves(&facts.from_node(address))
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{ACK, SYN};

    use super::*;
    use crate::{
        model::observation::Observation,
        shared::losses::shares,
        testing::{OVERLAY, UPLINK, at, died, ip, overlay_node, tcp, with_facts},
    };

    fn is_peer_beside(all: &[(&str, u8)]) -> bool {
        let mut node = overlay_node(1450, 1450, 1500);
        node.neighbours = all
            .iter()
            .map(|(address, mac)| Neighbour {
                ifindex: UPLINK,
                address: ip(address),
                lladdr: Some(vec![2, 0, 0, 0, 0, *mac]),
                failed: false,
                permanent: false,
            })
            .collect();
        with_facts(&node, &Observation::default(), |facts| {
            assert!(is_peer(facts, ip("192.0.2.2")), "the VTEP");
            is_peer(facts, ip("fd00::2"))
        })
    }

    #[test]
    fn a_peer_is_known_by_its_address_of_the_other_family() {
        assert!(is_peer_beside(&[
            ("192.0.2.2", 2),
            ("fd00::2", 2),
            ("fe80::2", 2)
        ]));
        assert!(!is_peer_beside(&[("192.0.2.2", 2), ("fd00::2", 3)]));
        assert!(!is_peer_beside(&[("192.0.2.2", 2)]));
        let router = [("192.0.2.2", 9), ("192.0.2.3", 9), ("fd00::2", 9)];
        assert!(!is_peer_beside(&router), "who answers for all");
        assert!(
            !is_peer_beside(&[("192.0.2.3", 2), ("fd00::2", 2)]),
            "no peer's"
        );
    }

    #[test]
    fn whose_way_out_this_node_is_is_missed() {
        let standing_of = |source| {
            let flow = tcp(source, "198.51.100.7", 443);
            let drops = vec![died(flow, ("NETFILTER_DROP", "nf_hook_slow"), OVERLAY, 5)];
            let observation = Observation {
                now: 60_000_000_000,
                drops,
                ..Observation::default()
            };
            let node = overlay_node(1450, 1450, 1500);
            with_facts(&node, &observation, |facts| {
                standing(facts, shares(facts, |_| true).first().expect("a pattern"))
            })
        };
        let remote_pod = standing_of("172.20.2.9");
        assert_eq!(remote_pod, Some(Standing::Ours));
        assert_eq!(
            standing_of("192.0.2.77"),
            None,
            "a stranger of the uplink's"
        );
        assert_eq!(standing_of("203.0.113.5"), None, "of the world");
    }

    #[test]
    fn answers_to_what_this_node_asked_are_missed() {
        let asked = tcp("192.0.2.1", "198.51.100.7", 80);
        let bad = |flows: Vec<_>| {
            let place = ("NETFILTER_DROP", "nf_hook_slow");
            let mut answer = died(asked.reversed(), place, UPLINK, 5);
            answer.1.tcp_flags = SYN | ACK;
            let observation = Observation {
                now: 60_000_000_000,
                flows,
                drops: vec![answer],
                ..Observation::default()
            };
            let node = overlay_node(1450, 1450, 1500);
            with_facts(&node, &observation, |facts| {
                let patterns = shares(facts, |_| true);
                severity(facts, patterns.first().expect("a pattern"))
            })
        };
        let went = at(asked, UPLINK, true, 0, |hop| hop.first = 1_000);
        assert_eq!(bad(vec![went]), Some(Severity::Warning));
        assert_eq!(bad(Vec::new()), None, "nobody asked");
    }
}
