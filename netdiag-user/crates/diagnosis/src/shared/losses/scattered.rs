//! Losses between two hosts at so many ports that no port is the server's: a flood, a scan.
use std::{collections::BTreeMap, net::IpAddr};

use super::{DropGroup, PATTERN, persistent};
use crate::pipeline::facts::{Facts, Loss};

/// Ports from which on they are told as one: a host has fewer servers for another.
const MANY: usize = 64;

/// As [`super::patterns`], with what a pod or this node sends to many ports of one host as one. What
/// others send to many ports is a scan, and no port of it is missed.
pub fn with_scattered<'a>(
    facts: &'a Facts<'_>,
    wanted: impl Fn(&Loss) -> bool,
) -> Vec<DropGroup<'a>> {
    let all = persistent(facts, wanted);
    let between = |p: &DropGroup<'_>| (p.source, p.destination, p.protocol);
    let mut ports: BTreeMap<(IpAddr, IpAddr, u8), usize> = BTreeMap::new();
    for pattern in &all {
        *ports.entry(between(pattern)).or_default() += 1;
    }
    let ours = |address| facts.is_local_pod(address) || facts.owns(address);
    let is_scattered = |p: &DropGroup<'_>| ports[&between(p)] > MANY && ours(p.source);
    let (scattered, mut patterns): (Vec<_>, Vec<_>) = all.into_iter().partition(is_scattered);
    let mut joined: BTreeMap<(IpAddr, IpAddr, u8), DropGroup<'a>> = BTreeMap::new();
    for pattern in scattered {
        let empty = || DropGroup {
            port: 0,
            reply: false,
            scattered: true,
            losses: Vec::new(),
            ..pattern
        };
        let all = joined.entry(between(&pattern)).or_insert_with(empty);
        all.losses.extend(pattern.losses);
    }
    patterns.extend(joined.into_values());
    patterns.retain(|p| p.packets() >= PATTERN);
    patterns.sort_by_cached_key(|p| std::cmp::Reverse(p.packets()));
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{UPLINK, died, overlay_node, tcp, with_facts},
    };

    /// What is told of a packet to each of so many ports: port, packets, whether they are one.
    fn told(source: &str, ports: usize, each: u64) -> Vec<(u16, u64, bool)> {
        let packet = |n: usize| {
            let flow = tcp(source, "172.20.2.9", 2000 + n as u16);
            died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, each)
        };
        let observation = Observation {
            drops: (0..ports).map(packet).collect(),
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| {
            let patterns = with_scattered(facts, |l| l.reason == "NETFILTER_DROP");
            let row = |p: &DropGroup<'_>| (p.port, p.packets(), p.scattered);
            patterns.iter().map(row).collect()
        })
    }

    #[test]
    fn what_a_pod_sends_to_many_ports_is_one() {
        let pod = "172.20.1.5";
        assert_eq!(told(pod, MANY + 1, 1), [(0, MANY as u64 + 1, true)]);
        assert_eq!(told(pod, MANY, 1), [], "few ports are servers' own");
        let own = told(pod, 2, 5);
        assert_eq!(own, [(2000, 5, false), (2001, 5, false)]);
    }

    #[test]
    fn a_scan_from_elsewhere_is_none() {
        assert_eq!(told("198.51.100.7", MANY + 1, 1), []);
    }
}
