//! Packets without a route that healthy nodes drop all day.
use std::net::IpAddr;

use super::advertised;
use crate::{
    model::{node::LinkKind, policy::Chosen, roles::Role},
    pipeline::facts::Facts,
    shared::refused::Case,
};

/// Of routers' advertisements, whether they were listened to or not.
const ADVERTISED: &str = "Icmp6InRouter.Advertisements";

/// Programs try IPv6 first wherever they have an address of it, in clusters that have no way out for it
/// too. Not so where routers tell of one and pods and node have addresses of the world's, for addresses of a site's own
/// (fc00::/7), which nobody outside gave them, and where there was a route when the run began, where a route was set to
/// refuse, or where answers are lost: somebody came by that way.
pub fn is_everyday(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    let pattern = &case.pattern;
    let to = pattern.destination;
    let sent = facts.from_to(pattern.source, to);
    let global = !matches!(to, IpAddr::V6(v6) if v6.is_unique_local());
    to.is_ipv6()
        && global
        && !has_no_other(facts, pattern.source)
        && !is_led_out(facts, pattern.source, to)
        && !pattern.reply
        && matches!(case.asked, Chosen::None | Chosen::Unknown)
        && facts.pods.by_address(to).is_none()
        && facts.way_before(&sent).is_none()
}

/// Whether somebody gave the sender an address of the world's, and an uplink of this node, too, and routers tell there of a way
/// out that this node does not listen to: then it is meant to have one.
fn is_led_out(facts: &Facts<'_>, source: IpAddr, to: IpAddr) -> bool {
    let worlds =
        |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xe000 == 0x2000);
    let uplinks = facts
        .node
        .links
        .iter()
        .filter(|l| facts.role(l) == Some(Role::Uplink));
    let mut own = uplinks.flat_map(|l| &l.addresses);
    let told = facts.node.counter(facts.node.netns, ADVERTISED) > Some(0);
    let unheard = || advertised::unheard(facts, to).is_some();
    told && worlds(source) && own.any(|a| worlds(a.prefix.address)) && unheard()
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
