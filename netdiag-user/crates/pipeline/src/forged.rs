//! Packets with another's source address. A pod that may open raw sockets (CAP_NET_RAW, which many
//! runtimes give by default) can send in anybody's name: what it makes up is nobody's failure and
//! nobody's success.
use std::{
    cell::LazyCell,
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use netdiag_common::{flow::FlowKey, hop::EGRESS};

use super::facts::HopFlow;
use crate::model::{
    flow::ends,
    node::{Node, PodSide},
    pod::PodIndex,
    roles::Role,
};

/// Flows that came out of a pod whose source address is not its own but another's of this node,
/// and that the other did not send as well, with the pod's link.
///
/// A pod that routes for others (a VPN, an egress gateway) sends on what came out of their own
/// links before, or what the node gave it; addresses that nobody here has are a router's daily
/// bread.
pub fn forged(node: &Node, pods: &PodIndex, flows: &[HopFlow]) -> HashMap<FlowKey, u32> {
    // Thousands of flows come out of a few links.
    let mut sides: HashMap<u32, Option<&PodSide>> = HashMap::new();
    let owners = LazyCell::new(|| owners(node));
    let mut side_of = |link: u32| *sides.entry(link).or_insert_with(|| behind(node, link));
    let sent = |hop: &&HopFlow| hop.key.direction != EGRESS;
    let at_pods = || flows.iter().filter(|hop| hop.role == Some(Role::Pod));
    let mut forged = HashMap::new();
    for hop in at_pods().filter(sent) {
        let (link, (source, _)) = (hop.key.ifindex, ends(hop.flow()));
        let Some(side) = side_of(link).filter(|side| !side.addresses.contains(&source)) else {
            continue;
        };
        let known = || {
            let pod = pods.by_address(source);
            pod.is_some_and(|pod| pod.is_local() && pod.netns != Some(side.netns))
        };
        if owners.contains(&source) || known() {
            forged.insert(*hop.flow(), link);
        }
    }
    if forged.is_empty() {
        return forged;
    }
    let mut genuine = HashSet::new();
    let mut given = HashSet::new();
    for hop in at_pods() {
        let (link, (source, _)) = (hop.key.ifindex, ends(hop.flow()));
        if !sent(&hop) {
            given.insert((*hop.flow(), link));
        } else if side_of(link).is_some_and(|side| side.addresses.contains(&source)) {
            genuine.insert(*hop.flow());
        }
    }
    let forged = forged.into_iter();
    // A proxy that keeps its clients' addresses is handed the answers; who makes them up is not.
    let handed = |(flow, link): &(FlowKey, u32)| {
        given.contains(&(*flow, *link)) || given.contains(&(flow.reversed(), *link))
    };
    forged
        .filter(|one| !handed(one) && !genuine.contains(&one.0))
        .collect()
}

/// The addresses that the node or one of its pods has.
fn owners(node: &Node) -> HashSet<IpAddr> {
    let pods = node.sides().flat_map(|side| side.addresses.iter().copied());
    let links = node.links.iter().flat_map(|link| &link.addresses);
    pods.chain(links.map(|a| a.prefix.address)).collect()
}

/// The pod that the link leads to, where all of its addresses are known: one behind several links
/// may have others.
fn behind(node: &Node, ifindex: u32) -> Option<&PodSide> {
    let side = node.pod_side(node.link(ifindex)?.peer_netns?)?;
    (!side.addresses.is_empty()).then_some(side)
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::PLAIN;

    use super::*;
    use crate::{
        model::{node::LinkKind, observation::Observation},
        testing::{POD, POD_NETNS, at, ip, link, overlay_node, tcp, with_facts},
    };

    const OTHER: u32 = 70;
    const OTHER_NETNS: u32 = 7_000;

    /// A second pod beside the first, behind a link of its own.
    fn node() -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut side = node.pod_sides[0].clone();
        side.netns = OTHER_NETNS;
        side.addresses = vec![ip("172.20.1.6")];
        node.pod_sides.push(side);
        let mut other = link(OTHER, "cali2", LinkKind::Veth, 1450);
        other.peer_netns = Some(OTHER_NETNS);
        let first = node.link(POD).expect("a link").clone();
        (other.peer_elsewhere, other.master) = (first.peer_elsewhere, first.master);
        node.links.push(other);
        node
    }

    /// Whether packets of `source` are still there that came in by these links.
    fn kept(source: &str, by: &[(u32, bool)]) -> bool {
        let node = node();
        let flow = tcp(source, "192.0.2.80", 443);
        let observation = Observation {
            flows: by
                .iter()
                .map(|(index, egress)| at(flow, *index, *egress, PLAIN, |_| {}))
                .collect(),
            ..Observation::default()
        };
        let (flows, forged) = with_facts(&node, &observation, |facts| {
            (facts.flows.len(), facts.forged)
        });
        assert_eq!((flows == 0, flows == by.len()), (forged == 1, forged == 0));
        flows > 0
    }

    #[test]
    fn who_sends_in_anothers_name_is_not_believed() {
        assert_eq!(node().link(POD).and_then(|l| l.peer_netns), Some(POD_NETNS));
        assert!(kept("172.20.1.5", &[(POD, false)]), "its own");
        assert!(!kept("172.20.1.5", &[(OTHER, false)]), "the other's");
        assert!(!kept("192.0.2.1", &[(OTHER, false)]), "the node's");
        // That it reaches another pod makes it no better.
        assert!(!kept("192.0.2.1", &[(OTHER, false), (POD, true)]));
    }

    /// A proxy with its client's address opens connections that the client never sent.
    #[test]
    fn who_is_handed_the_answers_is_believed() {
        let node = node();
        let flow = tcp("172.20.1.5", "192.0.2.80", 443);
        let observation = Observation {
            flows: vec![
                at(flow, OTHER, false, PLAIN, |_| {}),
                at(flow.reversed(), OTHER, true, PLAIN, |_| {}),
            ],
            ..Observation::default()
        };
        assert_eq!(
            with_facts(&node, &observation, |facts| facts.flows.len()),
            2
        );
    }

    #[test]
    fn who_routes_for_others_is_believed() {
        let out = [(POD, false), (OTHER, false)];
        assert!(kept("172.20.1.5", &out), "it came out of there");
        let given = [(OTHER, true), (OTHER, false)];
        assert!(kept("192.0.2.1", &given), "the node gave it");
        assert!(
            kept("198.51.100.7", &[(OTHER, false)]),
            "nobody here has it"
        );
    }
}
