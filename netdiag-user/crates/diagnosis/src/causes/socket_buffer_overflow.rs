//! # Symptom
//! Part of an application's datagrams is missing (gaps in metrics, late DNS answers, a stream that
//! stutters), although all of them reach its pod.
//!
//! # Mechanism
//! Datagrams wait in the socket's receive buffer until the application reads them. If it reads more
//! slowly than they arrive, the buffer fills and the kernel drops the next ones. The buffer's size is
//! `net.core.rmem_default`, or what the application requests (SO_RCVBUF), at most `net.core.rmem_max`.
//!
//! # Signals
//! Observed: drops with the reason SOCKET_RCVBUFF at one port, for a second or more and for at least one
//! datagram in a hundred; the namespace's counter of receive buffer errors. Gathered: the socket, its
//! buffer, the bytes that wait in it, and the process that holds it.
//!
//! # Look-alikes
//! A burst at start-up is over within a second. `nic-queue-full` loses packets before they reach any
//! socket. TCP slows its sender down instead of dropping.
//!
//! # By hand
//! `nsenter -t PID -n nstat -asz UdpRcvbufErrors Udp6RcvbufErrors` and `nsenter -t PID -n ss -uanmp`,
//! with the PID of the application (`rb` is the limit, `d` the number of drops).
//!
//! # Fix
//! Make the application read faster (more threads, less work per datagram), or give it a larger buffer
//! against bursts.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        gather::{Receiver, Want},
        total::{Total, add},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shared::losses::{self, DropGroup},
    shell,
};

pub const ID: &str = "socket-buffer-overflow";
pub const TITLE: &str = mark!("an application reads datagrams more slowly than they arrive");

/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Fewer lost datagrams than this are a hiccup of the scheduler.
const LEAST: u64 = 10;
/// One in so many is lost: less hurts nobody who chose UDP.
const ONE_IN: u64 = 100;
/// A burst at start-up is over sooner.
const LASTING_NS: u64 = 1_000_000_000;
/// What counts them, of IPv4 and of IPv6.
const RCVBUF_ERRORS: &str = "Udp.RcvbufErrors";
const RCVBUF_ERRORS_6: &str = "Udp6.RcvbufErrors";
/// Linux's own `net.core.rmem_default`, for those who ask what to set.
const USUAL_RMEM: u32 = 212_992;

/// Where datagrams overflow: a namespace's address and port.
type Place = (u32, IpAddr, u16);

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let want = |((netns, _, port), _)| Need::detail(Want::Receivers { netns, port });
    overflows(facts).into_iter().map(want).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let all = overflows(facts);
    let count = |patterns: &[DropGroup<'_>]| patterns.iter().map(DropGroup::packets).total();
    let (place, worst) = all.iter().max_by_key(|(_, patterns)| count(patterns))?;
    let (netns, address, port) = *place;
    let receiver = receiver(facts, *place);
    let who = receiver.and_then(|r| r.owner.as_ref());
    let who = who.map_or(t!("the application"), String::as_str);
    let lost = count(worst);
    let summary = t!(
        "{who} reads slower than datagrams come for {}: {lost} of {} dropped at its full receive \
         buffer",
        crate::model::address::endpoint(address, port),
        arrived(facts, *place).max(lost),
    );
    let patterns: Vec<_> = all.into_values().flatten().collect();
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    finding
        .evidence
        .extend(receiver.map(|r| socket_evidence(facts, netns, port, r)));
    finding
        .evidence
        .extend(counter_evidence(facts, (netns, address, port)));
    finding.fix = fix(receiver);
    Some(finding)
}

/// Places where enough overflows for long enough.
fn overflows<'a>(facts: &'a Facts<'_>) -> BTreeMap<Place, Vec<DropGroup<'a>>> {
    // Without a reason a filter's or a policy's drops have the same place.
    let full = |l: &Loss| losses::counted(facts, l, counter(l.flow().family));
    let of = |l: &Loss| l.reason == "SOCKET_RCVBUFF" && l.flow().protocol == UDP && full(l);
    let mut places: BTreeMap<Place, Vec<DropGroup<'a>>> = BTreeMap::new();
    for pattern in losses::shares(facts, of) {
        // A client's port differs from conversation to conversation; one of them is enough.
        let key = pattern.losses[0].key;
        let place = (key.netns, pattern.destination, key.flow.destination_port);
        places.entry(place).or_default().push(pattern);
    }
    places.retain(|place, patterns| hurts(facts, *place, patterns));
    places
}

fn hurts(facts: &Facts<'_>, place: Place, patterns: &[DropGroup<'_>]) -> bool {
    let lost: u64 = patterns.iter().map(DropGroup::packets).total();
    let first = patterns.iter().map(DropGroup::first).min().unwrap_or(0);
    let last = patterns.iter().map(DropGroup::last).max().unwrap_or(0);
    lost >= LEAST
        && last.saturating_sub(first) >= LASTING_NS
        && lost.saturating_mul(ONE_IN) >= arrived(facts, place)
}

fn counter(family: u8) -> &'static str {
    if family == 6 {
        RCVBUF_ERRORS_6
    } else {
        RCVBUF_ERRORS
    }
}

/// What came for that port, at the hop that saw most of it.
fn arrived(facts: &Facts<'_>, (_, address, port): Place) -> u64 {
    let mut hops: BTreeMap<(u32, u8), u64> = BTreeMap::new();
    for seen in facts.flows {
        let (_, destination) = flow::ends(seen.flow());
        let key = seen.flow();
        if key.protocol == UDP && key.destination_port == port && destination == address {
            let hop = (seen.key.ifindex, seen.key.direction);
            add(hops.entry(hop).or_default(), seen.hop.packets);
        }
    }
    hops.into_values().max().unwrap_or(0)
}

/// The socket there: the one of that address, or the one for all.
fn receiver<'a>(facts: &Facts<'a>, (netns, address, port): Place) -> Option<&'a Receiver> {
    let all = facts.gathered.receivers(netns, port)?;
    let own = all.iter().find(|r| r.address == address);
    own.or_else(|| all.iter().find(|r| r.address.is_unspecified()))
}

fn socket_evidence(facts: &Facts<'_>, netns: u32, port: u16, receiver: &Receiver) -> Evidence {
    let text = t!(
        "the socket at port {port} may hold {} bytes, {} wait in it; {} datagrams dropped since it \
         was made",
        receiver.limit,
        receiver.queued,
        receiver.drops
    );
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
    let list = shell!("ss -uanmp 'sport = :{}'", port);
    line.confirm = Some(facts.node.inside(netns, list));
    line
}

fn counter_evidence(facts: &Facts<'_>, (netns, address, _): Place) -> Option<Evidence> {
    let counter = counter(if address.is_ipv6() { 6 } else { 4 });
    let by = facts.moved(netns, counter).filter(|n| *n > 0)?;
    let name = counter.replace('.', "");
    let text = t!("{name} of its namespace rose by {by} during this run");
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    line.packets = Some(by);
    let count = shell!("nstat -asz {}", name);
    line.confirm = Some(facts.node.inside(netns, count));
    Some(line)
}

fn fix(receiver: Option<&Receiver>) -> Fix {
    let larger = receiver.map_or(USUAL_RMEM, |r| r.limit.max(USUAL_RMEM / 4));
    let larger = larger.saturating_mul(4);
    let has = receiver.map_or_else(String::new, |r| t!(" (it has {})", r.limit));
    Fix {
        summary: t!(
            "see why the application does not keep up (CPU limit, one thread, slow work per \
             datagram); against bursts give its socket a larger receive buffer{has}, up to \
             net.core.rmem_max, which the node must allow"
        ),
        commands: vec![
            shell!("sysctl net.core.rmem_default net.core.rmem_max"),
            shell!("sysctl -w net.core.rmem_max={}", larger),
        ],
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::loss::NO_REASON;

    use super::*;
    use crate::{
        model::{
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{POD, at, died, overlay_node, since, tcp, with_facts},
    };

    fn judge(lost: u64, passed: u64, seconds: u64) -> Option<Finding> {
        let node = overlay_node(1450, 1450, 1500);
        let observation = overflow(None, lost, passed, seconds);
        with_facts(&node, &observation, evaluate)
    }

    fn overflow(reason: Option<u32>, lost: u64, passed: u64, seconds: u64) -> Observation {
        let mut flow = tcp("172.20.2.9", "172.20.1.5", 8125);
        flow.protocol = UDP;
        let mut drop = died(flow, ("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb"), POD, lost);
        drop.0.reason = reason.unwrap_or(drop.0.reason);
        drop.1.last = seconds * 1_000_000_000 + 1;
        Observation {
            drops: vec![drop],
            flows: vec![at(flow, POD, true, 0, |hop| hop.packets = passed)],
            ..Observation::default()
        }
    }

    #[test]
    fn without_a_reason_the_counter_tells_it_from_a_policy() {
        let named = |reason: Option<u32>, gained: u64| {
            let observation = overflow(reason, 50, 500, 3);
            let netns = observation.drops[0].0.netns;
            let node = |count| Node {
                counters: vec![Counters {
                    netns,
                    values: BTreeMap::from([(RCVBUF_ERRORS.into(), count)]),
                }],
                ..overlay_node(1450, 1450, 1500)
            };
            since(&node(7), &node(7 + gained), &observation, [], evaluate).is_some()
        };
        assert!(named(None, 0), "the kernel's own word");
        assert!(named(Some(NO_REASON), 50));
        assert!(!named(Some(NO_REASON), 0));
    }

    #[test]
    fn part_of_the_datagrams_for_a_while() {
        let found = judge(50, 500, 3).expect("a finding");
        assert!(found.summary.contains("50 of 500"), "{}", found.summary);
        assert!(judge(50, 500, 0).is_none(), "a burst");
        assert!(judge(50, 50_000, 3).is_none(), "one in a thousand");
        assert!(judge(5, 50, 3).is_none(), "a hiccup");
    }
}
