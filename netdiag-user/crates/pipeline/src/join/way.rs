//! What left one node for another, what came there, and what died there.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use netdiag_common::{
    flow::FlowKey,
    hop::{EGRESS, INGRESS, OuterKey, PLAIN},
};

use super::{Side, ledger::Passage, window::Window};
use crate::{
    facts::Loss,
    model::{address::from_wire, flow, total::add},
};

/// Packets that left the one while both were watched, and how many of them the other saw. What
/// cannot be told for certain counts as having come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub left: u64,
    pub came: u64,
}

impl Count {
    fn new(left: u64, came: u64) -> Self {
        let came = came.min(left);
        Self { left, came }
    }

    pub fn lost(&self) -> u64 {
        self.left.saturating_sub(self.came)
    }

    fn add(&mut self, other: Self) {
        add(&mut self.left, other.left);
        add(&mut self.came, other.came);
    }
}

/// From one node to another.
pub struct Way<'a> {
    pub flows: BTreeMap<FlowKey, Count>,
    /// Those of them that left in a tunnel.
    pub tunnelled: HashSet<FlowKey>,
    outers: HashMap<OuterKey, Count>,
    /// What came and died there, or was on its way to the tunnel's end.
    pub dropped: Vec<&'a Loss>,
}

impl<'a> Way<'a> {
    /// `window` is in `from`'s clock, `ahead` what `to`'s is ahead of it.
    pub fn new(from: &Side<'_>, to: &Side<'_>, window: &Window, losses: &'a [Loss]) -> Self {
        let span = Span::new(from, to, window);
        let mut came: HashMap<FlowKey, u64> = HashMap::new();
        for (key, passage) in to.ledger.flows(INGRESS) {
            add(came.entry(key.flow).or_default(), span.at_most(to, passage));
        }
        let mut left: BTreeMap<FlowKey, u64> = BTreeMap::new();
        let mut tunnelled = HashSet::new();
        for (key, passage) in from.ledger.flows(EGRESS) {
            if to.owns_beside(from, flow::ends(&key.flow).1) {
                // A bond and its VLAN see the same packets.
                let most = left.entry(key.flow).or_default();
                let packets = span.at_least(from, passage);
                *most = packets.max(*most);
                if key.carried != PLAIN && packets > 0 {
                    tunnelled.insert(key.flow);
                }
            }
        }
        left.retain(|_, packets| *packets > 0);
        let count = |(key, left): (FlowKey, u64)| {
            let came = came.get(&key).copied().unwrap_or(0);
            (key, Count::new(left, came))
        };
        let flows: BTreeMap<_, _> = left.into_iter().map(count).collect();
        let outers = outers(from, to, &span);
        let dropped = dropped(from, to, &flows, losses);
        Self {
            flows,
            tunnelled,
            outers,
            dropped,
        }
    }

    /// Encapsulated packets that left for this outer address, by those whose source is wanted.
    pub fn encapsulated(&self, wanted: impl Fn(IpAddr, IpAddr) -> bool) -> Option<Count> {
        let of =
            |(key, _): &(&OuterKey, _)| wanted(from_wire(key.source), from_wire(key.destination));
        let mut found = self.outers.iter().filter(of).peekable();
        found.peek()?;
        let mut sum = Count::default();
        found.for_each(|(_, count)| sum.add(*count));
        Some(sum)
    }

    /// All flows that `wanted` says.
    pub fn sum(&self, wanted: impl Fn(&FlowKey) -> bool) -> Count {
        let mut sum = Count::default();
        let of = self.flows.iter().filter(|(key, _)| wanted(key));
        of.for_each(|(_, count)| sum.add(*count));
        sum
    }
}

/// A window with its room for error, on two clocks.
struct Span {
    /// Wall clock of the one, what left for certain within.
    sent: (i64, i64),
    /// Wall clock of the other, what can have come of it.
    came: (i64, i64),
}

impl Span {
    fn new(from: &Side<'_>, to: &Side<'_>, window: &Window) -> Self {
        let ahead = window.ahead.unwrap_or(0);
        let slack = window.slack;
        // Only where the other's recording is what ends it, its clock matters.
        let ours = |theirs: i64| theirs.saturating_sub(ahead);
        let theirs = |ours: i64| ours.saturating_add(ahead);
        let begin = from.began().max(ours(to.began()).saturating_add(slack));
        let end = from.ended().min(ours(to.ended()).saturating_sub(slack));
        let came = (
            theirs(begin).saturating_sub(slack),
            theirs(end).saturating_add(slack),
        );
        Self {
            sent: (begin, end),
            came,
        }
    }

    fn at_least(&self, side: &Side<'_>, passage: &Passage) -> u64 {
        if self.sent.0 >= self.sent.1 {
            return 0;
        }
        passage.least(side.monotonic(self.sent.0), side.monotonic(self.sent.1))
    }

    fn at_most(&self, side: &Side<'_>, passage: &Passage) -> u64 {
        passage.most(side.monotonic(self.came.0), side.monotonic(self.came.1))
    }
}

/// By outer addresses, VNI and port, whichever links they passed.
fn outers(from: &Side<'_>, to: &Side<'_>, span: &Span) -> HashMap<OuterKey, Count> {
    let anywhere = |key: &OuterKey| OuterKey {
        ifindex: 0,
        direction: EGRESS,
        ..*key
    };
    let mut came: HashMap<OuterKey, u64> = HashMap::new();
    for (key, passage) in to.ledger.outers(INGRESS) {
        add(
            came.entry(anywhere(key)).or_default(),
            span.at_most(to, passage),
        );
    }
    let mut counts: HashMap<OuterKey, Count> = HashMap::new();
    for (key, passage) in from.ledger.outers(EGRESS) {
        let left = span.at_least(from, passage);
        let key = anywhere(key);
        let before = counts.get(&key).map_or(0, |c| c.left);
        let count = Count::new(left.max(before), came.get(&key).copied().unwrap_or(0));
        counts.insert(key, count);
    }
    counts.retain(|_, count| count.left > 0);
    counts
}

/// Of these flows, or encapsulated from one node to the other.
fn dropped<'a>(
    from: &Side<'_>,
    to: &Side<'_>,
    flows: &BTreeMap<FlowKey, Count>,
    losses: &'a [Loss],
) -> Vec<&'a Loss> {
    let sent_from: HashSet<IpAddr> = from
        .ledger
        .outers(EGRESS)
        .map(|(key, _)| from_wire(key.source))
        .collect();
    let encapsulated = |key: &FlowKey| {
        let (source, destination) = flow::ends(key);
        sent_from.contains(&source) && to.owns_beside(from, destination)
    };
    let of = |loss: &&Loss| {
        let key = loss.flow();
        let came = flows.get(key).is_some_and(|count| count.came > 0);
        !loss.harmless && (came || encapsulated(key))
    };
    let mut dropped: Vec<&Loss> = losses.iter().filter(of).collect();
    dropped.sort_by_key(|loss| std::cmp::Reverse(loss.dropped.packets));
    dropped
}
