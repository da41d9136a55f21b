//! What of stuck flows this node drops for a reason that no cause names.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use netdiag_common::{flow::FlowKey, hop::IcmpErrorKey};
use netdiag_lang::t;

use super::{
    owed,
    symptoms::{SPAN_NS, Symptom, circles, last},
};
use crate::{
    model::{
        address::{from_wire, to_wire},
        flow::{TCP, ends},
        icmp,
        world::station::Station,
    },
    pipeline::{
        facts::{Facts, Loss},
        journey::Journey,
        success::SYN,
    },
    shared::{
        losses::{self, DropGroup},
        wrong_neighbour_entry,
    },
    shell,
};

/// Within which a client asks again for the third time (1, 3, 7 s: RFC 6298).
const ASKS_AGAIN_NS: u64 = 8_000_000_000;

/// What is dropped here persistently, of what somebody may miss.
pub fn patterns<'f>(facts: &'f Facts<'_>) -> Vec<DropGroup<'f>> {
    let dies = |l: &Loss| on_the_way(&l.reason) || is_intercepted(facts, l);
    let mut patterns = losses::patterns(facts, |l| !l.harmless && dies(l));
    patterns.retain(|p| !losses::is_own_error(facts, p) && !is_rubbish(facts, p));
    patterns
}

/// Adds what is dropped here persistently. A closed port's drops are refusals, and what a socket
/// itself does not take is told by the causes about sockets.
pub fn add(facts: &Facts<'_>, patterns: &[DropGroup<'_>], all: &mut Vec<Symptom>) {
    astray(facts, all);
    let by_ends: BTreeMap<_, usize> = all
        .iter()
        .enumerate()
        .flat_map(|(n, c)| {
            let all = c.ends().flat_map(move |(client, (server, port))| {
                // Behind a masquerade the client is another one.
                [client, c.client].map(|client| ((client, server, port), n))
            });
            all.collect::<Vec<_>>()
        })
        .collect();
    for pattern in patterns {
        // An answer to what was never seen to be asked is none: whoever makes up packets chooses ports.
        let reply = pattern.reply && was_asked(facts, pattern);
        let (client, server) = match reply {
            true => (pattern.destination, pattern.source),
            false => (pattern.source, pattern.destination),
        };
        if let Some(n) = by_ends.get(&(client, server, pattern.port)) {
            // Who looks for a way sends some that are to come no farther, and others that leave.
            if !told(facts, pattern) {
                all[*n].dropped.get_or_insert_with(|| text(pattern));
            }
        } else if pattern.last().saturating_sub(pattern.first()) >= SPAN_NS && !told(facts, pattern)
        {
            let flow = pattern.losses.first().map(|l| *l.flow());
            // What the node made another flow of is told as its sender sent it; the first of them may have come
            // in before anybody looked.
            let mut lost = pattern.losses.iter().filter(|_| !reply);
            let origin = lost.find_map(|l| facts.legs().origin(l.flow()));
            let (client, server, port) = match origin {
                Some((asked, _)) => (ends(&asked).0, ends(&asked).1, asked.destination_port),
                None => (client, server, pattern.port),
            };
            all.push(Symptom {
                client,
                server,
                port,
                protocol: pattern.protocol,
                leg: flow.filter(|_| origin.is_some()),
                asked: pattern.packets(),
                retransmits: 0,
                first: pattern.first(),
                last: last(facts, [flow, None], |_| true).cloned(),
                answers: reply,
                unpacked: false,
                circles: None,
                dropped: Some(text(pattern)),
                astray: false,
                stray: None,
            });
        }
    }
}

/// Whether it answers, as something else than its ports tells, or a question that was seen.
fn was_asked(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let asked = |flow: &FlowKey| {
        facts.direction().is_known(flow) || facts.journeys().contains_key(&flow.reversed())
    };
    let syn = |l: &Loss| l.flow().protocol == TCP && l.dropped.tcp_flags & SYN != 0;
    pattern.losses.iter().any(|l| syn(l) || asked(l.flow()))
}

/// What anybody may send to this node from outside, and nobody here asked for: in the name of the node or
/// of a pod here, or wrapped as a tunnel's by who is no node of the cluster.
fn is_rubbish(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let all = |is: &dyn Fn(&str) -> bool| pattern.losses.iter().all(|l| is(&l.reason));
    let land = all(&|reason| ["IP_LOCAL_SOURCE", "IP_RPFILTER"].contains(&reason))
        && losses::is_forged_outside(facts, pattern);
    let wrapped = all(&|reason| reason.starts_with("VXLAN_"));
    land || wrapped && !losses::is_peer(facts, pattern.source) || is_backscatter(facts, pattern)
}

/// Answers to this node or a pod of it that asked that server nothing, which every link here would have seen: who is flooded
/// in somebody's name answers him. Whoever has asked before anybody looked asks again by then.
fn is_backscatter(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let pod = facts.pod_side_of(pattern.destination).is_some();
    let own = !pod && facts.owns(pattern.destination);
    let lasts = pattern.last().saturating_sub(pattern.first()) >= ASKS_AGAIN_NS;
    let asked = |(flow, journey): (&FlowKey, &Journey<'_>)| {
        let seen = own || journey.came_in();
        ends(flow) == (pattern.destination, pattern.source) && seen
    };
    let tcp = pattern.protocol == TCP && pattern.reply;
    tcp && (pod || own) && lasts && facts.all_watched && !facts.journeys().iter().any(asked)
}

/// Whether a packet was dropped before a socket had it, or by a filter that somebody set there: no cause is
/// about that.
pub fn on_the_way(reason: &str) -> bool {
    let socket = ["NO_SOCKET", "TCP_", "SOCKET_", "UDP_CSUM"];
    reason == "SOCKET_FILTER" || !socket.iter().any(|s| reason.starts_with(s))
}

/// What a pod sent to others, and this node took for itself though nobody takes it here: what redirects it
/// leads to a proxy that is not there. A Service's backend may be away for a while.
fn is_intercepted(facts: &Facts<'_>, loss: &Loss) -> bool {
    let (source, destination) = ends(loss.flow());
    let here = loss.reason == "NO_SOCKET" && loss.key.netns == facts.node.netns;
    if !here || !facts.is_local_pod(source) {
        return false;
    }
    let asked = match facts.legs().origin(loss.flow()) {
        Some((asked, _)) => ends(&asked).1,
        None => destination,
    };
    !facts.owns(asked) && !owed::is_service(facts, asked)
}

/// Frames that reached whom they are for, as somebody else's.
fn astray(facts: &Facts<'_>, all: &mut [Symptom]) {
    if all.is_empty() {
        return;
    }
    let patterns = wrong_neighbour_entry::patterns(facts);
    for symptom in all {
        let (client, far) = (symptom.client, symptom.far());
        let own = |p: &&DropGroup<'_>| {
            let ends = (p.source, p.destination);
            ends == (client, far) || symptom.answers && p.destination == client
        };
        let pattern = patterns.iter().find(own);
        symptom.astray = pattern.is_some();
        symptom.dropped = pattern.map(|p| {
            t!(
                "{}: sent to a link-layer address that is not the next hop's",
                text(p)
            )
        });
    }
}

/// The other end itself answers with an error: a closed UDP port. Or this node does, since the packet was to
/// come no farther: who looks for a way sends it so (traceroute, mtr), and a routing loop lets it come back.
fn told(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    // This node answers in the other end's name.
    if pattern.losses.iter().any(|l| is_intercepted(facts, l)) {
        return false;
    }
    let flows: BTreeSet<FlowKey> = pattern.losses.iter().map(|l| *l.flow()).collect();
    let own = |e: &IcmpErrorKey| flows.contains(&e.about);
    let refused = |e: &IcmpErrorKey| own(e) && e.sender == e.about.destination;
    let circling = || {
        let mut flows = flows.iter();
        flows.any(|flow| circles(facts, [Some(*flow), None]).is_some())
    };
    // One sender is told once a second (net.ipv4.icmp_ratelimit), of one of all that it sends.
    let sender = to_wire(pattern.source);
    let expired = |e: &IcmpErrorKey| {
        let expired = icmp::expired(e.about.family, e.kind, e.code);
        expired && e.about.source == sender && facts.owns(from_wire(e.sender))
    };
    let forwarded = || pattern.losses.iter().all(|l| is_expired(l));
    let mut errors = facts.icmp_errors.iter();
    errors.any(|(e, _)| refused(e) || expired(e) && (own(e) || forwarded()) && !circling())
}

/// Flows of probes that this node ended, since they were to go no farther.
pub fn expired(facts: &Facts<'_>) -> HashSet<FlowKey> {
    let lost = facts.losses.iter().filter(|l| is_expired(l));
    lost.map(|l| *l.flow()).collect()
}

/// Whether it was to go no farther.
fn is_expired(loss: &Loss) -> bool {
    loss.is_at(Station::Ttl) && ["IP_INHDR", "NOT_SPECIFIED"].contains(&loss.reason.as_str())
}

/// What a pattern of drops is, for one line.
fn text(pattern: &DropGroup<'_>) -> String {
    let most = pattern.losses.iter().max_by_key(|l| l.dropped.packets);
    let place = most.map_or_else(String::new, |l| t!(" {} in {}", l.reason, l.symbol()));
    let program = most.and_then(|l| program(l)).unwrap_or_default();
    format!("{} ×{place}{program}", pattern.packets())
}

/// Whose program on the link takes it, and how to list them: Cilium's policies are such programs.
fn program(loss: &Loss) -> Option<String> {
    let at = loss.interface.as_deref()?;
    let (kind, list) = match loss.reason.as_str() {
        "TC_INGRESS" => ("tc", Some(shell!("tc filter show dev {} ingress", at))),
        "TC_EGRESS" => ("tc", Some(shell!("tc filter show dev {} egress", at))),
        "XDP" => ("XDP", None),
        _ => return None,
    };
    let commands = list
        .into_iter()
        .chain([shell!("bpftool net show dev {}", at)]);
    let shown: Vec<String> = commands.filter_map(|c| c.told()).collect();
    let colon = if shown.is_empty() { "" } else { t!(": ") };
    Some(t!(
        ", by a {kind} program on {at}{colon}{}",
        shown.join(t!(", "))
    ))
}

#[cfg(test)]
mod tests {
    use netdiag_common::{
        flow::mapped,
        hop::{EGRESS, IcmpError, PLAIN},
    };

    use super::*;
    use crate::{
        model::{flow::UDP, observation::Observation},
        testing::{NETNS, POD, UPLINK, at, died, from_pod, overlay_node, tcp, with_facts},
    };

    #[test]
    fn a_program_that_drops_is_listed() {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let observation = Observation {
            drops: vec![died(flow, ("TC_INGRESS", "ip_forward"), POD, 4)],
            ..Observation::default()
        };
        let told = with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
            facts.losses.first().and_then(program)
        });
        let told = told.expect("a hint");
        assert!(
            told.contains("`tc filter show dev cali1 ingress`"),
            "{told}"
        );
    }

    /// Whom a pattern of drops from outside is told of, as client and server.
    fn from_outside(source: &str, ports: (u16, u16), reason: &str) -> Option<(String, String)> {
        let flow = FlowKey {
            protocol: UDP,
            source_port: ports.0,
            ..tcp(source, "192.0.2.1", ports.1)
        };
        let mut lost = died(flow, (reason, "ip_rcv_finish_core"), UPLINK, 9);
        (lost.1.first, lost.1.last) = (1, SPAN_NS + 1);
        let observation = Observation {
            drops: vec![lost],
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
            let mut all = Vec::new();
            add(facts, &patterns(facts), &mut all);
            let first = all.first();
            first.map(|c| (c.client.to_string(), c.server.to_string()))
        })
    }

    #[test]
    fn what_anybody_may_send_is_nobodys_conversation() {
        let ends = |client: &str, server: &str| Some((client.to_owned(), server.to_owned()));
        let (stranger, node) = ("203.0.113.9", "192.0.2.1");
        let low = from_outside(stranger, (5, 40_000), "NETFILTER_DROP");
        assert_eq!(low, ends(stranger, node), "it answers nothing");
        assert_eq!(from_outside(node, (5, 9), "IP_LOCAL_SOURCE"), None, "land");
    }

    /// A pod's probes with a TTL of one, told by this node or not, that do or do not come round again.
    fn is_stuck(told: bool, comes_back: bool) -> bool {
        is_stuck_where_told_of(told.then_some(33_434), comes_back)
    }

    /// The same where it was told of the one to that port.
    fn is_stuck_where_told_of(told: Option<u16>, comes_back: bool) -> bool {
        let about = FlowKey {
            protocol: UDP,
            ..tcp("172.20.1.5", "198.51.100.7", 33_434)
        };
        let error = |port| IcmpErrorKey {
            about: FlowKey {
                destination_port: port,
                ..about
            },
            sender: mapped([192, 0, 2, 1]),
            ifindex: POD,
            direction: EGRESS,
            kind: 11,
            code: 0,
            padding: 0,
        };
        let mut flows = vec![from_pod(about, |_| {})];
        if comes_back {
            flows.push(at(about, UPLINK, true, PLAIN, |h| h.first = 3));
            flows.push(at(about, UPLINK, false, PLAIN, |h| h.first = 4));
        }
        let mut lost = died(about, ("NOT_SPECIFIED", "ip_forward"), POD, 9);
        (lost.1.first, lost.1.last) = (1, SPAN_NS + 1);
        let observation = Observation {
            flows,
            drops: vec![lost],
            icmp_errors: told
                .map(|port| (error(port), IcmpError::default()))
                .into_iter()
                .collect(),
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        assert_eq!(node.netns, NETNS);
        with_facts(&node, &observation, |facts| {
            let mut all = Vec::new();
            add(facts, &patterns(facts), &mut all);
            !all.is_empty()
        })
    }

    #[test]
    fn probes_that_were_to_come_no_farther_are_not_stuck() {
        assert!(!is_stuck(true, false));
        assert!(is_stuck(false, false), "nobody was told");
        assert!(is_stuck(true, true), "a routing loop");
        let another = is_stuck_where_told_of(Some(33_435), false);
        assert!(!another, "one of them a second is told");
        assert!(is_stuck_where_told_of(Some(33_435), true));
    }
}
