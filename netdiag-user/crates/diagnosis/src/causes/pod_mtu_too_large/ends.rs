//! Two ends of one pod's link that differ: what is larger than the far end's MTU is dropped on the way
//! across (net/core/dev.c, `is_skb_forwardable`), and nobody is told.
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        node::{Link, PodSide},
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        losses,
        mtu::{self, LargePod},
    },
    shell,
};

/// Where the kernel drops them, by its row in the table of drop places.
const CROSSING: &str = "veth_xmit";

/// The link whose ends lost most.
pub fn differ(facts: &Facts<'_>) -> Option<Finding> {
    let lost = |loss: &Loss| loss.is_beside(CROSSING);
    if !facts.losses.iter().any(lost) {
        return None;
    }
    let sides = facts.node.pod_sides.iter();
    let pairs = sides.filter_map(|side| Some((own_link(facts, side)?, side)));
    let found = pairs.filter_map(|(link, side)| differs(facts, link, side));
    found.max_by_key(|(packets, _)| *packets).map(|(_, f)| f)
}

/// The node's end of a pod's one link.
fn own_link<'a>(facts: &Facts<'a>, side: &PodSide) -> Option<&'a Link> {
    let mut links = facts.node.links.iter();
    let mut own = links
        .by_ref()
        .filter(|l| l.peer_netns == Some(side.netns) && side.links.len() == 1);
    own.next().filter(|_| own.next().is_none())
}

fn differs(facts: &Facts<'_>, link: &Link, side: &PodSide) -> Option<(u64, Finding)> {
    // Who sends across: the end that takes more than the other.
    let by_pod = side.mtu > link.mtu;
    let here = |loss: &Loss| match by_pod {
        true => loss.key.netns == side.netns,
        false => loss.interface.as_ref() == Some(&link.name),
    };
    if side.mtu == link.mtu {
        return None;
    }
    let crossing = |l: &Loss| l.is_beside(CROSSING) && here(l);
    let (name, smaller) = (&link.name, side.mtu.min(link.mtu));
    let patterns = patterns(facts, smaller, crossing);
    let packets = patterns.iter().map(losses::DropGroup::packets).total();
    if patterns.is_empty() {
        return None;
    }
    let summary = match by_pod {
        true => t!(
            "the pod behind {name} may send {} bytes, its link's end on this node takes {smaller}: \
             {packets} larger packets dropped, nobody is told",
            side.mtu
        ),
        false => t!(
            "{name} sends {} bytes, the pod's end of it takes {smaller}: {packets} larger packets \
             dropped, nobody is told",
            link.mtu
        ),
    };
    let mut finding = losses::finding(facts, ID, Severity::Critical, &patterns, summary);
    let pod = LargePod {
        link,
        mtu: side.mtu,
    };
    let pods = [pod];
    finding
        .evidence
        .extend([(true, side.mtu), (false, link.mtu)].map(|(inner, mtu)| {
            let text = match inner {
                true => t!("the pod's end of {name} has MTU {mtu}"),
                false => t!("this node's end of {name} has MTU {mtu}"),
            };
            let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
            line.at = Some(name.clone());
            line.confirm = Some(match inner {
                true => facts.node.inside(side.netns, shell!("ip link show")),
                false => shell!("ip link show {}", name),
            });
            line
        }));
    finding.fix = Fix {
        summary: t!(
            "give both ends of {name} one MTU: the CNI configuration's, unless something on this \
             node changes links behind it; with these commands both have the smaller one until the \
             pod is recreated"
        ),
        commands: mtu::lower(facts.node, &pods, smaller),
    };
    Some((packets, finding))
}

/// What was too large dies whatever small packets get through besides; other losses may be of a moment in which the link
/// was down.
fn patterns<'a>(
    facts: &'a Facts<'_>,
    smaller: u32,
    crossing: impl Fn(&Loss) -> bool,
) -> Vec<losses::DropGroup<'a>> {
    let too_large = |l: &Loss| {
        let all = u64::from(smaller).saturating_mul(l.dropped.packets);
        l.dropped.largest > smaller && l.dropped.bytes > all
    };
    let mut large = losses::shares(facts, |l| crossing(l) && too_large(l));
    large.retain(|group| group.packets() >= losses::PATTERN);
    match large.is_empty() {
        true => losses::patterns(facts, crossing),
        false => large,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{flow::FlowKey, hop::FlowHop};

    use super::*;
    use crate::{
        model::{flow::UDP, observation::Observation},
        testing::{POD, POD_NETNS, at, died, from_pod, overlay_node, tcp, with_facts},
    };

    fn found(outer: u32, inner: u32, netns: u32) -> Option<Finding> {
        let mut node = overlay_node(inner, 1450, 1500);
        let link = node.links.iter_mut().find(|l| l.index == POD);
        link.expect("the pod's").mtu = outer;
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let mut drop = died(flow, ("NOT_SPECIFIED", "__dev_forward_skb2"), POD, 7);
        drop.0.netns = netns;
        drop.1.tcp_flags = 24;
        let observation = Observation {
            drops: vec![drop],
            ..Observation::default()
        };
        with_facts(&node, &observation, differ)
    }

    /// A datagram's sender is answered, and some of what it sends is lost.
    fn found_beside_answers(bytes: u32) -> bool {
        let mut node = overlay_node(1450, 1450, 1500);
        let link = node.links.iter_mut().find(|l| l.index == POD);
        link.expect("the pod's").mtu = 1400;
        let flow = FlowKey {
            protocol: UDP,
            ..tcp("172.20.1.5", "172.20.2.9", 5000)
        };
        let mut drop = died(flow, ("NOT_SPECIFIED", "__dev_forward_skb2"), POD, 7);
        drop.0.netns = POD_NETNS;
        (drop.1.largest, drop.1.bytes) = (bytes, u64::from(bytes) * 7);
        // From before the first loss until after the last.
        let spoken = |hop: &mut FlowHop| {
            (hop.packets, hop.first) = (20, drop.1.first.saturating_sub(1));
            hop.last = drop.1.last + 10_000_000_000;
        };
        let observation = Observation {
            flows: vec![
                from_pod(flow, spoken),
                at(flow.reversed(), POD, true, 0, spoken),
            ],
            drops: vec![drop],
            ..Observation::default()
        };
        with_facts(&node, &observation, differ).is_some()
    }

    #[test]
    fn small_packets_that_get_through_hide_no_large_ones() {
        assert!(found_beside_answers(1428));
        assert!(!found_beside_answers(78), "the link was down for a moment");
    }

    #[test]
    fn the_smaller_end_is_told() {
        let sent = found(1400, 1450, POD_NETNS).expect("the node's end is smaller");
        assert!(sent.summary.contains("takes 1400"), "{}", sent.summary);
        assert!(found(1450, 1450, POD_NETNS).is_none(), "the link was down");
    }
}
