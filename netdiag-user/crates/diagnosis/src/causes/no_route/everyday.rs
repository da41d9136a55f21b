//! Packets without a route that healthy nodes drop all day.
use std::net::IpAddr;

use crate::{
    model::{node::LinkKind, policy::Chosen},
    pipeline::facts::Facts,
    shared::refused::Case,
};

/// Programs try IPv6 first wherever they have an address of it, in clusters that have no way out for it
/// too. Not so for addresses of a site's own (fc00::/7), which nobody outside gave them, and where there
/// was a route when the run began, where a route was set to refuse, or where answers are lost: somebody
/// came by that way.
pub fn is_everyday(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    let pattern = &case.pattern;
    let to = pattern.destination;
    let sent = facts.from_to(pattern.source, to);
    let global = !matches!(to, IpAddr::V6(v6) if v6.is_unique_local());
    to.is_ipv6()
        && global
        && !has_no_other(facts, pattern.source)
        && !pattern.reply
        && matches!(case.asked, Chosen::None | Chosen::Unknown)
        && facts.pods.by_address(to).is_none()
        && facts.way_before(&sent).is_none()
}

/// Whether the sender has IPv6 alone: nothing else is left to it.
fn has_no_other(facts: &Facts<'_>, source: IpAddr) -> bool {
    let mut sides = facts.node.sides();
    let alone = |all: &[IpAddr]| !all.is_empty() && all.iter().all(IpAddr::is_ipv6);
    match sides.find(|side| side.addresses.contains(&source)) {
        Some(side) => alone(&side.addresses),
        None => {
            let links = facts.node.links.iter();
            let links = links.filter(|l| l.kind != LinkKind::Loopback);
            let own = links.flat_map(|l| &l.addresses).map(|a| a.prefix.address);
            facts.owns(source) && alone(&own.collect::<Vec<_>>())
        }
    }
}
