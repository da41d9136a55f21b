//! What lies beyond the recorded node: for each link that leads out a namespace that answers for whoever answered there,
//! and for other nodes' pods behind a tunnel one more.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::AsFd,
};

use anyhow::Result;

use super::{
    Wanted, addresses, devices, made::Tunnel, netlink::CREATE, routes, rules, space::Space,
};
use crate::{
    model::world::{
        Stack,
        address::{Address, Scope},
        device::{Device, Flags, Kind, Mac, MacvlanMode, Vxlan},
        neighbour::{FdbEntry, State},
        route::{Hop, Kind as RouteKind, Metrics, Preference, Route},
        rule::{Action, Rule},
    },
    netns::Netns,
};

/// Others on one link, each with an address of its own there.
const OTHERS: usize = 16;
/// The device that leads to the node, and the first of those that others have; those of the next link in one namespace.
const LINK: u32 = 2;
const FIRST: u32 = 10;
const NEXT: u32 = 100;
/// The table by which they answer.
const BACK: u32 = 1_000;
/// The rules that say so, behind the one of local addresses.
const BY_SOURCE: u32 = 1_000;
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// Who is on a link: by the address that frames are sent to, those of IP.
type Others = BTreeMap<Mac, BTreeSet<IpAddr>>;

/// Which of several links that lead to the node from one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    fn first(self) -> u32 {
        FIRST + self.0 * NEXT
    }

    fn table(self) -> u32 {
        BACK + self.0
    }

    fn link(self) -> Device {
        Device {
            index: LINK + self.0 * NEXT,
            name: format!("link{}", self.0),
            ..bare(0)
        }
    }
}

/// The other end of a link that leads out.
pub fn end(slot: Slot) -> Device {
    Device {
        kind: Kind::Veth,
        ..slot.link()
    }
}

/// What is told of a namespace, and the addresses that it answers for.
type Filled = (Vec<String>, BTreeSet<IpAddr>);

/// The node's link has a signal from then on.
pub fn switched(netns: &Netns, slot: Slot, mtu: Option<u32>) -> Result<Vec<String>> {
    netns.run(|| {
        let mut space = Space::open(BTreeSet::new())?;
        devices::up(&mut space, &loopback());
        devices::up(
            &mut space,
            &Device {
                mtu: mtu.unwrap_or(0),
                ..slot.link()
            },
        );
        Ok(space.left)
    })
}

/// Answers for who is on that link, and for those behind it.
pub fn fill(
    (netns, slot): (&Netns, Slot),
    stack: &Stack,
    uplink: u32,
    wanted: &Wanted<'_>,
) -> Result<Filled> {
    let above = above(stack, uplink);
    let mut others = neighbours(stack, &above);
    others.retain(|mac, _| comes_by(stack, uplink, *mac));
    let silent = silent(stack, &above);
    let known: BTreeSet<IpAddr> = others.values().flatten().copied().collect();
    let gateways = gateways(stack, &above);
    let unmet = gateways
        .iter()
        .filter(|it| !known.contains(it) && !silent.contains(it));
    others.entry(first(&others)).or_default().extend(unmet);
    let tunnels = stack.fdb.some().into_iter().flatten();
    let tunnels = tunnels.filter_map(|entry| entry.remote);
    let behind = wanted.answers.iter().copied().chain(tunnels);
    let leads = |to: &IpAddr| leads(stack, wanted, *to, &above);
    let behind = behind.filter(|it| !silent.contains(it) && leads(it));
    let people = People {
        behind: behind.collect(),
        back: own(stack, &above),
        node: None,
        others,
        slot,
    };
    people.stand(netns, wanted)
}

/// The other ends of a tunnel, and the pods behind them: a device that is made where the outer packets end.
pub fn behind(
    outer: &Netns,
    inner: &Netns,
    (stack, tunnel): (&Stack, &Tunnel<'_>),
    wanted: &Wanted<'_>,
) -> Result<Filled> {
    let (device, slot) = (tunnel.device, Slot(0));
    let on = BTreeSet::from([device.index]);
    let mut others = neighbours(stack, &on);
    let entries = stack.fdb.some().into_iter().flatten();
    let is_one = |mac: Mac| !mac.is_group() && mac.0 != [0; 6];
    let ends = entries.filter(|entry| entry.device == device.index && is_one(entry.mac));
    for entry in ends {
        others.entry(entry.mac).or_default();
    }
    others.entry(first(&others)).or_default();
    let under = own(stack, &above(stack, tunnel.uplink));
    let ipv6 = tunnel.vxlan.is_ipv6();
    let under = under.into_iter().find(|it| it.is_ipv6() == ipv6);
    let there = inner.file()?;
    let end = Device {
        kind: Kind::Vxlan(Vxlan {
            local: None,
            underlay: None,
            remote: tunnel.vxlan.local.or(under),
            learning: true,
            external: false,
            proxy: false,
            ..tunnel.vxlan.clone()
        }),
        mtu: device.mtu,
        ..slot.link()
    };
    let mut left = outer.run(|| {
        let mut space = Space::open(BTreeSet::new())?;
        let made = devices::add(&mut space, &end, Some(there.as_fd())).map(|_| ());
        space.refused(made, || format!("the other ends of {}", device.name));
        Ok(space.left)
    })?;
    left.extend(switched(inner, slot, None)?);
    let silent = silent(stack, &on);
    let leads = |to: &IpAddr| leads(stack, wanted, *to, &on) && !silent.contains(to);
    let people = People {
        behind: wanted.answers.iter().copied().filter(leads).collect(),
        back: own(stack, &on),
        node: device.mac,
        others,
        slot,
    };
    let (told, has) = people.stand(inner, wanted)?;
    left.extend(told);
    Ok((left, has))
}

/// Who stands in a namespace beyond the node.
struct People {
    others: Others,
    /// Behind the first of them.
    behind: BTreeSet<IpAddr>,
    /// Addresses of the node's that they answer by.
    back: Vec<IpAddr>,
    /// Where the node has them, if nobody is asked for that.
    node: Option<Mac>,
    slot: Slot,
}

impl People {
    fn stand(&self, netns: &Netns, wanted: &Wanted<'_>) -> Result<Filled> {
        let has = self.others.values().flatten().chain(&self.behind);
        let has: BTreeSet<IpAddr> = has.copied().collect();
        let unknown = unknown(&has, wanted);
        let left = netns.run(|| {
            let mut space = Space::open(BTreeSet::from([1]))?;
            for place in ["all", "default"] {
                let file = format!("/proc/sys/net/ipv4/conf/{place}/rp_filter");
                space.refused(std::fs::write(file, "0"), || "sysctl rp_filter");
            }
            self.on_the_link(&mut space);
            self.behind(&mut space);
            for address in &has {
                let back = Action::Table(self.slot.table());
                let rule = Rule {
                    from: Some(alone(*address, 0).own),
                    ..Rule::every(address.is_ipv6(), BY_SOURCE, back)
                };
                rules::ask(&mut space, &rule);
            }
            for address in &unknown {
                let how = (self.slot.table(), RouteKind::Blackhole, Scope::UNIVERSE);
                let mut none = route(*address, how, hop(1, None));
                none.hops.clear();
                routes::ask(&mut space, &none);
            }
            Ok(space.left)
        })?;
        Ok((left, has))
    }

    /// Each of them a device with its own address on the link; the first answers for who is behind it.
    fn on_the_link(&self, space: &mut Space) {
        let first = self.slot.first();
        for ((mac, addresses), index) in self.others.iter().take(OTHERS).zip(first..) {
            let one = Device {
                index,
                name: format!("other{index}"),
                kind: Kind::Macvlan(MacvlanMode::Bridge),
                mac: Some(*mac),
                lower: Some(self.slot.link().index),
                ..bare(0)
            };
            let made = devices::add(space, &one, None).map(|_| ());
            let is_made = made.is_ok();
            space.refused(made, || format!("who is at {mac}"));
            if !is_made {
                continue;
            }
            space.made.insert(index);
            let own = if index == first { "0" } else { "1" };
            let file = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", one.name);
            space.refused(std::fs::write(file, own), || "sysctl arp_ignore");
            devices::up(space, &one);
            for address in addresses {
                addresses::ask(space, &alone(*address, index));
            }
        }
        let more = self.others.len().saturating_sub(OTHERS);
        if more > 0 {
            space.lacks(format!("{more} more that answered on the link"));
        }
    }

    fn behind(&self, space: &mut Space) {
        let has: BTreeSet<IpAddr> = self.others.values().flatten().copied().collect();
        for address in self.behind.difference(&has) {
            let to = RouteKind::Local;
            routes::ask(
                space,
                &route(*address, (LOCAL, to, Scope::HOST), hop(1, None)),
            );
        }
        for ipv6 in [false, true] {
            let Some(back) = self.back.iter().find(|it| it.is_ipv6() == ipv6) else {
                continue;
            };
            if let Some(mac) = self.node {
                let body = super::neighbours::permanent(*back, self.slot.first(), mac);
                let added = space.route.ask(super::neighbours::NEW, CREATE, &body);
                space.refused(added, || format!("neighbour {back}"));
            }
            let any = match ipv6 {
                false => IpAddr::from([0_u8; 4]),
                true => IpAddr::from([0_u8; 16]),
            };
            let main = (self.slot.0 == 0).then_some(MAIN);
            for table in [self.slot.table()].into_iter().chain(main) {
                let how = (table, RouteKind::Unicast, Scope::UNIVERSE);
                let mut by = route(any, how, hop(self.slot.first(), Some(*back)));
                by.to.length = 0;
                routes::ask(space, &by);
            }
        }
    }
}

/// To whom nobody there has a way back: who asked there, and was answered by none of them.
fn unknown(has: &BTreeSet<IpAddr>, wanted: &Wanted<'_>) -> BTreeSet<IpAddr> {
    let of = |pairs: &BTreeSet<(IpAddr, IpAddr)>| -> BTreeSet<IpAddr> {
        let there = pairs.iter().filter(|(_, to)| has.contains(to));
        there.map(|(from, _)| *from).collect()
    };
    of(wanted.unanswered)
        .difference(&of(wanted.answered))
        .copied()
        .collect()
}

/// Who answers for those that are behind them.
fn first(others: &Others) -> Mac {
    let first = others.keys().next().copied();
    first.unwrap_or(Mac([2, 0, 0, 0, 0, 1]))
}

/// Whether others of that address are at one of these devices: where they came by, else where a route leads to them; where
/// that is missing they may be anywhere.
fn leads(stack: &Stack, wanted: &Wanted<'_>, to: IpAddr, on: &BTreeSet<u32>) -> bool {
    let came = wanted.came.get(&to).copied();
    let device = came.or_else(|| out(stack, to));
    device.is_none_or(|device| on.contains(&device))
}

/// By which device the node reaches it, as far as its main table tells.
pub fn out(stack: &Stack, to: IpAddr) -> Option<u32> {
    let routes = stack.routes.some().into_iter().flatten();
    let routes = routes.filter(|it| it.table == MAIN && it.to.contains(to));
    let best = routes.max_by_key(|it| (it.to.length, std::cmp::Reverse(it.priority)))?;
    best.hops.first().map(|hop| hop.device)
}

/// The devices that are on top of it, itself among them.
pub fn above(stack: &Stack, uplink: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::from([uplink]);
    let devices = || stack.devices.some().into_iter().flat_map(BTreeMap::values);
    loop {
        let masters = devices()
            .filter(|it| all.contains(&it.index))
            .filter_map(|it| it.master);
        let more: Vec<u32> = masters.filter(|it| !all.contains(it)).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Who answered there, but for this world's own devices.
fn neighbours(stack: &Stack, on: &BTreeSet<u32>) -> Others {
    let devices = stack.devices.some().into_iter().flat_map(BTreeMap::values);
    let own: BTreeSet<Mac> = devices.filter_map(|device| device.mac).collect();
    let mut others = Others::new();
    for entry in stack.neighbours.some().into_iter().flatten() {
        let Some(mac) = entry
            .mac
            .filter(|mac| !own.contains(mac) && !mac.is_group() && mac.0 != [0; 6])
        else {
            continue;
        };
        let answers = matches!(entry.state, State::Valid | State::Permanent);
        if answers && on.contains(&entry.device) && !entry.address.is_multicast() {
            others.entry(mac).or_default().insert(entry.address);
        }
    }
    others
}

/// Whether a bridge, where the link is a port of one, has seen it there.
fn comes_by(stack: &Stack, uplink: u32, mac: Mac) -> bool {
    let mut entries = stack.fdb.some().into_iter().flatten();
    let other = |entry: &&FdbEntry| entry.mac == mac && entry.master.is_some();
    entries
        .find(other)
        .is_none_or(|entry| entry.device == uplink)
}

/// Whom nobody answers for.
fn silent(stack: &Stack, on: &BTreeSet<u32>) -> BTreeSet<IpAddr> {
    let all = stack.neighbours.some().into_iter().flatten();
    let dead = all.filter(|it| {
        matches!(it.state, State::Failed | State::Incomplete) && on.contains(&it.device)
    });
    dead.map(|it| it.address).collect()
}

fn gateways(stack: &Stack, on: &BTreeSet<u32>) -> BTreeSet<IpAddr> {
    let hops = stack
        .routes
        .some()
        .into_iter()
        .flatten()
        .flat_map(|route| &route.hops);
    hops.filter(|hop| on.contains(&hop.device))
        .filter_map(|hop| hop.gateway)
        .collect()
}

/// By which of its addresses they answer the node: one of each family.
fn own(stack: &Stack, on: &BTreeSet<u32>) -> Vec<IpAddr> {
    let all = stack.addresses.some().into_iter().flatten();
    let mut all: Vec<&Address> = all.filter(|it| on.contains(&it.device)).collect();
    all.sort_by_key(|it| it.scope);
    all.into_iter().map(|it| it.own.address).collect()
}

fn alone(address: IpAddr, device: u32) -> Address {
    Address {
        device,
        own: crate::model::address::Prefix {
            address,
            length: if address.is_ipv6() { 128 } else { 32 },
        },
        peer: None,
        broadcast: None,
        scope: Scope::UNIVERSE,
        flags: crate::model::world::address::Flags::default(),
    }
}

fn hop(device: u32, gateway: Option<IpAddr>) -> Hop {
    Hop {
        device,
        gateway,
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: gateway.is_some(),
        encap: false,
    }
}

fn route(to: IpAddr, (table, kind, scope): (u32, RouteKind, Scope), hop: Hop) -> Route {
    Route {
        kind,
        table,
        to: crate::model::address::Prefix {
            address: to,
            length: if to.is_ipv6() { 128 } else { 32 },
        },
        from: None,
        tos: 0,
        priority: 0,
        scope,
        protocol: 0,
        prefsrc: None,
        metrics: Metrics::default(),
        hops: vec![hop],
        nexthop: None,
        ipv6_preference: Preference::default(),
    }
}

fn loopback() -> Device {
    Device {
        index: 1,
        name: "lo".into(),
        ethernet: false,
        ..bare(0)
    }
}

fn bare(mtu: u32) -> Device {
    Device {
        index: 0,
        name: String::new(),
        kind: Kind::Physical,
        mtu,
        flags: Flags::default(),
        running: true,
        lower_up: true,
        ethernet: true,
        mac: None,
        master: None,
        lower: None,
        lower_netnsid: None,
        group: 0,
        port: None,
        bond_port: None,
        vlans: None,
        conf4: None,
        conf6: None,
    }
}
