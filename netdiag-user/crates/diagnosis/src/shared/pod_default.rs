//! A pod's own default route, and how it gets one again.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        node::{Link, PodSide},
        verdict::Fix,
    },
    pipeline::facts::Facts,
    shell,
};

/// Its routes of that family are known and lead to its own networks at most.
pub fn is_missing(side: &PodSide, ipv6: bool) -> bool {
    !side.ways.is_empty() && !side.ways.iter().any(|(to, _)| is_default(to, ipv6))
}

/// By which the pod sends to the rest of the world.
pub fn gateway(side: &PodSide, ipv6: bool) -> Option<IpAddr> {
    let mut ways = side.ways.iter();
    ways.find(|(to, _)| is_default(to, ipv6))?.1
}

#[expect(clippy::disallowed_methods, reason = "of a pod's own routes")]
fn is_default(to: &Prefix, ipv6: bool) -> bool {
    to.address.is_ipv6() == ipv6 && to.is_anywhere()
}

pub fn fix(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Fix {
    let add = right(facts, side, ipv6);
    let add = add.map(|gateway| shell!("ip route add default via {}", gateway));
    let show = shell!("ip route show");
    Fix {
        summary: t!(
            "recreate the pod: its routes are the CNI plugin's (\"routes\" of its IPAM configuration); \
             find out what took the default route away"
        )
        .into(),
        commands: vec![{
            let command = add.unwrap_or(show).of_family(ipv6);
            facts.node.inside(side.netns, command)
        }],
    }
}

/// The gateway that it should have, as far as can be told.
pub fn right(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Option<IpAddr> {
    let found = beside(facts, side, ipv6);
    let found = found.or_else(|| on_its_link(facts, side, ipv6));
    found.or_else(|| as_others(facts, side, ipv6))
}

/// Whoever is on the same bridge has the same gateway, where that is this node: another pod may have set its own.
fn beside(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Option<IpAddr> {
    let link = link_of(facts, side);
    let beside = |other: &&PodSide| {
        let other = link_of(facts, other);
        link.is_some_and(|l| l.master.is_some() && other.is_some_and(|o| o.master == l.master))
    };
    let others = facts.node.pod_sides.iter().filter(beside);
    let mut by = others.filter_map(|other| gateway(other, ipv6));
    by.find(|gateway| facts.owns(*gateway))
}

/// The node's own address on the pod's link, or on the bridge that this is a port of, where the pod reaches it
/// without a gateway.
fn on_its_link(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Option<IpAddr> {
    let link = link_of(facts, side)?;
    let at = link.master.and_then(|master| facts.link(master));
    let own = at.unwrap_or(link).addresses.iter();
    let mut own = own
        .map(|a| a.prefix.address)
        .filter(|a| a.is_ipv6() == ipv6);
    own.find(|address| is_near(side, *address))
}

/// Another pod's, which this one reaches without a gateway: where pods are routed they have the same (169.254.1.1).
fn as_others(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Option<IpAddr> {
    let others = facts.node.pod_sides.iter();
    let mut by = others.filter_map(|other| gateway(other, ipv6));
    by.find(|gateway| is_near(side, *gateway))
}

fn is_near(side: &PodSide, address: IpAddr) -> bool {
    let mut ways = side.ways.iter();
    ways.any(|(to, gateway)| gateway.is_none() && to.contains(address))
}

fn link_of<'a>(facts: &Facts<'a>, side: &PodSide) -> Option<&'a Link> {
    let mut links = facts.node.links.iter();
    links.find(|l| l.peer_netns == Some(side.netns))
}
