//! Conversations by what was asked, whether it was seen on a link or lost before.
use std::collections::BTreeMap;

use netdiag_common::flow::FlowKey;

use crate::pipeline::facts::Facts;

#[derive(Default)]
pub struct Asked {
    /// Bytes of its largest lost packet.
    pub largest: u32,
    /// It was seen where it is sent; what was lost alone may have been translated before.
    pub seen: bool,
}

/// Those of the flows that are wanted, so many at most.
pub fn asked(
    facts: &Facts<'_>,
    wanted: impl Fn(&FlowKey) -> bool,
    most: usize,
) -> BTreeMap<FlowKey, Asked> {
    let seen = facts.journeys().keys().map(|flow| (*flow, None));
    let lost = facts.losses.iter().filter(|loss| !loss.harmless);
    let lost = lost.map(|loss| (*loss.flow(), Some(loss.dropped.largest)));
    let mut all: BTreeMap<FlowKey, Asked> = BTreeMap::new();
    for (flow, largest) in lost.chain(seen) {
        // What is no packet of IP's has no protocol.
        if flow.protocol == 0 || !wanted(&flow) || facts.direction().is_answer(&flow) {
            continue;
        }
        let first = facts.legs().origin(&flow).map_or(flow, |(first, _)| first);
        if all.len() < most || all.contains_key(&first) {
            let known = all.entry(first).or_default();
            known.seen |= largest.is_none();
            known.largest = known.largest.max(largest.unwrap_or(0));
        }
    }
    all
}
