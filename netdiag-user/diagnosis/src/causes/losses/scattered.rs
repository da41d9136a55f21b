//! Losses between two hosts at so many ports that no port is the server's: a flood, a scan.
use std::{collections::BTreeMap, net::IpAddr};

use super::{PATTERN, Pattern, persistent};
use crate::pipeline::facts::{Facts, Loss};

/// Ports from which on they are told as one: a host has fewer servers for another.
const MANY: usize = 64;

/// As [`super::patterns`], with what a pod or this node sends to many ports of one host as one. What
/// others send to many ports is a scan, and no port of it is missed.
pub fn with_scattered<'a>(
    facts: &'a Facts<'_>,
    wanted: impl Fn(&Loss) -> bool,
) -> Vec<Pattern<'a>> {
    let all = persistent(facts, wanted);
    let between = |p: &Pattern<'_>| (p.source, p.destination, p.protocol);
    let mut ports: BTreeMap<(IpAddr, IpAddr, u8), usize> = BTreeMap::new();
    for pattern in &all {
        *ports.entry(between(pattern)).or_default() += 1;
    }
    let ours = |address| facts.is_local_pod(address) || facts.owns(address);
    let is_scattered = |p: &Pattern<'_>| ports[&between(p)] > MANY && ours(p.source);
    let (scattered, mut patterns): (Vec<_>, Vec<_>) = all.into_iter().partition(is_scattered);
    let mut joined: BTreeMap<(IpAddr, IpAddr, u8), Pattern<'a>> = BTreeMap::new();
    for pattern in scattered {
        let empty = || Pattern {
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
    patterns.sort_by_key(|p| std::cmp::Reverse(p.packets()));
    patterns
}
