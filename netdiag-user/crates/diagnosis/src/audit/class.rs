//! What tells one pod's ways from another's, beside whose address it is.
use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    model::{
        address::Prefix,
        node::PodSide,
        world::{Stack, route::Route},
    },
    pipeline::facts::Facts,
};

/// Nothing where its state was not read: nobody can walk from there.
pub type Class = BTreeSet<String>;

pub fn of(facts: &Facts<'_>, side: &PodSide) -> Option<Class> {
    let world = facts.prepared().world;
    let (stack, node) = (
        world.stacks.get(&side.netns)?,
        world.stacks.get(&facts.node.netns),
    );
    let mut all = inside(stack, &side.addresses);
    let links = facts.node.links.iter();
    for link in links.filter(|link| link.peer_netns == Some(side.netns)) {
        let device = node.and_then(|node| node.device(link.index));
        let told = device.map(|it| (it.mtu, it.port, &it.conf4, &it.conf6, it.master));
        all.insert(format!("here {told:?}"));
    }
    Some(all)
}

fn inside(stack: &Stack, known: &[IpAddr]) -> Class {
    // Those of its links, too: routes lead to each.
    let own = stack.addresses.some().into_iter().flatten();
    let own = own.map(|address| address.own.address);
    let own: Vec<IpAddr> = own.chain(known.iter().copied()).collect();
    let mut all = Class::from([
        format!(
            "families {:?}",
            known.iter().map(IpAddr::is_ipv4).collect::<BTreeSet<_>>()
        ),
        format!("rules {:?}", stack.rules),
        format!("settings {:?}", stack.settings),
        format!("netfilter {:?}", stack.ruleset),
        format!("ipsec {:?}", stack.ipsec),
    ]);
    for device in stack
        .devices
        .some()
        .into_iter()
        .flat_map(|all| all.values())
    {
        let told = (&device.name, device.mtu, device.flags, device.running);
        all.insert(format!(
            "device {told:?} {:?} {:?}",
            device.conf4, device.conf6
        ));
    }
    let routes = stack.routes.some().into_iter().flatten();
    all.extend(routes.map(|route| line(stack, &own, route)));
    all
}

/// A route by the names of its devices, and without the pod's own address.
fn line(stack: &Stack, own: &[IpAddr], route: &Route) -> String {
    let whose = |to: Prefix| match own.contains(&to.address) {
        true => format!("own/{}", to.length),
        false => to.to_string(),
    };
    let hops = route.hops.iter().map(|hop| {
        let device = stack.device(hop.device).map(|device| &device.name);
        (device, hop.gateway, hop.weight, hop.dead)
    });
    let hops: Vec<_> = hops.collect();
    let source = route.prefsrc.map(|source| own.contains(&source));
    format!(
        "route {:?} {} {} {} {:?} {hops:?} {source:?} {:?}",
        route.kind,
        route.table,
        whose(route.to),
        route.priority,
        route.from,
        route.metrics
    )
}
