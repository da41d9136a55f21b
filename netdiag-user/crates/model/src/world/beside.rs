//! States of several nodes as one.
use std::collections::{BTreeMap, BTreeSet};

use super::{End, Netns, World};

impl World {
    /// With another node beside those that are there. Inodes of namespaces mean something on their own machine
    /// alone, where the first one's is the same everywhere: the other's get numbers that are free here, which are
    /// told.
    pub fn beside(mut self, other: Self) -> (Self, BTreeMap<Netns, Netns>) {
        if self.nodes.is_empty() {
            self.nodes.push(self.stacks.keys().copied().collect());
        }
        let mut taken: BTreeSet<Netns> = self.stacks.keys().copied().collect();
        let theirs = other
            .wires
            .iter()
            .flat_map(|(one, peer)| [one.netns, peer.netns]);
        let theirs: BTreeSet<Netns> = other.stacks.keys().copied().chain(theirs).collect();
        let mut numbers = BTreeMap::new();
        for netns in theirs {
            let candidates = std::iter::successors(Some(netns), |it| Some(it.wrapping_add(1)));
            let free = candidates.into_iter().find(|it| !taken.contains(it));
            let free = free.unwrap_or(netns);
            taken.insert(free);
            numbers.insert(netns, free);
        }
        let end = |end: End| End {
            netns: numbers.get(&end.netns).copied().unwrap_or(end.netns),
            ..end
        };
        self.wires.extend(
            other
                .wires
                .into_iter()
                .map(|(one, peer)| (end(one), end(peer))),
        );
        let stacks = other.stacks.into_iter();
        let stacks: Vec<_> = stacks
            .map(|(netns, stack)| (numbers.get(&netns).copied().unwrap_or(netns), stack))
            .collect();
        self.nodes
            .push(stacks.iter().map(|(netns, _)| *netns).collect());
        self.stacks.extend(stacks);
        (self, numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Stack;

    #[test]
    fn the_same_numbers_mean_others_on_another_node() {
        let world = || {
            let end = |netns, index| End { netns, index };
            World {
                stacks: [1, 7].map(|netns| (netns, Stack::default())).into(),
                wires: [(end(1, 4), end(7, 2)), (end(7, 2), end(1, 4))].into(),
                nodes: Vec::new(),
            }
        };
        let (both, numbers) = world().beside(world());
        assert_eq!(both.stacks.len(), 4);
        assert_eq!(both.wires.len(), 4);
        assert_eq!(both.nodes, [[1, 7].into(), [2, 8].into()]);
        assert_eq!(numbers, [(1, 2), (7, 8)].into());
    }
}
