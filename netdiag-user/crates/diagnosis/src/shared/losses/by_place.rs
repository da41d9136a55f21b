//! Drops of kernels that give no reason for them: what else is known decides between causes of one place.
use netdiag_common::loss::NO_REASON;

use crate::pipeline::facts::{Facts, Loss};

/// What 5.15.58 and 5.17 say of most drops, whose place tells a reason that they have no word for. Later
/// kernels drop nothing with that number.
const UNSPECIFIED: u32 = 0;

/// Whether the kernel said nothing of it.
pub fn unspecified(loss: &Loss) -> bool {
    matches!(loss.key.reason, NO_REASON | UNSPECIFIED)
}

/// Dropped because no neighbour has the address: kernels before 6.4 give no reason, and for IPv6 none does
/// (`ndisc_error_report`).
pub fn nobody_answered(loss: &Loss) -> bool {
    let unspecified = loss.reason == "NOT_SPECIFIED";
    loss.reason == "NEIGH_FAILED" || unspecified && loss.is_beside("neigh_invalidate")
}

/// Whether a full queue of a link may have taken it. Linux before 5.18 gives no reason, and frees what its
/// queues refuse in a list, as it frees parts of other packets: the queue's own counter tells which.
pub fn by_a_queue(loss: &Loss) -> bool {
    let in_a_list = loss.reason == "NOT_SPECIFIED" && loss.symbol() == "kfree_skb_list";
    loss.reason == "QDISC_DROP" || in_a_list
}

/// Whether a loss whose reason is told by its place alone is what that counter of its namespace counts; one
/// that cannot be read denies nothing.
pub fn counted(facts: &Facts<'_>, loss: &Loss, counter: &str) -> bool {
    let moved = || facts.moved(loss.key.netns, counter);
    !unspecified(loss) || moved().is_none_or(|n| n > 0)
}
