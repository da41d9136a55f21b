//! Pods of this node that its routes do not lead to: what is sent to them takes the route of a wider
//! network, mostly the one that refuses what the CNI gave this node and no pod has.
use std::net::IpAddr;

use netdiag_lang::t;

use super::daemon::{self, Daemon};
use crate::{
    model::{
        address::Prefix,
        node::{Link, LinkKind, PodSide, Route, RouteKind},
        verdict::Fix,
    },
    pipeline::facts::Facts,
    shell,
};

/// The link of a pod of this node that its own route should lead to, and none does: what is sent to
/// the pod takes the route of a wider network.
pub fn missing<'a>(facts: &Facts<'a>, destination: IpAddr) -> Option<&'a Link> {
    let node = facts.node;
    let leads = |r: &Route, link: &Link| {
        r.kind == RouteKind::Unicast
            && r.oif == Some(link.index)
            && r.destination.contains(destination)
    };
    let led = |link: &Link| node.routes.iter().any(|r| leads(r, link));
    let mut links = links(facts, destination).into_iter();
    let first = links.next().filter(|link| !led(link));
    first.filter(|_| !links.any(led))
}

/// The links to whom has the address: as the pods' namespaces say, else, where a link is down and
/// nothing is read behind it, as the pods' source says.
fn links<'a>(facts: &Facts<'a>, address: IpAddr) -> Vec<&'a Link> {
    let node = facts.node;
    // Of a pod with several links nobody says which one its other addresses are on.
    let has = |s: &&PodSide| s.addresses.contains(&address) && s.links.len() < 2;
    let sides = node.pod_sides.iter().filter(has);
    let mut links: Vec<_> = sides
        .flat_map(|side| {
            node.links
                .iter()
                .filter(|l| l.peer_netns == Some(side.netns))
        })
        .collect();
    if links.is_empty() {
        let name = facts
            .pods
            .by_address(address)
            .and_then(|p| p.interface.as_ref());
        links.extend(node.links.iter().filter(|l| Some(&l.name) == name));
    }
    if links.is_empty() && facts.pods.by_address(address).is_some() {
        links.extend(down(facts));
    }
    links.retain(|l| l.master.is_none());
    links
}

/// The one pod's link that is switched off: of a pod that is known to live, and whose link nobody knows,
/// it is that one.
fn down<'a>(facts: &Facts<'a>) -> Option<&'a Link> {
    let node = facts.node;
    let pods = |l: &&Link| {
        let kind = matches!(l.kind, LinkKind::Veth | LinkKind::Netkit);
        let side = l.peer_netns.filter(|netns| *netns != node.netns);
        kind && !l.up && l.master.is_none() && side.is_some()
    };
    let mut links = node.links.iter().filter(pods);
    links.next().filter(|_| links.next().is_none())
}

/// The link to the pod of this node that has the address, where that is switched off.
pub fn switched_off<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<&'a Link> {
    let node = facts.node;
    let has = |s: &&PodSide| s.addresses.contains(&address);
    let side = node.pod_sides.iter().find(has)?;
    let mut own = node
        .links
        .iter()
        .filter(|l| l.peer_netns == Some(side.netns));
    own.clone().all(|l| !l.up).then(|| own.next()).flatten()
}

/// Leads to the pod again.
pub fn lead(facts: &Facts<'_>, destination: IpAddr, link: &Link) -> Fix {
    let name = &link.name;
    let mut commands = Vec::new();
    if !link.up {
        commands.push(shell!("ip link set dev {} up", name));
    }
    let host = Prefix::host(destination);
    commands.push(match destination {
        IpAddr::V4(_) => shell!("ip route replace {} dev {} scope link", host, name),
        IpAddr::V6(_) => shell!("ip -6 route replace {} dev {}", host, name),
    });
    // Of the others the plugin sets it once.
    let keeper = daemon::of_network(facts).filter(|it| *it == Daemon::Calico);
    commands.extend(keeper.map(|it| it.restart(facts)));
    Fix {
        summary: t!(
            "bring back the route to the pod behind {name}, which its CNI's agent keeps (Calico: \
             restart calico-node on this node), or recreate the pod"
        ),
        commands,
    }
}

pub fn tell(to: IpAddr, link: &Link) -> String {
    let name = &link.name;
    match link.up {
        true => t!("no route leads to the pod {to} behind {name}"),
        false => t!("the link {name} of the pod {to} is down, which takes its route along"),
    }
}
