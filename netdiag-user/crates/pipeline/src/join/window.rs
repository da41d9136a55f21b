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
/// What the kernel's clock of the last tick may be late (CONFIG_HZ=100).
const TICK: i64 = 10_000_000;
/// Flows that agree on a difference: fewer might be two clusters' that have the same addresses.
const ENOUGH: usize = 3;

/// The time that both saw, in the first one's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub to: i64,
    /// What the second clock is ahead, where flows told.
    pub ahead: Option<i64>,
    /// How wrong that may be, where flows of both directions told.
    pub error: Option<i64>,
    /// How much later than it left a packet may have come.
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
            error: self.error,
            slack: self.slack,
        }
    }

    pub fn seconds(&self) -> f64 {
        self.to.saturating_sub(self.from) as f64 / 1e9
    }
}

/// Nothing where they were not watched at the same time, as far as one can tell.
pub fn window(one: &Side<'_>, other: &Side<'_>) -> Option<Window> {
    let told = ahead(one, other);
    let ahead = told.map(|it| it.ahead);
    let slack = if ahead.is_some() { MEASURED } else { BELIEVED };
    let shift = ahead.unwrap_or(0);
    let from = one.began().max(other.began().saturating_sub(shift));
    let to = one.ended().min(other.ended().saturating_sub(shift));
    (to > from).then_some(Window {
        from,
        to,
        ahead,
        error: told.and_then(|it| it.error),
        slack,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    ahead: i64,
    error: Option<i64>,
}

/// How far the other's clock is ahead, by the first packets of flows that both saw.
///
/// As NTP has it (RFC 5905, 8): a packet takes its time, and so what came is later by the
/// difference of the clocks and some more, what went the other way by less; the truth is between the
/// least of the one and the most of the other.
fn ahead(one: &Side<'_>, other: &Side<'_>) -> Option<Ahead> {
    let there = firsts(one, other);
    let back: Vec<i64> = firsts(other, one)
        .into_iter()
        .map(i64::saturating_neg)
        .collect();
    estimated(&there, &back)
}

fn estimated(there: &[i64], back: &[i64]) -> Option<Ahead> {
    let mut differences = [there, back].concat();
    differences.sort_unstable();
    let middle = *differences.get(differences.len() / 2)?;
    let agrees = |d: &&i64| d.abs_diff(middle) <= MEASURED.unsigned_abs();
    let agree = differences.iter().filter(agrees).count();
    if agree < ENOUGH || agree * 2 <= differences.len() {
        return None;
    }
    let most = there.iter().filter(agrees).min();
    let least = back.iter().filter(agrees).max();
    let Some((most, least)) = most.zip(least) else {
        // How long the one way takes is not known.
        let (ahead, error) = (*most.or(least)?, None);
        return Some(Ahead { ahead, error });
    };
    // They may cross where a first packet was missed, or by the clocks' own coarseness.
    let half = most.saturating_sub(*least) / 2;
    Some(Ahead {
        ahead: least.saturating_add(half),
        error: Some(half.saturating_abs().saturating_add(TICK)),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn the_truth_is_between_both_ways() {
        // Five milliseconds ahead, ways of one to three.
        let told = estimated(&[6 * MS, 7 * MS, 8 * MS], &[4 * MS, 2 * MS]).expect("told");
        assert_eq!(told.ahead, 5 * MS);
        assert_eq!(told.error, Some(MS + TICK));
    }

    #[test]
    fn one_way_tells_no_error() {
        let told = estimated(&[6 * MS, 9 * MS, 7 * MS], &[]).expect("told");
        assert_eq!((told.ahead, told.error), (6 * MS, None));
        assert_eq!(estimated(&[6 * MS, 9 * MS], &[]), None, "too few");
    }

    /// A flow whose first packet one of them missed is far from the others.
    #[test]
    fn what_disagrees_does_not_count() {
        let there = [6 * MS, 7 * MS, 8 * MS, -3_000 * MS];
        let told = estimated(&there, &[4 * MS]).expect("told");
        assert_eq!(told.ahead, 5 * MS);
    }
}
