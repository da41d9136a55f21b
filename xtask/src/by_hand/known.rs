//! What a look by hand does not give yet. An entry goes when it holds: the task fails then.
use std::collections::BTreeSet;

use super::Look;

/// An incident of a seed that is told as something else, whatever traffic is beside it.
struct Known {
    scenario: &'static str,
    seed: u64,
    named: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    // The carrier was gone before the diagnosis began.
    Known {
        scenario: "link-failure",
        seed: 1,
        named: &["neighbour-failed"],
    },
    // Lookups that arrive within dropped packets are called this node's own.
    Known {
        scenario: "overlay-port-or-vni-mismatch",
        seed: 1,
        named: &["dns-unreachable", "overlay-port-or-vni-mismatch"],
    },
];

/// Whether something else than the declared causes is named, and known to be.
pub fn is_known(look: &Look, named: &BTreeSet<String>) -> bool {
    entry(look).is_some_and(|it| it.named.iter().eq(named))
}

/// Whether something else ought to be named.
pub fn has_entry(look: &Look) -> bool {
    entry(look).is_some()
}

fn entry(look: &Look) -> Option<&'static Known> {
    KNOWN
        .iter()
        .find(|it| it.scenario == look.scenario && it.seed == look.seed)
}
