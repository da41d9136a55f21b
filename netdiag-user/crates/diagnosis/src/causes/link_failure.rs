//! # Symptom
//! A node drops out, or comes and goes: everything on one NIC stops for seconds at a time, or for good.
//! Nothing in the node's configuration has changed.
//!
//! # Mechanism
//! The link has no carrier: a cable, a transceiver, a switch port, a bond member, a hypervisor's virtual
//! port; of a tun device, the program that has it open. The kernel drops the neighbour entries on it and
//! every packet that is still sent. A bad cable may also keep its carrier and damage frames.
//!
//! # Signals
//! Observed, on a link that had packets during this run: the carrier is gone, or was lost and came back
//! more than once (`carrier_changes`), or one frame in a thousand comes in damaged (CRC errors).
//!
//! # Look-alikes
//! These are normal: an unused NIC without a cable, pods' links that come and go, a link that somebody
//! switched off (`ip link set down`). `nic-queue-full`: the carrier is up and the queue overflows.
//!
//! # By hand
//! `ip -s -d link show dev LINK`, `cat /sys/class/net/LINK/carrier_changes`, `ethtool LINK`, `dmesg |
//! grep LINK`.
//!
//! # Fix
//! Replace the cable or transceiver and check the switch port. Until then take the member out of its
//! bond.
use crate::{
    model::{
        node::{Link, LinkCounters, LinkKind},
        roles::Role,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Passage, PodRef, Severity,
            Subject,
        },
    },
    pipeline::facts::{Facts, Loss},
    shared::losses,
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "link-failure";
pub const TITLE: &str = mark!("a link that carries traffic loses its carrier or damages frames");

/// A carrier that is lost and comes back changes twice: once may be a cable that somebody moves.
const FLAPS: u64 = 4;
/// One frame in so many comes in damaged; a good cable damages none in a day.
const DAMAGED_ONE_IN: u64 = 1_000;
const DAMAGED_LEAST: u64 = 10;

/// What happened to a link.
enum Failure {
    Lost { changes: u64 },
    Flapping { changes: u64 },
    Damaged { frames: u64, of: u64 },
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let links = facts.node.links.iter().filter(|l| may_fail(facts, l));
    let failed: Vec<_> = links
        .filter_map(|l| Some((l, failure(facts, l)?)))
        .collect();
    let rank = |f: &Failure| match f {
        Failure::Lost { .. } => 2,
        Failure::Flapping { .. } => 1,
        Failure::Damaged { .. } => 0,
    };
    let (link, failure) = failed.iter().max_by_key(|(_, f)| rank(f))?;
    let severity = match failure {
        Failure::Damaged { .. } => Severity::Warning,
        _ => Severity::Critical,
    };
    let summary = format!("{} {}", link.name, tell(failure));
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    finding.evidence = failed.iter().map(|(l, f)| evidence(l, f)).collect();
    finding.evidence.extend(drop_evidence(facts, link));
    finding.pods = match is_programs(link) {
        true => senders(facts, link),
        false => pods(facts),
    };
    finding.fix = fix(link);
    finding.about = subnets(link);
    for (link, failure) in &failed {
        // What is damaged now and then gets through the next time.
        let how = match failure {
            Failure::Damaged { .. } => continue,
            Failure::Lost { .. } => t!("has no carrier"),
            Failure::Flapping { .. } => t!("loses its carrier again and again"),
        };
        finding.scope.add_passage(Passage::Link(link.index));
        let because = t!("nobody answers by {}, which {how}", link.name);
        let name = link.name.clone();
        finding.ties.blame(Subject::Link { name }, because);
    }
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

/// Links with a cable behind them: uplinks, and the members of bonds and bridges, all of them
/// switched on and used during this run.
fn may_fail(facts: &Facts<'_>, link: &Link) -> bool {
    let role = facts.role(link);
    let cabled = matches!(
        link.kind,
        LinkKind::Physical | LinkKind::Veth | LinkKind::Bond
    );
    let member = link.master.is_some() && !link.peer_elsewhere && link.kind == LinkKind::Physical;
    // Without a carrier nothing passes a hook: what is sent by it dies before.
    let lost =
        |l: &&Loss| l.key.netns == facts.node.netns && l.key.ifindex == link.index && !l.harmless;
    let losses = || facts.losses.iter().filter(lost);
    let sent = || losses().map(|l| l.dropped.packets).total() >= losses::PATTERN;
    let passed = || facts.flows.iter().any(|h| h.key.ifindex == link.index);
    let used = || passed() || !link.carrier && sent();
    let uplink = || role == Some(Role::Uplink) && used();
    if is_programs(link) {
        // Its carrier is the program that has it open.
        return link.up && !link.carrier && sent();
    }
    link.up && cabled && (uplink() || (member && carried(facts, link)))
}

/// A tun or tap: what is sent by it a program takes (a VPN's, flannel's udp backend).
fn is_programs(link: &Link) -> bool {
    matches!(&link.kind, LinkKind::Other(kind) if ["tun", "tap"].contains(&kind.as_str()))
}

/// A member has no hop of its own; its counters tell.
fn carried(facts: &Facts<'_>, link: &Link) -> bool {
    let before = facts.start.link(link.index).map(|l| l.counters);
    before.is_some_and(|b| {
        let packets = |c: &LinkCounters| c.tx_packets.saturating_add(c.rx_packets);
        packets(&link.counters) > packets(&b)
    })
}

fn failure(facts: &Facts<'_>, link: &Link) -> Option<Failure> {
    let before = facts.start.link(link.index)?.counters;
    let now = link.counters;
    let changes = now.carrier_changes.saturating_sub(before.carrier_changes);
    if !link.carrier {
        return Some(Failure::Lost { changes });
    }
    if changes >= FLAPS {
        return Some(Failure::Flapping { changes });
    }
    let frames = now.rx_crc.saturating_sub(before.rx_crc);
    let of = now
        .rx_packets
        .saturating_sub(before.rx_packets)
        .saturating_add(frames);
    let many = frames >= DAMAGED_LEAST && frames.saturating_mul(DAMAGED_ONE_IN) >= of;
    many.then_some(Failure::Damaged { frames, of })
}

fn tell(failure: &Failure) -> String {
    match failure {
        Failure::Lost { changes: 0 } => t!("has no carrier, and packets are sent by it").into(),
        Failure::Lost { .. } => t!("lost its carrier while it was in use").into(),
        Failure::Flapping { changes } => {
            t!("loses its carrier again and again: {changes} changes during this run")
        }
        Failure::Damaged { frames, of } => {
            t!("takes in damaged frames: {frames} of {of} had a bad checksum")
        }
    }
}

fn evidence(link: &Link, failure: &Failure) -> Evidence {
    let text = format!("{} {}", link.name, tell(failure));
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Observed, text);
    line.at = Some(link.name.clone());
    line.confirm = Some(match failure {
        Failure::Damaged { .. } => shell!("ip -s -s link show {}", link.name),
        Failure::Lost { .. } => shell!("ip link show {}", link.name).showing(&["NO-CARRIER"]),
        Failure::Flapping { .. } => shell!("cat /sys/class/net/{}/carrier_changes", link.name),
    });
    line
}

/// What was sent by the link all the same: without a carrier its queue takes nothing.
fn drop_evidence(facts: &Facts<'_>, link: &Link) -> Vec<Evidence> {
    let here =
        |l: &Loss| losses::by_a_queue(l) && l.interface.as_deref() == Some(link.name.as_str());
    losses::drop_evidence(&losses::shares(facts, here))
}

/// The pods of this node: all of them need the link.
fn pods(facts: &Facts<'_>) -> Vec<PodRef> {
    let flows = facts.journeys().keys();
    let flows = flows.flat_map(|flow| facts.pods_of(flow));
    let mut pods: Vec<_> = flows.filter(|p| p.interface.is_some()).collect();
    pods.sort();
    pods.dedup();
    pods
}

/// Those who send by a link that not all need.
fn senders(facts: &Facts<'_>, link: &Link) -> Vec<PodRef> {
    let here = |l: &Loss| l.interface.as_deref() == Some(link.name.as_str());
    let patterns = losses::shares(facts, here);
    let mut pods: Vec<_> = patterns.iter().flat_map(|p| p.pods(facts)).collect();
    pods.sort();
    pods.dedup();
    pods
}

fn subnets(link: &Link) -> Vec<std::net::IpAddr> {
    link.addresses.iter().map(|a| a.prefix.address).collect()
}

fn fix(link: &Link) -> Fix {
    let name = &link.name;
    let summary = match link.kind {
        _ if is_programs(link) => t!(
            "start the program that {name} is of (a VPN's daemon, flanneld): none has it open, and what \
             is sent by it is dropped"
        ),
        LinkKind::Bond => t!("look at the members of {name} one by one: none has a carrier"),
        _ => t!(
            "change the cable or transceiver of {name}, or look at the switch's port (on a virtual \
             machine: the hypervisor's) that it leads to"
        ),
    };
    Fix {
        summary,
        commands: vec![
            shell!("ethtool {}", name),
            shell!("ip -s -s link show {}", name),
            shell!("dmesg | grep -w -e {v}", name),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{node::Node, observation::Observation},
        testing::{OVERLAY, UPLINK, at, died, overlay_node, since, tcp},
    };

    fn judge(change: impl FnOnce(&mut Node), used: bool) -> Option<Finding> {
        let start = overlay_node(1450, 1450, 1500);
        let mut node = start.clone();
        change(&mut node);
        let flow = tcp("192.0.2.1", "192.0.2.2", 22);
        let hop = at(flow, UPLINK, true, 0, |_| {});
        let observation = Observation {
            flows: Vec::from_iter(used.then_some(hop)),
            ..Observation::default()
        };
        since(&start, &node, &observation, [], evaluate)
    }

    #[test]
    fn a_carrier_that_goes_is_named_on_links_in_use() {
        let lost = |node: &mut Node| {
            node.links[0].carrier = false;
            node.links[0].counters.carrier_changes = 1;
        };
        let found = judge(lost, true).expect("a finding");
        assert_eq!(found.summary, "ens5 lost its carrier while it was in use");
        assert!(judge(lost, false).is_none(), "a spare NIC");
    }

    #[test]
    fn what_dies_for_want_of_a_carrier_uses_the_link() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[0].carrier = false;
        let named = |node: &Node, at: u32| {
            let flow = tcp("172.20.1.5", "192.0.2.80", 443);
            let observation = Observation {
                drops: vec![died(flow, ("NEIGH_FAILED", "neigh_invalidate"), at, 3)],
                ..Observation::default()
            };
            since(node, node, &observation, [], evaluate).map(|found| found.summary)
        };
        let found = named(&node, UPLINK).expect("a finding");
        assert_eq!(found, "ens5 has no carrier, and packets are sent by it");
        assert_eq!(named(&node, OVERLAY), None, "they go by another");
        node.links[0].carrier = true;
        assert_eq!(named(&node, UPLINK), None, "the cable is there");
        // A program's tun without the program, by which no default route leads.
        node.links[1].kind = LinkKind::Other("tun".into());
        assert_eq!(named(&node, OVERLAY), None, "it has it open");
        node.links[1].carrier = false;
        assert!(named(&node, OVERLAY).is_some());
    }

    #[test]
    fn one_change_of_the_cable_is_no_flapping() {
        let flaps = |n| move |node: &mut Node| node.links[0].counters.carrier_changes = n;
        assert!(judge(flaps(2), true).is_none());
        assert!(judge(flaps(4), true).is_some());
    }

    #[test]
    fn damaged_frames_count_by_their_share() {
        let damaged = |n| {
            move |node: &mut Node| {
                node.links[0].counters.rx_crc = n;
                node.links[0].counters.rx_packets = 100_000;
            }
        };
        assert!(judge(damaged(20), true).is_none());
        assert!(judge(damaged(200), true).is_some());
    }
}
