//! Packets with another's source address of which this node takes none. Who makes them up on purpose is
//! nobody's failure; a program that was given such an address asks again and again, and never gets an answer.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::t;

use super::{NAMED, Symptom, drops::on_the_way, symptoms::SPAN_NS};
use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP},
        pod::label,
        roles::Role,
        verdict::{PodRef, PodRole, Unexplained},
    },
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::losses,
    shell,
};

/// A first packet and what repeats it, by the same connection or by others to the same port: who makes up
/// addresses seldom does so.
const AGAIN: u64 = 3;

/// What one pod sends to one port in another's name, as far as it dies here.
struct Tried<'a> {
    like: &'a Loss,
    packets: u64,
    first: u64,
    last: u64,
}

pub fn told(facts: &Facts<'_>) -> Vec<Unexplained> {
    let mut all: BTreeMap<_, Tried<'_>> = BTreeMap::new();
    for loss in facts.losses {
        let (flow, lost) = (loss.flow(), &loss.dropped);
        let Some(link) = loss
            .forged
            .filter(|_| flow.protocol == TCP && on_the_way(&loss.reason))
        else {
            continue;
        };
        let ends = (link, flow::ends(flow), flow.destination_port);
        let tried = all.entry(ends).or_insert(Tried {
            like: loss,
            packets: 0,
            first: lost.first,
            last: lost.last,
        });
        tried.packets += lost.packets;
        tried.first = tried.first.min(lost.first);
        tried.last = tried.last.max(lost.last);
    }
    all.retain(|_, t| t.packets >= AGAIN && t.last.saturating_sub(t.first) >= SPAN_NS);
    let lines = all.into_iter().take(NAMED);
    lines
        .map(|((link, (source, target), port), tried)| {
            line(facts, link, source, &endpoint(target, port), &tried)
        })
        .collect()
}

fn line(
    facts: &Facts<'_>,
    link: u32,
    source: IpAddr,
    target: &str,
    tried: &Tried<'_>,
) -> Unexplained {
    let sender = sender(facts, link);
    let link = facts.node.link_name(link);
    let who = sender.as_ref().map_or_else(|| link.clone(), label);
    let (packets, reason, place) = (tried.packets, &tried.like.reason, tried.like.symbol());
    let show = shell!("timeout 10 tcpdump -c 5 -lnni {} host {}", link, source);
    let show = show.told_or("tcpdump");
    Unexplained {
        what: t!("tcp {target} from {who} with the source {source}"),
        why: t!(
            "{packets} packets, of which this node takes none ({reason} in {place}): {source} is the node's \
             or another pod's; let the program send with its pod's own, or take that address off the pod; \
             {show} shows them"
        ),
        here: true,
        flows: Vec::new(),
        pods: sender.into_iter().collect(),
        node: None,
    }
}

/// The pod behind that link.
fn sender(facts: &Facts<'_>, link: u32) -> Option<PodRef> {
    let side = facts.node.pod_side(facts.link(link)?.peer_netns?)?;
    let mut addresses = side.addresses.iter();
    addresses.find_map(|address| facts.pod(*address, PodRole::Source))
}

/// From outside, with an address of this node's own pods' network that none of them has.
pub fn is_of_nobody(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let outside = |h: &HopFlow| h.role == Some(Role::Uplink) && !h.egress();
    let came = symptom.last.as_ref().is_some_and(outside);
    came && !symptom.answers && losses::is_nobodys(facts, symptom.client)
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::SYN;

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{POD, died, from_pod, overlay_node, tcp, with_facts},
    };

    fn is_told(source: &str, packets: u64, seconds: u64) -> bool {
        let flow = tcp(source, "172.20.2.9", 443);
        let mut lost = died(flow, ("IP_RPFILTER", "ip_rcv_finish_core"), POD, packets);
        (lost.1.first, lost.1.last) = (1_000_000_000, (1 + seconds) * 1_000_000_000);
        let observation = Observation {
            now: 60_000_000_000,
            flows: vec![from_pod(flow, |hop| (hop.flags, hop.syns) = (SYN, 3))],
            drops: vec![lost],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| {
            let told = told(facts);
            assert!(told.iter().all(|u| u.here && u.why.contains("IP_RPFILTER")));
            !told.is_empty()
        })
    }

    #[test]
    fn a_program_that_asks_again_with_anothers_address_is_told() {
        assert!(is_told("192.0.2.1", 3, 3), "the node's own");
        assert!(!is_told("192.0.2.1", 1, 0), "made up by the thousand");
        assert!(!is_told("172.20.1.5", 3, 3), "its own");
    }
}
