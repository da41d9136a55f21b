//! What this node offers to others: then packets to it that die are no scan's.
use std::{collections::HashSet, net::IpAddr};

use crate::{
    model::{
        flow::{TCP, UDP},
        gather::{Reach, Want, reach},
        services::{Published, Service},
    },
    pipeline::facts::Facts,
};

/// Whether the node has that address, and somebody there takes what comes to that port; nothing
/// where its sockets are not known.
pub fn by_a_socket(facts: &Facts<'_>, (server, port): (IpAddr, u16), protocol: u8) -> bool {
    let (netns, gathered) = (facts.node.netns, facts.gathered);
    let served = match protocol {
        TCP => gathered
            .listeners(netns)
            .is_some_and(|all| matches!(reach(all, server, port), Reach::Served(_))),
        UDP => gathered.receivers(netns, port).is_some_and(|all| {
            let takes = |a: IpAddr| a.is_unspecified() || a == server;
            all.iter().any(|r| r.peer.is_none() && takes(r.address))
        }),
        _ => false,
    };
    served && facts.owns(server)
}

/// Whether nobody on this node or in the pod of it takes what comes to that port, as the sockets there say;
/// nothing where they are not known.
pub fn is_closed(facts: &Facts<'_>, (server, port): (IpAddr, u16), protocol: u8) -> Option<bool> {
    let netns = home(facts, server)?;
    match protocol {
        TCP => {
            let all = facts.gathered.listeners(netns)?;
            Some(!matches!(reach(all, server, port), Reach::Served(_)))
        }
        UDP => {
            let takes = |a: IpAddr| a.is_unspecified() || a == server;
            let all = facts.gathered.receivers(netns, port)?;
            Some(!all.iter().any(|r| r.peer.is_none() && takes(r.address)))
        }
        _ => None,
    }
}

/// Whether a rule of the node leads it on, or one for a Service is about it, by its address or by a port
/// of the node's: a NodePort, a hostPort, a balancer's address, whatever is translated here.
pub fn by_a_rule(facts: &Facts<'_>, (server, port): (IpAddr, u16), protocol: u8) -> bool {
    let services = facts.gathered.services();
    let own = facts.owns(server);
    services.is_some_and(|s| {
        s.rule(server, port, protocol).is_some()
            || own && s.node_port(server, port, protocol).is_some()
            || s.publishes((server, port), protocol, own)
    })
}

/// Whether a rule leads it on to somebody: one that refuses because there are no endpoints does not.
pub fn is_led_on(facts: &Facts<'_>, (server, port): (IpAddr, u16), protocol: u8) -> bool {
    let own = facts.owns(server);
    facts.gathered.services().is_some_and(|s| {
        let rules = [
            s.rule(server, port, protocol),
            s.node_port(server, port, protocol).filter(|_| own),
        ];
        let leads = |rule: &Service| !rule.backends.is_empty() && !rule.rejected;
        rules.into_iter().flatten().any(leads) || s.publishes((server, port), protocol, own)
    })
}

/// Protocols and ports of a foreign address that rules lead on, where none leads on this one of it.
pub fn led_on_beside(
    facts: &Facts<'_>,
    (server, port): (IpAddr, u16),
    protocol: u8,
) -> Vec<(u8, u16)> {
    let services = facts.gathered.services().filter(|_| !facts.owns(server));
    let Some(services) = services.filter(|_| !is_led_on(facts, (server, port), protocol)) else {
        return Vec::new();
    };
    // One that refuses is not missing.
    if services.rule(server, port, protocol).is_some() {
        return Vec::new();
    }
    let leads = |s: &&Service| s.address == server && !s.backends.is_empty() && !s.rejected;
    let ruled = { services.rules.iter().filter(leads) }.map(|s| (s.protocol, s.port));
    let of = |p: &&Published| p.address == Some(server) && p.ports.0 == p.ports.1;
    let published = { services.published.iter().filter(of) }.map(|p| (p.protocol, p.ports.0));
    let mut all: Vec<(u8, u16)> = ruled.chain(published).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Ports of the node's own that are asked about at most.
const MOST: usize = 8;

/// What tells whether anybody, on the node or in a pod of it, takes what comes for these ports. A scan tries all: those that come
/// first are asked about, whatever their numbers.
pub fn wants(
    facts: &Facts<'_>,
    ends: impl Iterator<Item = ((IpAddr, u16), u8)>,
) -> impl Iterator<Item = Want> {
    let mut asked = HashSet::new();
    let wants = ends.filter_map(|(server, protocol)| want(facts, server, protocol));
    let new = wants.filter(move |want| asked.insert(want.clone()));
    new.take(MOST)
}

/// The namespace that has an address of the node's or of a pod's here.
fn home(facts: &Facts<'_>, address: IpAddr) -> Option<u32> {
    match facts.owns(address) {
        true => Some(facts.node.netns),
        false => Some(facts.pod_side_of(address)?.netns),
    }
}

fn want(facts: &Facts<'_>, (server, port): (IpAddr, u16), protocol: u8) -> Option<Want> {
    let netns = home(facts, server)?;
    match protocol {
        TCP => Some(Want::Listeners(netns)),
        UDP => Some(Want::Receivers { netns, port }),
        _ => None,
    }
}
