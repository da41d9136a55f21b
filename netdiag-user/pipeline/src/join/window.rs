//! When two nodes were watched at the same time, by clocks that may differ.
use std::collections::HashMap;

use netdiag_common::{
    flow::FlowKey,
    hop::{EGRESS, INGRESS},
};

use super::Side;

/// Flows seen by both tell how the clocks differ but for the way between the nodes and the
/// packet that one of them missed first.
const MEASURED: i64 = 500_000_000;
/// Clocks that nothing compares are believed within this; NTP keeps them much closer.
const BELIEVED: i64 = 5_000_000_000;
/// What went on when a recording began has its first packet there, not where it really was.
const SETTLED: u64 = 1_000_000_000;
/// Flows that agree on a difference: fewer might be two clusters' that have the same addresses.
const ENOUGH: usize = 3;

/// The time that both saw, in the first one's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub to: i64,
    /// What the second clock is ahead, where flows told.
    pub ahead: Option<i64>,
    /// How wrong that may be.
    pub slack: i64,
}

impl Window {
    /// The same in the second one's wall clock.
    pub fn for_the_other(&self) -> Self {
        let ahead = self.ahead.unwrap_or(0);
        Self {
            from: self.from.saturating_add(ahead),
            to: self.to.saturating_add(ahead),
            ahead: self.ahead.map(i64::saturating_neg),
            slack: self.slack,
        }
    }

    pub fn seconds(&self) -> f64 {
        self.to.saturating_sub(self.from) as f64 / 1e9
    }
}

/// Nothing where they were not watched at the same time, as far as one can tell.
pub fn window(one: &Side<'_>, other: &Side<'_>) -> Option<Window> {
    let ahead = ahead(one, other);
    let slack = if ahead.is_some() { MEASURED } else { BELIEVED };
    let shift = ahead.unwrap_or(0);
    let from = one.began().max(other.began().saturating_sub(shift));
    let to = one.ended().min(other.ended().saturating_sub(shift));
    (to > from).then_some(Window {
        from,
        to,
        ahead,
        slack,
    })
}

/// How far the other's clock is ahead, by the first packets of flows that both saw.
fn ahead(one: &Side<'_>, other: &Side<'_>) -> Option<i64> {
    let mut differences = firsts(one, other);
    differences.extend(firsts(other, one).into_iter().map(i64::saturating_neg));
    differences.sort_unstable();
    let middle = *differences.get(differences.len() / 2)?;
    let agrees = |d: &&i64| d.abs_diff(middle) <= MEASURED.unsigned_abs();
    let agree = differences.iter().filter(agrees).count();
    (agree >= ENOUGH && agree * 2 > differences.len()).then_some(middle)
}

/// From one's clock at the first packet that went out to the other's when it came in.
fn firsts(from: &Side<'_>, to: &Side<'_>) -> Vec<i64> {
    let mut came: HashMap<FlowKey, (u64, bool)> = HashMap::new();
    for (key, passage) in to.ledger.flows(INGRESS) {
        let it = (passage.first, passage.opens);
        let first = came.entry(key.flow).or_insert(it);
        *first = it.min(*first);
    }
    let settled = |side: &Side<'_>, first: u64| first > side.started.saturating_add(SETTLED);
    let left = from.ledger.flows(EGRESS).filter_map(|(key, passage)| {
        let (first, opens) = *came.get(&key.flow)?;
        let connection = opens && passage.opens;
        let new = settled(from, passage.first) && settled(to, first);
        (connection || new).then(|| to.wall(first).saturating_sub(from.wall(passage.first)))
    });
    left.collect()
}
