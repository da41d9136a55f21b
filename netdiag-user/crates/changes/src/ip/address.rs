//! ip-address(8), with the routes that come and go with an address (`fib_add_ifaddr`, `addrconf_prefix_route`).
use std::net::IpAddr;

use netdiag_model::{
    address::Prefix,
    node::{LOCAL, MAIN},
    world::{
        Stack,
        address::{Address, Flags, Scope},
        device::{self, Device},
        route::{Kind, Route},
    },
};

use super::{
    Verb,
    route::{is_of_kernel, of_kernel},
};
use crate::{
    Done, Refused, Words,
    device::{by_index, index, whole},
    words::unknown,
};

/// `IFA_F_PERMANENT`, `IFA_F_NODAD`
const PERMANENT: u32 = 0x80;
const NO_DAD: u32 = 0x02;

pub fn change(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    let own: Prefix = words.value()?;
    let (mut device, mut peer, mut broadcast, mut flags) = (None, None, None, PERMANENT);
    while let Some(word) = words.more() {
        match word {
            "dev" => device = Some(index(stack, words.next()?)?),
            "peer" => peer = Some(words.address()?),
            "broadcast" | "brd" if words.take("+") => broadcast = last(own),
            "broadcast" | "brd" => broadcast = Some(words.address()?),
            "noprefixroute" => flags |= Flags::NO_PREFIX_ROUTE,
            "nodad" => flags |= NO_DAD,
            other => return Err(unknown(other)),
        }
    }
    let device = device.ok_or(Refused::Ends)?;
    let all = whole(&mut stack.addresses)?;
    let is = |other: &Address| (other.device, other.own) == (device, own);
    match (verb, all.iter().position(is)) {
        (Verb::Delete, Some(at)) => {
            let gone = all.remove(at);
            forget(stack, &gone)
        }
        (Verb::Delete, None) => Err(Refused::Nothing),
        (Verb::Add, Some(_)) => Err(Refused::Exists),
        (Verb::Replace, Some(_)) => Ok(()),
        (Verb::Add | Verb::Replace, None) => {
            let beside = |other: &&Address| {
                other.device == device
                    && other.own.length == own.length
                    && other.own.address.is_ipv4()
                    && other.own.contains(own.address)
            };
            if all.iter().any(|other| beside(&other)) {
                flags |= Flags::SECONDARY;
            }
            let added = Address {
                device,
                own,
                peer,
                broadcast,
                scope: Scope::UNIVERSE,
                flags: Flags(flags),
            };
            all.push(added.clone());
            connected(stack, &added)
        }
        _ => Err(Refused::NotModelled),
    }
}

/// What goes with an address. Who is the first of its network takes the others along, or hands over to one of them.
fn forget(stack: &mut Stack, gone: &Address) -> Done {
    let all = whole(&mut stack.addresses)?;
    let secondary = |other: &Address| {
        other.device == gone.device
            && other.flags.has(Flags::SECONDARY)
            && gone.own.contains(other.own.address)
    };
    if !gone.flags.has(Flags::SECONDARY) && all.iter().any(secondary) {
        return Err(Refused::NotModelled);
    }
    let elsewhere = { all.iter() }.any(|other| other.own.address == gone.own.address);
    let routes = whole(&mut stack.routes)?;
    let on = |route: &Route| route.hops.iter().any(|hop| hop.device == gone.device);
    let network = network(gone);
    routes.retain(|route| {
        let made = is_of_kernel(route) && on(route);
        let own = route.to == Prefix::host(gone.own.address) && route.table == LOCAL;
        let connected = route.table != LOCAL && route.to == network;
        let broadcast = route.kind == Kind::Broadcast && route.prefsrc == Some(gone.own.address);
        let source =
            route.prefsrc == Some(gone.own.address) && !elsewhere && route.to.address.is_ipv4();
        !(made && (own || connected || broadcast) || source)
    });
    Ok(())
}

fn network(address: &Address) -> Prefix {
    let network = address.network();
    Prefix {
        address: ends(network).0,
        ..network
    }
}

/// The first and the last address of a network.
fn ends(prefix: Prefix) -> (IpAddr, IpAddr) {
    match prefix.address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
            let bits = v4.to_bits();
            let [first, last] = [bits & !host, bits | host].map(std::net::Ipv4Addr::from_bits);
            (first.into(), last.into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
            let bits = v6.to_bits();
            let [first, last] = [bits & !host, bits | host].map(std::net::Ipv6Addr::from_bits);
            (first.into(), last.into())
        }
    }
}

/// The address of all routers of its network (RFC 4291, 2.6.1), where it has one (`addrconf_join_anycast`).
pub(crate) fn routers(address: &Address) -> Option<Prefix> {
    let prefix = address.own.address.is_ipv6() && address.own.length < 127;
    prefix.then(|| Prefix::host(ends(address.own).0))
}

/// The broadcast address of a network of IPv4's, where it has one (RFC 3021).
fn last(own: Prefix) -> Option<IpAddr> {
    (own.address.is_ipv4() && own.length < 31).then(|| ends(own).1)
}

/// The routes of an address, as far as its device is up.
pub(crate) fn connected(stack: &mut Stack, address: &Address) -> Done {
    let device = by_index(stack, address.device)?.clone();
    let table = match device.master.map(|master| by_index(stack, master)) {
        Some(Ok(Device {
            kind: device::Kind::Vrf { table },
            ..
        })) => Some(*table),
        _ => None,
    };
    // Its routes are in the name of the first one of its network.
    let first = whole(&mut stack.addresses)?.iter().find(|other| {
        other.device == address.device
            && !other.flags.has(Flags::SECONDARY)
            && other.own.length == address.own.length
            && other.own.contains(address.own.address)
    });
    let source = first.unwrap_or(address).own.address;
    let routes = whole(&mut stack.routes)?;
    let ipv4 = address.own.address.is_ipv4();
    let made = |kind, to: Prefix, within| Route {
        prefsrc: ipv4.then_some(source),
        ..of_kernel(kind, table.unwrap_or(within), to, &device)
    };
    let mut add = |route: Route| {
        if !routes.contains(&route) {
            routes.push(route);
        }
    };
    if ipv4 || device.flags.up {
        add(made(Kind::Local, Prefix::host(address.own.address), LOCAL));
    }
    if !device.flags.up {
        return Ok(());
    }
    let broadcasts = ipv4 && address.own.length < 31 && !address.flags.has(Flags::SECONDARY);
    let broadcasts = [
        broadcasts.then(|| last(address.own)).flatten(),
        address.broadcast,
    ];
    for to in broadcasts.into_iter().flatten() {
        add(made(Kind::Broadcast, Prefix::host(to), LOCAL));
    }
    let forwards = device.conf6.is_some_and(|conf| conf.forwarding);
    if let Some(anycast) = (!ipv4 && forwards).then(|| routers(address)).flatten() {
        add(made(Kind::Anycast, anycast, LOCAL));
    }
    let network = network(address);
    let of_its_own = network != Prefix::host(address.own.address);
    let first = !address.flags.has(Flags::SECONDARY);
    if of_its_own && first && !address.flags.has(Flags::NO_PREFIX_ROUTE) {
        add(match device.flags.loopback {
            true => made(Kind::Local, network, LOCAL),
            false => made(Kind::Unicast, network, MAIN),
        });
    }
    Ok(())
}
