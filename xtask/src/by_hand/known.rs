//! What a look by hand does not give yet. An entry goes when it holds: the task fails then.
use super::Look;

/// An incident whose form with these seeds is told as something else, whatever traffic is beside it.
pub struct Known {
    scenario: &'static str,
    seeds: &'static [u64],
    /// In alphabetical order.
    pub named: &'static [&'static str],
    pub why: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        scenario: "link-failure",
        seeds: &[1, 4, 5, 8, 9],
        named: &["neighbour-failed"],
        why: "a carrier that was gone before the diagnosis began is called a silent neighbour",
    },
    Known {
        scenario: "overlay-port-or-vni-mismatch",
        seeds: &[1],
        named: &["dns-unreachable", "overlay-port-or-vni-mismatch"],
        why: "lookups inside of packets that come in are taken for some that leave",
    },
];

/// What is known of it.
pub fn entry(look: &Look) -> Option<&'static Known> {
    KNOWN
        .iter()
        .find(|it| it.scenario == look.scenario && it.seeds.contains(&look.seed))
}
