//! Whose state of the network is asked for, so that the ways of packets that die, do not fit or are sent again and again
//! can be computed: the node's own, and that of the namespaces that they were sent from, are for, and died in.
use std::{cmp::Reverse, collections::BTreeSet};

use netdiag_common::flow::FlowKey;

use crate::{
    model::{
        address::is_private,
        flow::{self, UDP},
        gather::Want,
        roles::Role,
        world::Netns,
    },
    pipeline::facts::{Facts, HopFlow},
};

/// Namespaces of pods at most: each is kept, and recorded.
const MOST: usize = 7;
/// Of so many flows, the largest of each kind, the namespaces are looked for.
const LOOKED_AT: usize = 64;
/// One or two packets that were sent again are no trouble where something comes back.
const AGAIN: u64 = 3;

/// A flow in trouble, by how many packets, and in which namespace.
type Troubled<'a> = (Reverse<u64>, Netns, &'a FlowKey);

pub fn wants(facts: &Facts<'_>) -> BTreeSet<Want> {
    let own = facts.node.netns;
    let losses = facts.losses.iter().filter(|l| !l.harmless);
    let losses = losses.map(|l| (Reverse(l.dropped.packets), l.key.netns, l.flow()));
    let large = facts.flows.iter().filter(|h| h.hop.oversize > 0);
    let large = large.map(|h| (Reverse(h.hop.oversize), own, h.flow()));
    let silent = |flow: &FlowKey| !facts.journeys().contains_key(&flow.reversed());
    let again = facts.retransmits.iter();
    let again = again.filter(|(key, r)| r.packets >= AGAIN || silent(&key.flow));
    let again = again.map(|(key, r)| (Reverse(r.packets), key.netns, &key.flow));
    let datagrams = facts.flows.iter().filter(|h| is_lone(facts, h));
    let datagrams = datagrams.map(|h| (Reverse(h.hop.packets), own, h.flow()));
    let kinds = [
        largest(datagrams.collect()),
        largest(losses.collect()),
        largest(large.collect()),
        largest(again.collect()),
    ];
    let mut troubled = kinds.into_iter().flatten().peekable();
    if troubled.peek().is_none() {
        return BTreeSet::new();
    }
    let mut asked = BTreeSet::from([Want::Stack(own)]);
    let all = troubled.flat_map(|(_, netns, flow)| namespaces(facts, netns, flow));
    for netns in all.filter(|netns| *netns != 0) {
        asked.insert(Want::Stack(netns));
        if asked.len() > MOST {
            break;
        }
    }
    asked
}

/// A pod's datagrams that nobody answers, and that leave this node as they are for an address of somebody's own network: a
/// rule may be meant to lead them elsewhere.
fn is_lone(facts: &Facts<'_>, hop: &HopFlow) -> bool {
    let flow = hop.flow();
    let (source, to) = flow::ends(flow);
    let leaves = hop.egress() && hop.plain() && hop.role == Some(Role::Uplink);
    leaves
        && flow.protocol == UDP
        && hop.hop.packets >= AGAIN
        && facts.is_local_pod(source)
        && is_private(to)
        && !facts.journeys().contains_key(&flow.reversed())
}

fn largest(mut all: Vec<Troubled<'_>>) -> Vec<Troubled<'_>> {
    let most = |(packets, netns, _): &Troubled<'_>| (*packets, *netns);
    if all.len() > LOOKED_AT {
        all.select_nth_unstable_by_key(LOOKED_AT, most);
        all.truncate(LOOKED_AT);
    }
    all.sort_by_key(most);
    all
}

fn namespaces(facts: &Facts<'_>, netns: Netns, flow: &FlowKey) -> impl Iterator<Item = Netns> {
    let (source, destination) = flow::ends(flow);
    let ends = [source, destination].map(|address| facts.pod_side_of(address));
    let ends = ends.into_iter().flatten().map(|side| side.netns);
    std::iter::once(netns).chain(ends)
}

#[cfg(test)]
mod tests {
    use netdiag_common::loss::{RetransmitKey, Retransmitted};

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{NETNS, POD, POD_NETNS, died, from_pod, overlay_node, tcp, with_facts},
    };

    #[test]
    fn of_what_dies_both_ends_are_asked_for() {
        let node = overlay_node(1450, 1450, 1500);
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let drops = vec![died(flow, ("NOT_SPECIFIED", "ip_error"), POD, 4)];
        let observation = Observation {
            drops,
            ..Observation::default()
        };
        let asked = BTreeSet::from([NETNS, POD_NETNS].map(Want::Stack));
        with_facts(&node, &observation, |facts| assert_eq!(wants(facts), asked));
        let none = Observation::default();
        with_facts(&node, &none, |facts| assert!(wants(facts).is_empty()));
    }

    #[test]
    fn so_they_are_of_what_does_not_fit_or_is_sent_again() {
        let node = overlay_node(1450, 1450, 1500);
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let asked = |observation: &Observation| {
            with_facts(&node, observation, |facts| !wants(facts).is_empty())
        };
        let seen = |oversize| {
            let out = from_pod(flow, |hop| hop.oversize = oversize);
            let back = from_pod(flow.reversed(), |_| ());
            Observation {
                flows: vec![out, back],
                ..Observation::default()
            }
        };
        assert!(asked(&seen(1)) && !asked(&seen(0)));
        let again = |packets, answered| {
            let key = RetransmitKey {
                flow,
                netns: POD_NETNS,
                padding: 0,
            };
            let times = Retransmitted {
                packets,
                ..Retransmitted::default()
            };
            let retransmits = vec![(key, times)];
            let flows = if answered { seen(0).flows } else { Vec::new() };
            Observation {
                flows,
                retransmits,
                ..Observation::default()
            }
        };
        assert!(asked(&again(1, false)) && asked(&again(3, true)));
        assert!(!asked(&again(2, true)), "it happens");
    }
}
