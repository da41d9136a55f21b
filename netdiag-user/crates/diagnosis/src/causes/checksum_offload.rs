//! # Symptom
//! Connections from one node, mostly over the overlay, are never established although every packet
//! arrives. Pings work. It began with a new kernel, NIC driver or hypervisor.
//!
//! # Mechanism
//! The sender's kernel leaves the checksum to the NIC (tx-checksum-ip-generic). A driver that cannot do
//! that for encapsulated packets, or does it wrong, sends them with an invalid checksum. They pass every
//! switch, and the receiver's kernel drops them silently.
//!
//! # Signals
//! Observed, on the receiver: drops with the reasons TCP_CSUM, UDP_CSUM, ICMP_CSUM or IP_CSUM for the
//! same two ends again and again, with nothing that gets through. On the sender: no answer, and nothing
//! else.
//!
//! # Look-alikes
//! `link-failure`: a bad cable damages a packet now and then, and the frame's own checksum (FCS) catches
//! it. On the sender, tcpdump shows "incorrect" for every packet whose checksum the NIC is still to
//! compute: that alone means nothing.
//!
//! # By hand
//! On the receiver: `tcpdump -lvvnni LINK host SENDER | grep -E 'incorrect|bad|wrong'`, `nstat -asz
//! TcpInCsumErrors UdpInCsumErrors`. On the sender: `ethtool -k DEVICE | grep tx-checksum`.
//!
//! # Fix
//! Switch the offload off on the sender's tunnel device (or NIC), and keep it off (a systemd .link file,
//! Calico's ChecksumOffloadBroken). Then update the driver.
use std::collections::BTreeMap;

use netdiag_common::hop::{IPIP, RST, VXLAN};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow::{TCP, UDP},
        node::Link,
        roles::Role,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::{
        losses::{self, DropGroup},
        overlay, published,
    },
    shell,
};

pub const ID: &str = "checksum-offload";
pub const TITLE: &str =
    mark!("packets arrive with checksums that the sender's NIC did not fill in");

const REASONS: [&str; 5] = ["TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "IP_CSUM", "SKB_CSUM"];
/// The counters that move with them.
const COUNTERS: [&str; 4] = [
    "Tcp.InCsumErrors",
    "Udp.InCsumErrors",
    "Udp6.InCsumErrors",
    "IpExt.InCsumErrors",
];

/// Where the kernel gives no reason, what ends at these places is what that counter counts, unless somebody
/// says that nobody listens: by protocol and family.
const PLACES: [(u8, u8, &[&str], &str); 4] = [
    (TCP, 4, &["tcp_v4_rcv"], "Tcp.InCsumErrors"),
    (TCP, 6, &["tcp_v6_rcv"], "Tcp.InCsumErrors"),
    (
        UDP,
        4,
        &["__udp4_lib_rcv", "udp_queue_rcv_one_skb", "udp_recvmsg"],
        "Udp.InCsumErrors",
    ),
    (
        UDP,
        6,
        &["__udp6_lib_rcv", "udpv6_queue_rcv_one_skb", "udpv6_recvmsg"],
        "Udp6.InCsumErrors",
    ),
];

/// Whether anybody takes what comes with such a checksum for the node or a pod of it.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let named = losses::patterns(facts, |l| REASONS.contains(&l.reason.as_str()));
    let own = named.iter().filter(|p| !p.reply);
    let own = own.map(|p| ((p.destination, p.port), p.protocol));
    published::wants(facts, own).map(Need::detail).collect()
}

fn is_to_nobody(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let to = (pattern.destination, pattern.port);
    let tunnel = wants_checksums(facts, pattern).is_some();
    !pattern.reply && !tunnel && published::is_closed(facts, to, pattern.protocol) == Some(true)
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let ended = by_counter(facts);
    let counts = |at: (u32, &str)| {
        let lost = ended.get(&at).copied().unwrap_or(0);
        // The counter was read some seconds before the last of them was lost.
        let most = |moved: u64| moved > 0 && moved.saturating_mul(2) >= lost;
        facts.moved(at.0, at.1).is_some_and(most)
    };
    let by_place = |l: &Loss| place(facts, l).is_some_and(counts);
    let wrong = |l: &Loss| REASONS.contains(&l.reason.as_str()) || by_place(l);
    let mut patterns = losses::patterns(facts, wrong);
    // What is sent to where nobody is known to take it is nobody's loss; unknown sockets excuse nothing.
    patterns.retain(|p| !is_to_nobody(facts, p));
    let worst = patterns.first()?;
    let hop = entered_by(facts, worst);
    let over = hop.map_or_else(String::new, |h| match h.key.carried {
        VXLAN | IPIP => t!(" over the overlay by {}", h.interface),
        _ => t!(" by {}", h.interface),
    });
    let strict = wants_checksums(facts, worst);
    let (target, sender, packets) = (worst.target(), worst.sender(facts), worst.packets());
    let summary = match strict {
        Some(link) => t!(
            "{target} from {sender} come in{over} without a checksum, or with a wrong one, which {} does \
             not take: {packets} packets, none got through",
            link.name
        ),
        None => t!(
            "{target} from {sender} come in{over} with a wrong checksum and are discarded: {packets} \
             packets, none got through"
        ),
    };
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    finding.evidence.extend(counters(facts, worst));
    finding.fix = match strict {
        Some(link) => fix_strict(worst, link),
        None => fix(facts, worst, hop),
    };
    Some(finding)
}

/// The tunnel here that these are for, over IPv6, where UDP without a checksum is taken only by who says so
/// (RFC 6935).
fn wants_checksums<'a>(facts: &'a Facts<'_>, pattern: &DropGroup<'_>) -> Option<&'a Link> {
    let here = |l: &&&Loss| l.key.netns == facts.node.netns;
    let udp6 = pattern.protocol == UDP && pattern.destination.is_ipv6();
    let own = |l: &&Link| {
        let tunnel = l.tunnel.as_ref();
        tunnel.is_some_and(|t| t.port == Some(pattern.port) && t.zero_checksum == Some(false))
    };
    pattern.losses.iter().find(here).filter(|_| udp6)?;
    facts.node.links.iter().find(own)
}

fn fix_strict(worst: &DropGroup<'_>, link: &Link) -> Fix {
    let (name, port) = (&link.name, worst.port);
    let at = worst.losses.iter().find_map(|l| l.interface.as_ref());
    let watch = at.map(|at| {
        shell!(
            "timeout 10 tcpdump -c 5 -lnnvi {v} 'ip6 and udp port {}'",
            at,
            port
        )
    });
    Fix {
        summary: t!(
            "tcpdump says \"no cksum\" of them, or that they are bad; where there is none: make {name} again \
             with udp6zerocsumrx (ip link add … type vxlan … udp6zerocsumrx, or whatever makes it), or the \
             sender's device on {} with noudp6zerocsumtx; where they are bad: switch the offload off there",
            worst.source
        ),
        commands: watch
            .into_iter()
            .chain([shell!("ip -d link show dev {}", name)])
            .collect(),
    }
}

/// Where a kernel without reasons lost it, as the counter of what ends there: the namespace, and its name.
fn place(facts: &Facts<'_>, loss: &Loss) -> Option<(u32, &'static str)> {
    let flow = loss.flow();
    let here = |(protocol, family, places, _): &&(u8, u8, &[&str], &str)| {
        (*protocol, *family) == (flow.protocol, flow.family) && places.contains(&loss.symbol())
    };
    let (_, _, _, counter) = PLACES.iter().find(here)?;
    let is_so = losses::unspecified(loss) && !is_refused(facts, loss);
    is_so.then_some((loss.key.netns, counter))
}

/// All that ended there: with far fewer on the counter, something else than a checksum took most of it.
fn by_counter(facts: &Facts<'_>) -> BTreeMap<(u32, &'static str), u64> {
    let mut ended = BTreeMap::new();
    for loss in facts.losses {
        if let Some(at) = place(facts, loss) {
            *ended.entry(at).or_default() += loss.dropped.packets;
        }
    }
    ended
}

fn is_refused(facts: &Facts<'_>, loss: &Loss) -> bool {
    let back = facts.journeys().get(&loss.flow().reversed());
    let reset = back.is_some_and(|j| j.hops.iter().any(|h| h.hop.flags & RST != 0));
    reset
        || facts
            .icmp_errors
            .iter()
            .any(|(e, _)| e.about == *loss.flow())
}

/// The uplink that the packets came in by.
fn entered_by<'a>(facts: &'a Facts<'_>, pattern: &DropGroup<'_>) -> Option<&'a HopFlow> {
    let own = |h: &HopFlow| pattern.losses.iter().any(|l| l.flow() == h.flow());
    let uplink = |h: &&HopFlow| h.role == Some(Role::Uplink) && !h.egress();
    facts.flows.iter().filter(uplink).find(|h| own(h))
}

fn counters(facts: &Facts<'_>, worst: &DropGroup<'_>) -> Vec<Evidence> {
    let netns = worst
        .losses
        .first()
        .map_or(facts.node.netns, |l| l.key.netns);
    let moved = COUNTERS.iter().filter_map(|name| {
        let by = facts.moved(netns, name).filter(|by| *by > 0)?;
        let text = t!("{name} of its namespace rose by {by} during this run");
        let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
        line.packets = Some(by);
        let count = shell!("nstat -asz {}", name.replace('.', ""));
        line.confirm = Some(facts.node.inside(netns, count));
        Some(line)
    });
    moved.collect()
}

fn fix(facts: &Facts<'_>, worst: &DropGroup<'_>, hop: Option<&HopFlow>) -> Fix {
    let carried = hop.is_some_and(|h| matches!(h.key.carried, VXLAN | IPIP));
    let tunnel = facts
        .link_by(&facts.from_node(worst.source))
        .filter(|l| l.is_tunnel());
    let peer = overlay::peer_towards(facts, worst.source);
    let (node, what, commands) = match (tunnel.filter(|_| carried), peer) {
        (Some(link), Some(peer)) => (
            peer,
            t!("its tunnel device (called as it is here)"),
            vec![shell!(
                "ssh {} ethtool -K {} tx-checksum-ip-generic off",
                peer,
                link.name
            )],
        ),
        _ => (
            worst.source,
            t!("its NIC (ethtool -K, tx-checksum-ip-generic)"),
            Vec::new(),
        ),
    };
    Fix {
        summary: t!(
            "on the sender's node ({node}), let the kernel fill in the checksums itself: switch \
             the offload off on {what}, for good, and look for a newer driver"
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use netdiag_common::{
        flow::FlowKey,
        hop::{IcmpError, IcmpErrorKey},
        loss::NO_REASON,
    };

    use super::*;
    use crate::{
        model::{node::Counters, observation::Observation},
        testing::{NETNS, POD, UPLINK, at, died, overlay_node, since, tcp, with_facts},
    };

    fn judge(packets: u64, carried: u8) -> Option<Finding> {
        let flow = tcp("172.20.2.9", "172.20.1.5", 443);
        let observation = Observation {
            drops: vec![died(flow, ("TCP_CSUM", "__udp4_lib_rcv"), POD, packets)],
            flows: vec![at(flow, UPLINK, false, carried, |_| {})],
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, evaluate)
    }

    #[test]
    fn the_senders_device_is_told() {
        let over = judge(4, VXLAN).expect("a finding");
        let off = "ssh 192.0.2.2 ethtool -K vxlan.calico tx-checksum-ip-generic off";
        assert_eq!(over.fix.commands, [off]);
        let plain = judge(4, 0).expect("a finding");
        assert!(plain.fix.summary.contains("its NIC") && plain.fix.commands.is_empty());
        assert!(judge(2, VXLAN).is_none(), "a damaged packet or two");
    }

    #[test]
    fn a_tunnel_over_ipv6_that_wants_checksums_is_told() {
        let told = |takes: Option<bool>| {
            let flow = FlowKey {
                protocol: UDP,
                ..tcp("2001:db8::2", "2001:db8::1", 4789)
            };
            let mut lost = died(flow, ("UDP_CSUM", "__udp4_lib_rcv"), UPLINK, 4);
            lost.0.netns = NETNS;
            let observation = Observation {
                drops: vec![lost],
                flows: vec![at(flow, UPLINK, false, 0, |_| {})],
                ..Observation::default()
            };
            let mut node = overlay_node(1450, 1450, 1500);
            let mut tunnels = node.links.iter_mut().filter_map(|l| l.tunnel.as_mut());
            tunnels.next().expect("a tunnel").zero_checksum = takes;
            let found = with_facts(&node, &observation, evaluate);
            found.is_some_and(|f| f.fix.summary.contains("udp6zerocsumrx"))
        };
        assert!(told(Some(false)));
        assert!(!told(Some(true)) && !told(None));
    }

    /// Four that end there, of a kernel without reasons, where the counter rose by so many.
    fn by_place(rose: u64, told: bool) -> bool {
        by_place_of(&[5_000], rose, told)
    }

    /// The same of datagrams for each of these ports.
    fn by_place_of(ports: &[u16], rose: u64, told: bool) -> bool {
        let to = |port| FlowKey {
            protocol: UDP,
            ..tcp("172.20.2.9", "172.20.1.5", port)
        };
        let drops = ports.iter().map(|port| {
            let mut drop = died(to(*port), ("NO_SOCKET", "__udp4_lib_rcv"), POD, 4);
            drop.0.reason = NO_REASON;
            drop
        });
        let flow = to(5_000);
        let error = IcmpErrorKey {
            about: flow,
            sender: flow.destination,
            ifindex: POD,
            direction: 0,
            kind: 3,
            code: 3,
            padding: 0,
        };
        let observation = Observation {
            drops: drops.collect(),
            icmp_errors: told
                .then(|| (error, IcmpError::default()))
                .into_iter()
                .collect(),
            ..Observation::default()
        };
        let node = |n: u64| {
            let mut node = overlay_node(1450, 1450, 1500);
            node.counters = vec![Counters {
                netns: NETNS,
                values: BTreeMap::from([("Udp.InCsumErrors".into(), n)]),
            }];
            node
        };
        since(&node(1), &node(1 + rose), &observation, [], |facts| {
            evaluate(facts).is_some()
        })
    }

    #[test]
    fn the_counter_tells_where_the_kernel_does_not() {
        assert!(by_place(4, false));
        assert!(!by_place(1, false), "it counts others");
        assert!(!by_place(4, true), "nobody listens there");
        assert!(by_place_of(&[5_000, 5_001], 8, false));
        assert!(by_place_of(&[5_000, 5_001], 5, false), "read before");
        assert!(!by_place_of(&[5_000, 5_001], 3, false), "of few alone");
    }
}
