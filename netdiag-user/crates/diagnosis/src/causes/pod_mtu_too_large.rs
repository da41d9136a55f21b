//! # Symptom
//! Large packets of pods are lost or refused as soon as they leave the node. Small ones pass.
//!
//! # Mechanism
//! A pod's interface has a larger MTU than the device by which its traffic leaves the node. The node
//! drops what does not fit (PKT_TOO_BIG in `ip_forward`) and sends frag-needed (RFC 1191) or
//! packet-too-big (RFC 4443). A pod that obeys loses one packet per destination. If the message is
//! filtered, its flows hang. The pod's own link has two ends: where the node's end has the smaller MTU,
//! what is larger is dropped between them (`is_skb_forwardable`), and nobody is told.
//!
//! # Signals
//! Observed: packets above the outgoing device's MTU on the pods' links and the bridge, PKT_TOO_BIG
//! drops, frag-needed messages, retransmissions; between the two ends of a pod's link drops in
//! `__dev_forward_skb2`. Configured: both MTUs, per pod. If a pod's route has a smaller mtu, that one
//! counts.
//!
//! # Look-alikes
//! `vxlan-mtu-too-large` and `ipip-mtu-too-large`: the tunnel's own MTU is wrong. If this node clamps the
//! MSS of TCP in both directions, the MTUs may differ.
//!
//! # By hand
//! `nsenter -t PID -n ip link show dev eth0` with the PID of any process of the pod, against `ip link
//! show dev DEVICE` of the device that `ip route get DESTINATION` names on the node.
//!
//! # Fix
//! Set the mtu of the CNI configuration to the outgoing device's and recreate the pods. For a running
//! pod, lower the MTU on both ends of its link.
mod ends;

use std::{collections::HashSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::Prefix,
        flow::{TCP, ends},
        limits::LimitFrom,
        node::{Link, LinkKind},
        roles::Role,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{
        mtu::{self, LargePod, Oversize},
        mtu_findings::{self, Told},
    },
    shell,
};

pub const ID: &str = "pod-mtu-too-large";
pub const TITLE: &str = mark!("a pod's MTU exceeds that of the device its traffic leaves by");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let leaves = |l: &Link| l.is_tunnel() || is_programs(l) || facts.role(l) == Some(Role::Uplink);
    let mut groups = mtu::oversize(facts, LimitFrom::Device, leaves);
    for group in &mut groups {
        group.hops.retain(|h| facts.is_local_pod(ends(h.flow()).0));
    }
    let group = groups
        .into_iter()
        .filter(|g| !g.hops.is_empty())
        .max_by_key(|g| g.hops.len());
    match group {
        Some(group) => Some(confirmed(facts, &group)),
        None => ends::differ(facts).or_else(|| configured(facts)),
    }
}

/// A tunnel that a program is the other end of: OpenVPN, Tailscale. Without a default route it is no
/// uplink.
fn is_programs(link: &Link) -> bool {
    matches!(&link.kind, LinkKind::Other(kind) if kind == "tun")
}

fn confirmed(facts: &Facts<'_>, group: &Oversize<'_>) -> Finding {
    let mut large = mtu::larger_pods(facts.node, group.link.mtu);
    if is_programs(group.link) {
        // Few of the pods send by a VPN: the others keep what they have.
        let by: HashSet<u32> = group.hops.iter().map(|h| h.key.ifindex).collect();
        large.retain(|pod| by.contains(&pod.link.index));
    }
    let told = Told {
        id: ID,
        what: t!(
            "pods send packets of {} bytes, {} takes {}",
            group.largest(),
            group.link.name,
            group.limit(),
        ),
        fates: [
            t!("each flow loses its first large packets"),
            t!("large transfers hang"),
        ],
        configured: mtu_evidence(group.link, &large),
        fix: fix(facts, group.link, &large),
    };
    mtu_findings::confirmed(facts, group, told)
}

/// Only the numbers: a tunnel that is routed through, and pods that exceed it.
fn configured(facts: &Facts<'_>) -> Option<Finding> {
    let node = facts.node;
    // Where rules send packets by other tables, the pods' may not take the tunnel at all.
    if !node.policy_tables.is_empty() {
        return None;
    }
    let tunnels = node
        .links
        .iter()
        .filter(|l| l.is_tunnel() && l.up && mtu::routed(node, l) && leads_to_pods(facts, l));
    let link = tunnels.min_by_key(|l| l.mtu)?;
    let large = mtu::larger_pods(node, link.mtu);
    if large.is_empty() || is_clamped(facts, link, &large) || is_heeded(facts, link) {
        return None;
    }
    let pods = mtu::refer(facts, &large);
    let summary = t!(
        "{} may send {} bytes, {} takes {}: their first large packet will not fit",
        mtu::names(&pods),
        large.iter().map(|p| p.mtu).max().unwrap_or(0),
        link.name,
        link.mtu,
    );
    let evidence = mtu_evidence(link, &large);
    let fix = fix(facts, link, &large);
    Some(mtu_findings::configured(
        facts, ID, summary, evidence, pods, fix,
    ))
}

/// Tunnels of other kinds than overlays are made of may be an administrator's, whom no pod sends to: some
/// route by them must be around pods.
#[expect(clippy::disallowed_methods, reason = "networks are compared, not ways")]
fn leads_to_pods(facts: &Facts<'_>, link: &Link) -> bool {
    if matches!(
        link.kind,
        LinkKind::Vxlan | LinkKind::Geneve | LinkKind::Ipip
    ) {
        return true;
    }
    let node = facts.node;
    let routes = node.routes.iter().filter(|r| r.oif == Some(link.index));
    let mut routes = routes.map(|r| r.destination).filter(|to| !to.is_anywhere());
    let said = facts.gathered.pod_networks().unwrap_or_default();
    let said = said.iter().map(|(network, _)| *network);
    let nodes = facts.cluster.nodes.iter();
    let known: Vec<_> = said
        .chain(nodes.flat_map(|n| n.pod_cidrs.iter().copied()))
        .collect();
    let around = |to: &Prefix| {
        let own = node.pod_sides.iter().flat_map(|s| &s.addresses);
        let mut pods = own
            .copied()
            .chain(facts.pods.iter().flat_map(|p| p.addresses.iter().copied()));
        let mut known = known.iter();
        known.any(|n| n.contains(to.address) || to.contains(n.address))
            || pods.any(|pod| to.contains(pod))
    };
    routes.any(|to| around(&to))
}

/// The MSS is lowered between these pods and the device, both ways, as SYNs on either side of this
/// node show: no TCP segment is too large for it, and nothing else was.
fn is_clamped(facts: &Facts<'_>, link: &Link, large: &[LargePod<'_>]) -> bool {
    let fits = |h: &HopFlow| u32::from(h.hop.mss).saturating_add(headers(h.flow())) <= link.mtu;
    let pods: HashSet<u32> = large.iter().map(|p| p.link.index).collect();
    let of_pods = |h: &HopFlow| pods.contains(&h.key.ifindex);
    let through = |address: IpAddr| {
        let by = facts.link_by(&facts.from_node(address));
        by.is_some_and(|by| by.index == link.index)
    };
    let (mut heard, mut lowered) = (false, false);
    for syn in facts.flows.iter().filter(|h| h.hop.mss > 0 && h.plain()) {
        let (source, destination) = ends(syn.flow());
        let told = of_pods(syn) && syn.egress() && through(source);
        let said = syn.key.ifindex == link.index && syn.egress();
        if (told || said) && !fits(syn) {
            return false;
        }
        heard |= told;
        lowered |= of_pods(syn) && !syn.egress() && through(destination) && !fits(syn);
    }
    heard && lowered
}

/// A pod sends segments that just fit, and they get on: it was told how large they may be, as the others will be.
fn is_heeded(facts: &Facts<'_>, link: &Link) -> bool {
    let fits = |h: &HopFlow| h.hop.largest == link.mtu && h.hop.stalled == 0;
    let by = |h: &HopFlow| h.key.ifindex == link.index && h.egress() && h.plain();
    let mut all = facts.flows.iter().filter(|h| by(h) && fits(h));
    all.any(|h| h.flow().protocol == TCP && facts.is_local_pod(ends(h.flow()).0))
}

/// Bytes of IP and TCP headers without options: what an MSS leaves out.
fn headers(flow: &FlowKey) -> u32 {
    if flow.family == 6 { 60 } else { 40 }
}

fn mtu_evidence(link: &Link, large: &[LargePod<'_>]) -> Vec<Evidence> {
    let line = |pod: &LargePod<'_>| {
        let text = t!(
            "the pod behind {} has MTU {}, {} has {}",
            pod.link.name,
            pod.mtu,
            link.name,
            link.mtu
        );
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
        line.at = Some(pod.link.name.clone());
        line.largest = Some(pod.mtu);
        line.limit = Some(link.mtu);
        line.limit_from = Some(LimitFrom::Device.name().into());
        line.confirm = Some(shell!(
            "ip link show {}; ip link show {}",
            pod.link.name,
            link.name
        ));
        line
    };
    large.iter().take(3).map(line).collect()
}

fn fix(facts: &Facts<'_>, link: &Link, large: &[LargePod<'_>]) -> Fix {
    let mtu = link.mtu;
    let commands = mtu::lower(facts.node, large, mtu);
    let summary = match is_programs(link) {
        // The CNI's MTU is the other pods', too.
        true => t!(
            "clamp the MSS of what leaves by {} (iptables -t mangle, TCPMSS --clamp-mss-to-pmtu), \
             or set MTU {mtu} for the pods that send by it, until they are recreated",
            link.name
        ),
        false => t!(
            "set \"mtu\": {mtu} in the CNI configuration (/etc/cni/net.d){}",
            mtu::running(large, commands.len())
        ),
    };
    Fix { summary, commands }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{OVERLAY, POD, at, from_pod, overlay_node, tcp, with_facts},
    };

    /// A pod of 1500 bytes connects through a tunnel of 1450, and both ends' SYNs are seen.
    fn named(left: u16, heard: u16) -> bool {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let mss = |mss| move |hop: &mut netdiag_common::hop::FlowHop| hop.mss = mss;
        let observation = Observation {
            flows: vec![
                from_pod(flow, mss(1460)),
                at(flow, OVERLAY, true, 0, mss(left)),
                at(flow.reversed(), POD, true, 0, mss(heard)),
            ],
            ..Observation::default()
        };
        let node = overlay_node(1500, 1450, 1500);
        with_facts(&node, &observation, evaluate).is_some()
    }

    #[test]
    fn a_clamp_both_ways_makes_up_for_the_mtu() {
        assert!(named(1460, 1460), "nobody clamps");
        assert!(!named(1410, 1410));
        assert!(named(1410, 1460), "what the pod sends is too large still");
        assert!(named(1460, 1410), "what it is sent is");
    }

    /// An administrator's VPN beside the overlay, and one that leads to pods.
    #[test]
    fn a_tunnel_that_no_pod_sends_by_limits_none() {
        let limits = |to: &str| {
            let mut node = overlay_node(1450, 1450, 1500);
            let vpn = crate::testing::link(30, "wg0", LinkKind::Wireguard, 1400);
            node.links.push(vpn);
            let mut route = node.routes[0].clone();
            (route.oif, route.gateway) = (Some(30), None);
            (route.kind, route.destination) = (
                crate::model::node::RouteKind::Unicast,
                to.parse().expect("a prefix"),
            );
            node.routes.push(route);
            with_facts(&node, &Observation::default(), evaluate).is_some()
        };
        assert!(!limits("10.8.0.0/24"));
        assert!(limits("172.20.0.0/16"), "around this node's own pods");
    }
}
