//! Takes up again what others took away: an agent of a CNI's that replaces its qdisc, a program that was
//! put before ours and ends the walk. Not at once and not for ever: two that insist on one place would
//! change a link's hooks without an end.
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use netdiag_lang::english;

use super::{Covered, Hook, Hooks};
use crate::{
    model::node::Node,
    sys::bpf,
    tc::{self, SIDES},
    watch::Heard,
};

/// All links are looked at so often; those that others are heard to change, at once.
const LOOK: Duration = Duration::from_secs(20);
/// The first wait is a second, each next one twice as long.
const LONGEST: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Times in an hour that one link is taken up again.
const MOST: usize = 20;

/// Links that others took our programs off, and when they may have them again.
#[derive(Default)]
pub(super) struct Again {
    touched: BTreeSet<u32>,
    everywhere: bool,
    looked: Option<Instant>,
    lost: HashMap<u32, Lost>,
}

#[derive(Default)]
struct Lost {
    /// The times in the last hour.
    times: Vec<Instant>,
    /// Nothing while it is covered.
    again: Option<Instant>,
}

impl Again {
    pub fn hear(&mut self, heard: &Heard) {
        self.everywhere |= heard.lost;
        self.touched.extend(&heard.links);
    }

    /// Whether the link is left alone for now.
    pub fn waits(&self, index: u32, now: Instant) -> bool {
        let lost = self.lost.get(&index);
        lost.is_some_and(|lost| lost.again.is_some_and(|again| again > now))
    }

    pub fn covered(&mut self, index: u32) {
        if let Some(lost) = self.lost.get_mut(&index) {
            lost.again = None;
        }
    }

    /// How long it is left alone.
    fn lose(&mut self, index: u32, now: Instant) -> Duration {
        let lost = self.lost.entry(index).or_default();
        lost.times.retain(|then| now.duration_since(*then) < HOUR);
        let before = lost.times.len();
        let wait = match lost.times.first() {
            Some(first) if before >= MOST => HOUR.saturating_sub(now.duration_since(*first)),
            _ => LONGEST.min(Duration::from_secs(1 << before.min(6))),
        };
        if before < MOST {
            lost.times.push(now);
        }
        lost.again = Some(now + wait);
        wait
    }

    fn due(&self, now: Instant) -> BTreeSet<u32> {
        let due = |lost: &Lost| lost.again.is_some_and(|again| again <= now);
        let all = self.lost.iter().filter(|(_, lost)| due(lost));
        all.map(|(index, _)| *index).collect()
    }

    /// Which of these links are to be looked at.
    fn suspects(&mut self, covered: impl Iterator<Item = u32>, now: Instant) -> Vec<u32> {
        let since = self.looked.map(|then| now.duration_since(then));
        let all = std::mem::take(&mut self.everywhere) || since.is_none_or(|it| it >= LOOK);
        if all {
            self.looked = Some(now);
        }
        let touched = std::mem::take(&mut self.touched);
        covered
            .filter(|index| all || touched.contains(index))
            .collect()
    }
}

impl Hooks {
    /// Looks whether the kernel still has what was attached, and attaches again what it has not.
    pub fn keep(&mut self, node: &Node, now: Instant) {
        self.hear();
        if self.closed {
            return;
        }
        for index in self.again.suspects(self.covered.keys().copied(), now) {
            let Some(covered) = self.covered.get(&index) else {
                continue;
            };
            let name = covered.name.clone();
            if super::exists(&name, index) && !self.is_whole(index) {
                self.release(index);
                let wait = self.again.lose(index, now).as_secs();
                log::warn!(
                    "others took netdiag's programs off {name}, or put theirs before: again in {wait} s"
                );
                let why = english!(
                    "another program took netdiag's off it, or was put before them; they are attached again in {wait} s"
                );
                self.failed.insert(name, why);
            }
        }
        let there: BTreeSet<u32> = node.links.iter().map(|link| link.index).collect();
        self.again.lost.retain(|index, _| there.contains(index));
        self.failed
            .retain(|name, _| node.links.iter().any(|link| link.name == *name));
        let due = self.again.due(now);
        if !due.is_empty() {
            let mut targets = self.targets(node);
            targets.retain(|(link, _)| due.contains(&link.index));
            self.add(targets, now);
        }
    }

    /// Whether all that the link was given is there, and runs. What cannot be asked is believed.
    fn is_whole(&mut self, index: u32) -> bool {
        let Some(Covered { name, hooks, .. }) = self.covered.get(&index) else {
            return true;
        };
        let numbers = &self.programs.numbers;
        for ((_, hook), side) in hooks.iter().zip(SIDES) {
            let there = match hook {
                Hook::Tcx(held) => bpf::held_on(held).map_or(true, |at| at == index),
                Hook::Clsact(filter) => {
                    tc::is_there(&mut self.rtnl, index, *filter, numbers).unwrap_or(true)
                }
            };
            if !there || self.tcx_before(name, side, numbers) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_taken_away_again_and_again_waits_longer_each_time() {
        let begun = Instant::now();
        let mut again = Again::default();
        let (mut now, mut waits) = (begun, Vec::new());
        for _ in 0..MOST {
            let wait = again.lose(7, now);
            assert!(again.waits(7, now) && !again.waits(8, now));
            now += wait;
            assert_eq!(again.due(now), BTreeSet::from([7]));
            again.covered(7);
            assert!(again.due(now).is_empty() && !again.waits(7, now));
            waits.push(wait.as_secs());
        }
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(waits[7..], [60; MOST - 7]);
        // The hour is full until the first time in it is over.
        assert_eq!(now + again.lose(7, now), begun + HOUR);
        assert_eq!(again.lose(7, begun + HOUR), LONGEST);
    }

    #[test]
    fn what_others_change_is_looked_at_at_once_and_the_rest_in_turn() {
        let mut again = Again::default();
        let begun = Instant::now();
        let suspects = |again: &mut Again, now| again.suspects([1, 2, 3].into_iter(), now);
        assert_eq!(
            suspects(&mut again, begun),
            [1, 2, 3],
            "nothing is known yet"
        );
        assert!(suspects(&mut again, begun).is_empty());
        again.hear(&Heard {
            links: [2, 9].into(),
            lost: false,
        });
        assert_eq!(suspects(&mut again, begun), [2]);
        assert!(suspects(&mut again, begun).is_empty());
        assert_eq!(suspects(&mut again, begun + LOOK), [1, 2, 3]);
        again.hear(&Heard {
            lost: true,
            ..Heard::default()
        });
        assert_eq!(suspects(&mut again, begun + LOOK), [1, 2, 3]);
    }
}
