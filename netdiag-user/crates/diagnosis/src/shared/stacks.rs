//! Whose state of the network is asked for, so that the ways of packets that die can be computed: the node's
//! own, and that of the namespaces that they were sent from, are for, and died in.
use std::{cmp::Reverse, collections::BTreeSet};

use crate::{
    model::{flow, gather::Want},
    pipeline::facts::{Facts, Loss},
};

/// Namespaces of pods at most: each is kept, and recorded.
const MOST: usize = 7;
/// Of so many losses, the largest, the namespaces are looked for.
const LOOKED_AT: usize = 64;

pub fn wants(facts: &Facts<'_>) -> BTreeSet<Want> {
    let mut lost: Vec<&Loss> = facts.losses.iter().filter(|l| !l.harmless).collect();
    if lost.is_empty() {
        return BTreeSet::new();
    }
    let most = |l: &&Loss| (Reverse(l.dropped.packets), l.key.netns);
    if lost.len() > LOOKED_AT {
        lost.select_nth_unstable_by_key(LOOKED_AT, most);
        lost.truncate(LOOKED_AT);
    }
    lost.sort_by_key(most);
    let mut asked = BTreeSet::from([Want::Stack(facts.node.netns)]);
    let all = lost.iter().flat_map(|loss| namespaces(facts, loss));
    for netns in all.filter(|netns| *netns != 0) {
        asked.insert(Want::Stack(netns));
        if asked.len() > MOST {
            break;
        }
    }
    asked
}

fn namespaces(facts: &Facts<'_>, loss: &Loss) -> impl Iterator<Item = u32> {
    let (source, destination) = flow::ends(loss.flow());
    let ends = [source, destination].map(|address| facts.pod_side_of(address));
    let ends = ends.into_iter().flatten().map(|side| side.netns);
    std::iter::once(loss.key.netns).chain(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{NETNS, POD, POD_NETNS, died, overlay_node, tcp, with_facts},
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
}
