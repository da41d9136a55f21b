//! Links that devices in other namespaces are on.
use std::collections::BTreeMap;

use super::{End, Netns, Stack, device::Kind};

/// Of pods' macvlans and ipvlans, the links of the node's that they are on.
pub fn onto(stacks: &BTreeMap<Netns, Stack>, node: Netns) -> Vec<(End, End)> {
    let at = |netns, index| End { netns, index };
    let pods = stacks.iter().filter(|(netns, _)| **netns != node);
    let all = pods.flat_map(|(netns, stack)| {
        let devices = stack.devices.some().into_iter().flatten();
        devices.filter_map(move |(index, device)| {
            let elsewhere = device.lower_netnsid.is_some();
            let there = elsewhere && device.lower_netnsid == stack.nodes_id;
            let shares = matches!(device.kind, Kind::Macvlan(_) | Kind::Ipvlan(_));
            let below = device.lower.filter(|_| there && shares)?;
            Some((at(*netns, *index), at(node, below)))
        })
    });
    all.collect()
}
