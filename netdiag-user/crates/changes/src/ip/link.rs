//! ip-link(8), of links that there are.
use std::net::Ipv6Addr;

use netdiag_model::{
    address::Prefix,
    node::LOCAL,
    world::{
        End, Netns, Stack, World,
        address::Address,
        device::{Device, Kind, PortState},
        route::{Kind as RouteKind, Route},
    },
};

use super::{Verb, address::connected, route::of_kernel};
use crate::{
    Done, Refused, Words,
    device::{by_index, index, whole},
    stack,
    words::unknown,
};

pub fn change(world: &mut World, netns: Netns, verb: Verb, mut words: Words<'_>) -> Done {
    if verb != Verb::Set {
        return Err(Refused::NotModelled);
    }
    words.take("dev");
    let of = stack(world, netns)?;
    let index = index(of, words.next()?)?;
    while let Some(word) = words.more() {
        let device = by_index(stack(world, netns)?, index)?;
        match word {
            "up" => up(world, End { netns, index })?,
            "mtu" => {
                let mtu = words.number()?;
                device.mtu = mtu;
                device.conf6.iter_mut().for_each(|conf| conf.mtu = mtu);
            }
            "arp" => device.flags.no_arp = !words.switch()?,
            "promisc" => device.flags.promiscuous = words.switch()?,
            "allmulticast" => device.flags.all_multicast = words.switch()?,
            "address" => device.mac = Some(words.mac()?),
            "type" => return kind(device, words),
            // Addresses and routes go with it, and what of them comes back nobody knows.
            "down" => return Err(Refused::NotModelled),
            other => return Err(unknown(other)),
        }
    }
    Ok(())
}

fn kind(device: &mut Device, mut words: Words<'_>) -> Done {
    match (words.next()?, &mut device.kind) {
        ("vxlan", Kind::Vxlan(vxlan)) => {
            while let Some(word) = words.more() {
                match word {
                    "ttl" if words.take("inherit") => vxlan.ttl_inherit = true,
                    "ttl" => (vxlan.ttl, vxlan.ttl_inherit) = (words.value()?, false),
                    "learning" => vxlan.learning = true,
                    "nolearning" => vxlan.learning = false,
                    "local" => vxlan.local = Some(words.address()?),
                    "remote" => vxlan.remote = Some(words.address()?),
                    other => return Err(unknown(other)),
                }
            }
            Ok(())
        }
        ("bridge", Kind::Bridge(bridge)) => {
            while let Some(word) = words.more() {
                let value = words.number()? != 0;
                match word {
                    "vlan_filtering" => bridge.vlan_filtering = value,
                    "mcast_snooping" => bridge.multicast_snooping = value,
                    "nf_call_iptables" => bridge.nf_call_iptables = value,
                    "nf_call_ip6tables" => bridge.nf_call_ip6tables = value,
                    other => return Err(unknown(other)),
                }
            }
            Ok(())
        }
        (other, _) => Err(unknown(other)),
    }
}

/// It is up, has a signal where its other end is, and its routes of IPv4 are there again.
fn up(world: &mut World, at: End) -> Done {
    let peer = world.wires.get(&at).copied();
    let peer_up = match peer {
        Some(peer) => match world.device(peer) {
            Some(device) => device.flags.up,
            None => return Err(Refused::NotRead),
        },
        None => true,
    };
    let own = stack(world, at.netns)?;
    by_index(own, at.index)?.flags.up = true;
    let ports: Vec<&Device> = own.slaves(at.index).collect();
    let bridge = matches!(
        own.device(at.index).map(|device| &device.kind),
        Some(Kind::Bridge(_))
    );
    let signal = match bridge {
        true => ports.iter().any(|port| port.running),
        false => peer_up,
    };
    if signal {
        carries(own, at.index)?;
    }
    let addresses = whole(&mut own.addresses)?.iter();
    let of = |address: &&Address| address.device == at.index;
    let addresses: Vec<Address> = addresses.filter(of).cloned().collect();
    for address in &addresses {
        connected(own, address)?;
    }
    match peer.filter(|_| signal) {
        Some(peer) => carries(stack(world, peer.netns)?, peer.index),
        None => Ok(()),
    }
}

/// It has a signal now: as a port of a bridge it forwards, and the bridge has one, too.
fn carries(stack: &mut Stack, index: u32) -> Done {
    let device = by_index(stack, index)?;
    if !device.flags.up {
        return Ok(());
    }
    (device.running, device.lower_up) = (true, true);
    let master = device.master;
    let ipv6 = device.conf6.is_some_and(|conf| !conf.disable);
    let groups = groups(device);
    let routes = whole(&mut stack.routes)?;
    if ipv6 && !routes.contains(&groups) {
        routes.push(groups);
    }
    let hops = routes.iter_mut().flat_map(|route| &mut route.hops);
    hops.filter(|hop| hop.device == index)
        .for_each(|hop| (hop.linkdown, hop.dead) = (false, false));
    let Some(master) = master else {
        return Ok(());
    };
    let Kind::Bridge(bridge) = by_index(stack, master)?.kind else {
        return Ok(());
    };
    if bridge.stp {
        // It listens and learns first.
        return Err(Refused::NotModelled);
    }
    let port = by_index(stack, index)?.port.as_mut();
    port.into_iter()
        .for_each(|port| port.state = PortState::Forwarding);
    carries(stack, master)
}

/// The route of IPv6's groups that a link has as soon as it has a signal (`addrconf_add_mroute`).
fn groups(device: &Device) -> Route {
    let to = Prefix {
        address: Ipv6Addr::from_bits(0xff << 120).into(),
        length: 8,
    };
    of_kernel(RouteKind::Multicast, LOCAL, to, device)
}
