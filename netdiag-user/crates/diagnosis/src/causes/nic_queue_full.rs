//! # Symptom
//! Part of all traffic on one link is lost under load: transfers crawl, small requests stutter.
//!
//! # Mechanism
//! More packets come than a link sends or the node takes in, and a queue is full: the link's qdisc (a
//! shaper's limit, a short txqueuelen), a CPU's backlog (`net.core.netdev_max_backlog`), or the NIC's
//! ring.
//!
//! # Signals
//! Observed, for a second or more and for at least one packet in twenty: drops with the reason QDISC_DROP
//! on a link with a carrier, by a qdisc that does not manage its queue (Linux before 5.18 gives no reason:
//! drops in kfree_skb_list beside the qdisc's own counter); drops with CPU_BACKLOG; or a
//! NIC's rx_missed counter that moves.
//!
//! # Look-alikes
//! CoDel, PIE and RED drop early to keep queues short, and TCP fills any queue until it drops a few
//! packets: both are normal. `link-failure`: a link without a carrier drops everything with QDISC_DROP.
//!
//! # By hand
//! `tc -s qdisc show dev LINK` (dropped, backlog), `ip -s -s link show dev LINK`, `cat
//! /proc/net/softnet_stat` (second column).
//!
//! # Fix
//! A longer queue if bursts overflow a shaper; if its rate is too low, only its owner can raise it.
//! fq_codel instead of a plain FIFO. A larger backlog, ring or budget, and more receive queues, if the
//! node is too slow.
mod burst;

use std::collections::BTreeMap;

use netdiag_common::hop::ACK;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        gather::{Qdisc, TokenBucket, Want},
        node::{Link, LinkKind},
        shell::CommandLine,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::losses::{self, DropGroup},
    shell,
};

pub const ID: &str = "nic-queue-full";
pub const TITLE: &str = mark!("a queue overflows: a link's, a CPU's backlog, or a NIC's ring");

/// One packet in so many dies in the queue. TCP alone makes it overflow for less than that.
const ONE_IN: u64 = 20;
/// Fewer lost packets are a hiccup.
const LEAST: u64 = 20;
/// A burst is over sooner.
const LASTING_NS: u64 = 1_000_000_000;
/// One frame in so many is not taken from the NIC in time; healthy NICs lose none.
const MISSED_ONE_IN: u64 = 100;

/// Qdiscs that drop on purpose, to keep their queue short.
const MANAGED: [&str; 9] = [
    "fq_codel", "codel", "cake", "pie", "fq_pie", "red", "sfb", "choke", "dualpi2",
];

/// Queues that share nothing and shape nothing: the kernel's own for a link.
const PLAIN: [&str; 3] = ["pfifo_fast", "pfifo", "bfifo"];

/// Of a rate, in percent: so near to it a queue is full all the time.
const NEARLY: u64 = 90;
/// Of what goes in a second: a queue of 50 ms is what a person does not notice yet.
const ROOM_ONE_IN: u64 = 20;

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let full = full(facts, losses::by_a_queue).into_values().flatten();
    let sufferers: Vec<_> = full.map(|pattern| pattern.sufferer()).collect();
    let any = !sufferers.is_empty();
    let need = || Need::of(Want::Qdiscs, sufferers);
    any.then(need).into_iter().collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    by_qdisc(facts)
        .or_else(|| by_backlog(facts))
        .or_else(|| by_ring(facts))
}

/// Links whose queue loses enough for long enough, with the losses.
fn full<'a>(facts: &'a Facts<'_>, by: fn(&Loss) -> bool) -> BTreeMap<u32, Vec<DropGroup<'a>>> {
    let here = |l: &Loss| by(l) && l.key.netns == facts.node.netns;
    let mut links: BTreeMap<u32, Vec<DropGroup<'a>>> = BTreeMap::new();
    for pattern in losses::shares(facts, here) {
        let index = pattern.losses[0].key.ifindex;
        links.entry(index).or_default().push(pattern);
    }
    links.retain(|index, patterns| hurts(facts, *index, patterns));
    links
}

fn hurts(facts: &Facts<'_>, index: u32, patterns: &[DropGroup<'_>]) -> bool {
    let lost: u64 = patterns.iter().map(DropGroup::packets).total();
    let first = patterns.iter().map(DropGroup::first).min().unwrap_or(0);
    let last = patterns.iter().map(DropGroup::last).max().unwrap_or(0);
    let carrier = facts.link(index).is_some_and(|l| l.carrier);
    carrier
        && lost >= LEAST
        && last.saturating_sub(first) >= LASTING_NS
        && lost.saturating_mul(ONE_IN) >= passed(facts, index)
}

/// What was to leave by the link: the hop sees it before the queue does.
fn passed(facts: &Facts<'_>, index: u32) -> u64 {
    let leaves = facts
        .flows
        .iter()
        .filter(|h| h.key.ifindex == index && h.egress());
    // At light no data is kept, and the link's own counter knows how much there was.
    let sent = facts.link(index).zip(facts.start.link(index));
    let sent = sent.map_or(0, |(now, before)| {
        let (now, before) = (now.counters.tx_packets, before.counters.tx_packets);
        now.saturating_sub(before)
    });
    leaves.map(|h| h.hop.packets).total().max(sent)
}

fn by_qdisc(facts: &Facts<'_>) -> Option<Finding> {
    let qdiscs = facts.gathered.qdiscs()?;
    let full = full(facts, losses::by_a_queue)
        .into_iter()
        .filter_map(|(index, patterns)| {
            let own = || {
                qdiscs
                    .iter()
                    .filter(move |q| q.ifindex == index && q.drops > 0)
            };
            let managed = own().any(|q| MANAGED.contains(&q.kind.as_str()));
            let qdisc = own().max_by_key(|q| q.drops).filter(|_| !managed)?;
            Some((facts.link(index)?, qdisc, patterns))
        });
    let lost = |patterns: &[DropGroup<'_>]| patterns.iter().map(DropGroup::packets).total();
    let (link, qdisc, patterns) = full.max_by_key(|(.., patterns)| lost(patterns))?;
    let of = passed(facts, link.index).max(lost(&patterns));
    let above = burst::exceeded(link, qdisc, &patterns);
    let summary = match above {
        Some(bucket) => burst::summary(link, bucket, (lost(&patterns), of)),
        None => t!(
            "the queue of {} ({}) is full: {} of {of} packets dropped",
            link.name,
            qdisc.kind,
            lost(&patterns)
        ),
    };
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    for stalled in stalled(facts, link.index) {
        finding.scope.add_key(stalled.flow());
    }
    finding.evidence.push(qdisc_evidence(link, qdisc));
    finding.fix = match above {
        Some(bucket) => burst::fix(link, qdisc, bucket),
        None => qdisc_fix(facts, link, qdisc),
    };
    Some(finding)
}

/// Open connections that send again and again by the link: of a tunnel's the queue drops the outer
/// packets. Who was never answered is no matter of a queue that drops some.
fn stalled<'a>(facts: &'a Facts<'_>, index: u32) -> impl Iterator<Item = &'a HopFlow> {
    let open = |h: &&HopFlow| h.hop.flags & ACK != 0 && h.hop.stalled > 0;
    let leaves = move |h: &&HopFlow| h.key.ifindex == index && h.egress();
    facts.flows.iter().filter(leaves).filter(open)
}

fn qdisc_evidence(link: &Link, qdisc: &Qdisc) -> Evidence {
    let (name, kind) = (&link.name, &qdisc.kind);
    let text = match &qdisc.bucket {
        Some(bucket) => t!(
            "{kind} lets {} leave by {name}, {} bytes at once, and keeps {} bytes waiting ({} ms)",
            bits(bucket.rate),
            bucket.burst,
            bucket.limit,
            bucket.limit.saturating_mul(1000) / bucket.rate.max(1),
        ),
        None => t!("the queue of {name} is a {kind}"),
    };
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.at = Some(name.clone());
    line.confirm = Some(shell!("tc -s -d qdisc show dev {}", name).showing(&[kind]));
    line
}

fn qdisc_fix(facts: &Facts<'_>, link: &Link, qdisc: &Qdisc) -> Fix {
    let (name, kind) = (&link.name, &qdisc.kind);
    let look = shell!("tc -s -d qdisc show dev {}", name);
    if let Some(bucket) = &qdisc.bucket {
        return bucket_fix(link, qdisc, bucket, offered(facts, link.index));
    }
    if qdisc.root && PLAIN.contains(&kind.as_str()) {
        return Fix {
            summary: t!(
                "{kind} drops what comes last, whosever it is: let fq_codel share {name} fairly; \
                 and send less by it"
            ),
            commands: vec![shell!("tc qdisc replace dev {} root fq_codel", name)],
        };
    }
    Fix {
        summary: t!(
            "see who set up {kind} on {name} (a bandwidth plugin, a cloud's agent): the rate or \
             the limit of the class that drops is too small for what is sent"
        ),
        commands: vec![look, shell!("tc -s class show dev {}", name)],
    }
}

/// The rate is somebody's will and stays; room for a burst is what can be given.
fn bucket_fix(link: &Link, qdisc: &Qdisc, bucket: &TokenBucket, offered: u64) -> Fix {
    let name = &link.name;
    let (rate, came) = (bits(bucket.rate), bits(offered));
    let look = shell!("tc -s -d qdisc show dev {}", name);
    if offered.saturating_mul(100) >= bucket.rate.saturating_mul(NEARLY) {
        return Fix {
            summary: t!(
                "{name} is held to {rate}, and {came} came for it: no queue helps against that. \
                 Send less, or let whoever holds it to that (the pod's annotations \
                 kubernetes.io/ingress-bandwidth and egress-bandwidth, a cloud's agent, the \
                 administrator) allow more than {came}"
            ),
            commands: vec![look],
        };
    }
    let limit = (bucket.rate / ROOM_ONE_IN).max(bucket.limit.saturating_mul(2));
    Fix {
        summary: t!(
            "{came} came for the {rate} that {name} is held to: bursts overflow its queue of {} \
             bytes. Let {limit} bytes wait (rate and burst stay as they are); and where a plugin \
             or an agent set it, set it there too",
            bucket.limit
        ),
        commands: resized(link, qdisc, bucket, (bucket.burst, limit)),
    }
}

/// The same bucket with another burst and another limit; with a peak rate there is more to repeat than is known.
fn resized(
    link: &Link,
    qdisc: &Qdisc,
    bucket: &TokenBucket,
    (burst, limit): (u64, u64),
) -> Vec<CommandLine> {
    let bitrate = bucket.rate.saturating_mul(8);
    vec![match qdisc.root && !bucket.peak {
        true => shell!(
            "tc qdisc change dev {} root tbf rate {}bit burst {}b limit {}b",
            link.name,
            bitrate,
            burst,
            limit
        ),
        false => shell!("tc -s -d qdisc show dev {}", link.name),
    }]
}

/// Bytes a second that were to leave by the link.
fn offered(facts: &Facts<'_>, index: u32) -> u64 {
    let leaves = || {
        let own = |h: &&HopFlow| h.key.ifindex == index && h.egress();
        facts.flows.iter().filter(own)
    };
    let bytes: u64 = leaves().map(|h| h.hop.bytes).total();
    let first = leaves().map(|h| h.hop.first).min().unwrap_or(0);
    let last = leaves().map(|h| h.hop.last).max().unwrap_or(0);
    let ms = last.saturating_sub(first) / 1_000_000;
    bytes.saturating_mul(1000) / ms.max(1000)
}

/// As tc(8) writes it.
fn bits(bytes: u64) -> String {
    match bytes.saturating_mul(8) {
        bits @ 0..10_000_000 => format!("{} kbit/s", bits / 1000),
        bits => format!("{} Mbit/s", bits / 1_000_000),
    }
}

fn by_a_cpu(loss: &Loss) -> bool {
    loss.reason == "CPU_BACKLOG"
}

fn by_backlog(facts: &Facts<'_>) -> Option<Finding> {
    let (index, patterns) = full(facts, by_a_cpu).into_iter().next()?;
    let lost: u64 = patterns.iter().map(DropGroup::packets).total();
    let name = facts.node.link_name(index);
    let summary = t!("a CPU's backlog is full: {lost} packets from {name} dropped");
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    if let Some(moved) = facts.moved(facts.node.netns, "softnet.dropped") {
        let text = t!("softnet's dropped rose by {moved} during this run");
        let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
        line.confirm = Some(shell!("awk '{{print $2}}' /proc/net/softnet_stat"));
        finding.evidence.push(line);
    }
    finding.fix = Fix {
        summary: t!("let more CPUs take packets in (RPS, more queues), or allow a longer backlog")
            .into(),
        commands: vec![
            shell!("sysctl net.core.netdev_max_backlog net.core.netdev_budget"),
            shell!("sysctl -w net.core.netdev_max_backlog=10000"),
        ],
    };
    Some(finding)
}

/// Frames that the NIC had no room for while this run went on.
fn by_ring(facts: &Facts<'_>) -> Option<Finding> {
    let gained = |link: &Link| {
        let before = facts.start.link(link.index)?.counters;
        let missed = link.counters.rx_missed.saturating_sub(before.rx_missed);
        let taken = link.counters.rx_packets.saturating_sub(before.rx_packets);
        (missed >= LEAST && missed.saturating_mul(MISSED_ONE_IN) >= taken)
            .then_some((missed, taken))
    };
    let full = facts
        .node
        .links
        .iter()
        // A bond's are the sum of what its NICs missed.
        .filter(|l| l.kind == LinkKind::Physical)
        .filter_map(|l| Some((l, gained(l)?)));
    let (link, (missed, taken)) = full.max_by_key(|(_, (missed, _))| *missed)?;
    let name = &link.name;
    let summary = t!("the ring of {name} is full: it missed {missed} frames and took {taken}");
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    let text = t!("rx_missed of {name} rose by {missed} during this run");
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    line.at = Some(name.clone());
    line.packets = Some(missed);
    line.confirm = Some(shell!("ip -s -s link show {}", name));
    finding.evidence.push(line);
    finding.fix = Fix {
        summary: t!(
            "enlarge the ring (ethtool -G {name} rx, up to the maximum that this command shows), and \
             spread its interrupts over more CPUs"
        ),
        commands: vec![shell!("ethtool -g {}", name)],
    };
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, node::Node, observation::Observation},
        testing::{UPLINK, at, died, overlay_node, tcp, with_gathered},
    };

    const REASON: (&str, &str) = ("QDISC_DROP", "__dev_queue_xmit");

    fn judge(node: &Node, kind: &str, lost: u64, passed: u64) -> Option<Finding> {
        judge_at(REASON, node, (kind, lost), lost, passed)
    }

    fn judge_at(
        place: (&'static str, &'static str),
        node: &Node,
        (kind, counted): (&str, u64),
        lost: u64,
        passed: u64,
    ) -> Option<Finding> {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let mut drop = died(flow, place, UPLINK, lost);
        drop.1.last = 3_000_000_000;
        let observation = Observation {
            drops: vec![drop],
            flows: vec![at(flow, UPLINK, true, 0, |hop| hop.packets = passed)],
            ..Observation::default()
        };
        let qdisc = Qdisc {
            ifindex: UPLINK,
            kind: kind.into(),
            drops: counted,
            ..Qdisc::default()
        };
        let gathered = [(Want::Qdiscs, Ok(Piece::Qdiscs(vec![qdisc])))];
        with_gathered(node, &observation, gathered, evaluate)
    }

    /// The queue drops the tunnel's packets; the flow within goes by the same link.
    fn explains(change: fn(&mut netdiag_common::hop::FlowHop)) -> bool {
        let outer = netdiag_common::flow::FlowKey {
            protocol: crate::model::flow::UDP,
            ..tcp("192.0.2.1", "192.0.2.2", 8472)
        };
        let inner = tcp("172.20.1.5", "172.20.2.9", 443);
        let mut drop = died(outer, ("QDISC_DROP", "__dev_queue_xmit"), UPLINK, 100);
        drop.1.last = 3_000_000_000;
        let observation = Observation {
            drops: vec![drop],
            flows: vec![
                at(outer, UPLINK, true, 0, |hop| hop.packets = 1000),
                at(inner, UPLINK, true, 0, change),
            ],
            ..Observation::default()
        };
        let qdisc = Qdisc {
            ifindex: UPLINK,
            kind: "tbf".into(),
            drops: 100,
            ..Qdisc::default()
        };
        let gathered = [(Want::Qdiscs, Ok(Piece::Qdiscs(vec![qdisc])))];
        let node = overlay_node(1450, 1450, 1500);
        let found = with_gathered(&node, &observation, gathered, evaluate);
        let scope = found.expect("a finding").scope;
        let [client, server] = ["172.20.1.5", "172.20.2.9"].map(crate::testing::ip);
        scope.has(inner.protocol, client, (server, 443))
    }

    #[test]
    fn without_a_reason_the_queues_own_counter_decides() {
        let node = overlay_node(1450, 1450, 1500);
        let judge = |place, counted| judge_at(place, &node, ("tbf", counted), 100, 1000);
        let list = ("NOT_SPECIFIED", "kfree_skb_list");
        assert!(judge(list, 100).is_some());
        assert!(judge(list, 0).is_none());
        assert!(judge(("NOT_SPECIFIED", "ip_error"), 100).is_none());
    }

    #[test]
    fn what_is_sent_again_and_again_by_the_link_is_the_queues_doing() {
        assert!(explains(|hop| (hop.flags, hop.stalled) = (ACK, 9)));
        assert!(!explains(|hop| (hop.flags, hop.stalled) = (ACK, 0)));
        assert!(
            !explains(|hop| (hop.flags, hop.syns) = (0, 9)),
            "unanswered"
        );
    }

    #[test]
    fn a_shaper_keeps_its_rate() {
        let bucket = TokenBucket {
            rate: 1_000_000,
            burst: 5000,
            limit: 2000,
            peak: false,
        };
        let qdisc = Qdisc {
            root: true,
            kind: "tbf".into(),
            ..Qdisc::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let link = node.link(UPLINK).expect("an uplink");
        let fix = |offered| bucket_fix(link, &qdisc, &bucket, offered);
        let change = "tc qdisc change dev ens5 root tbf rate 8000000bit burst 5000b limit 50000b";
        assert_eq!(fix(200_000).commands, [change]);
        assert_eq!(fix(950_000).commands, ["tc -s -d qdisc show dev ens5"]);
        assert!(fix(2_000_000).summary.contains("held to 8000 kbit/s"));
    }

    #[test]
    fn a_tail_drop_queue_that_loses_much_is_named() {
        let mut node = overlay_node(1450, 1450, 1500);
        assert!(judge(&node, "tbf", 100, 1000).is_some());
        assert!(judge(&node, "tbf", 30, 1000).is_none(), "TCP at work");
        assert!(
            judge(&node, "fq_codel", 100, 1000).is_none(),
            "CoDel at work"
        );
        node.links[0].carrier = false;
        assert!(judge(&node, "tbf", 100, 1000).is_none(), "no carrier");
    }

    #[test]
    fn where_no_data_is_kept_the_link_says_how_much_left() {
        let start = overlay_node(1450, 1450, 1500);
        let mut node = start.clone();
        let uplink = node.links.iter_mut().find(|l| l.index == UPLINK);
        uplink.expect("the uplink").counters.tx_packets = 90_000;
        let left = |facts: &Facts<'_>| passed(facts, UPLINK);
        let nothing = Observation::default();
        let all = crate::testing::since(&start, &node, &nothing, [], left);
        assert_eq!(all, 90_000);
    }
}
