//! Whether the connection tracking table is full: then what netfilter drops is no rule's doing.
use netdiag_lang::t;

use super::losses::PATTERN;
use crate::{
    model::verdict::{Evidence, EvidenceKind, Origin},
    pipeline::facts::{Facts, Loss},
    shell,
};

/// A table that dropped packets and still is as full as this is full. Entries time out between
/// the drops and the reading, so that it is seldom found at its very limit.
const FULL_PERCENT: u64 = 95;

/// The table of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub netns: u32,
    /// Packets that found no room during the run.
    pub dropped: u64,
    pub count: u64,
    pub max: u64,
}

/// The full table of this node's namespace, or of a pod's. Entries are counted per namespace, the
/// limit is one for the machine (net/netfilter/nf_conntrack_core.c).
pub fn full(facts: &Facts<'_>) -> Option<Table> {
    let of = |counters: &crate::model::node::Counters| {
        let netns = counters.netns;
        let gauge = |name: &str| facts.node.counter(netns, name);
        let table = Table {
            netns,
            dropped: facts.moved(netns, "nf_conntrack.drop")?,
            count: gauge("nf_conntrack_count")?,
            max: gauge("nf_conntrack_max").filter(|max| *max > 0)?,
        };
        let full = table.count.saturating_mul(100) >= table.max.saturating_mul(FULL_PERCENT);
        (table.dropped >= PATTERN && full).then_some(table)
    };
    facts
        .node
        .counters
        .iter()
        .filter_map(of)
        .max_by_key(|t| t.dropped)
}

/// Packets of a namespace that connection tracking could not insert, and that no rule took
/// (nf_hook_slow frees both alike).
pub fn refused(facts: &Facts<'_>, netns: u32) -> u64 {
    let moved = facts.moved(netns, "nf_conntrack.insert_failed");
    moved.unwrap_or(0)
}

/// Packets that race are processed at the same time: within microseconds, in an emulated machine
/// within milliseconds.
pub const AT_ONCE_NS: u64 = 10_000_000;

/// Dropped by a hook as such: a legacy rule, or connection tracking.
pub fn by_its_hook(loss: &Loss) -> bool {
    loss.reason == "NETFILTER_DROP" && loss.symbol() == "nf_hook_slow"
}

/// Whether connection tracking refuses entries there though its table has room.
pub fn is_refusing(facts: &Facts<'_>, netns: u32) -> bool {
    facts.moved(netns, "nf_conntrack.insert_failed") >= Some(PATTERN)
        && full(facts).is_none_or(|table| table.netns != netns)
}

pub fn counted(facts: &Facts<'_>, netns: u32) -> Evidence {
    let failed = facts
        .moved(netns, "nf_conntrack.insert_failed")
        .unwrap_or(0);
    let gauge = |name: &str| facts.node.counter(netns, name).unwrap_or(0);
    let text = t!(
        "insert_failed moved by {failed} while the table has room: {} of {} entries",
        gauge("nf_conntrack_count"),
        gauge("nf_conntrack_max"),
    );
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    line.at = Some("/proc/net/stat/nf_conntrack".into());
    line.packets = Some(failed);
    line.confirm = Some(shell!("conntrack -S"));
    line
}

/// Dropped by a hook as such, while that namespace's table is full. Legacy rules drop in the same
/// function; they wait until there is room again.
pub fn for_want_of_room(table: Option<&Table>, loss: &Loss) -> bool {
    by_its_hook(loss) && table.is_some_and(|t| t.netns == loss.key.netns)
}
