//! In which order devices are made: each behind what it stands on.
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
};

use anyhow::Result;

use super::{
    Left, UPLINKS, Wanted,
    beyond::{self, Slot},
    devices,
    space::{Place, Space},
};
use crate::{
    model::world::{
        End, Netns as Inode, World,
        device::{Device, Kind, Vxlan},
    },
    netns::Netns,
};

pub struct Made<'a> {
    world: &'a World,
    node: Inode,
    places: &'a BTreeMap<Inode, Place<'a>>,
    beyond: &'a BTreeMap<u32, (Netns, Slot)>,
    pub made: BTreeMap<Inode, BTreeSet<u32>>,
}

/// What becomes of one for now.
enum Turn {
    Done,
    /// What it stands on is not there yet.
    Waits,
}

impl<'a> Made<'a> {
    pub fn new(
        wanted: &Wanted<'a>,
        places: &'a BTreeMap<Inode, Place<'a>>,
        beyond: &'a BTreeMap<u32, (Netns, Slot)>,
    ) -> Self {
        let made = places
            .keys()
            .map(|inode| (*inode, BTreeSet::from([1])))
            .collect();
        Self {
            world: wanted.world,
            node: wanted.node,
            places,
            beyond,
            made,
        }
    }

    pub fn all(&mut self, left: &mut Left) -> Result<()> {
        let mut waiting: Vec<(Inode, &Device)> = Vec::new();
        for (inode, place) in self.places {
            let all = place
                .stack
                .devices
                .some()
                .into_iter()
                .flat_map(BTreeMap::values);
            let all = all.filter(|device| device.kind != Kind::Loopback);
            waiting.extend(all.map(|device| (*inode, device)));
        }
        loop {
            let before = waiting.len();
            let mut still = Vec::new();
            for (inode, device) in waiting {
                if self.has(End {
                    netns: inode,
                    index: device.index,
                }) {
                    continue;
                }
                match self.one(left, inode, device)? {
                    Turn::Done => {}
                    Turn::Waits => still.push((inode, device)),
                }
            }
            waiting = still;
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        for (inode, device) in waiting {
            if let Some(place) = self.places.get(&inode) {
                let told = format!("{}, as what it stands on is not here", device.name);
                left.add(&place.netns, vec![told]);
            }
        }
        Ok(())
    }

    fn has(&self, end: End) -> bool {
        self.made
            .get(&end.netns)
            .is_some_and(|made| made.contains(&end.index))
    }

    fn one(&mut self, left: &mut Left, inode: Inode, device: &Device) -> Result<Turn> {
        let own = End {
            netns: inode,
            index: device.index,
        };
        let wire = self.world.wires.get(&own).copied();
        let elsewhere = wire.filter(|end| self.places.contains_key(&end.netns));
        let Some(place) = self.places.get(&inode) else {
            return Ok(Turn::Waits);
        };
        match &device.kind {
            Kind::Veth | Kind::Netkit | Kind::Physical => {
                let other = elsewhere.and_then(|end| Some((end, self.world.device(end)?)));
                match (
                    other,
                    self.beyond
                        .get(&device.index)
                        .filter(|_| inode == self.node),
                ) {
                    (Some((end, other)), _) => {
                        let there = self.places.get(&end.netns).map(|place| place.netns.file());
                        let there = there.transpose()?;
                        let mut done = false;
                        left.run(place, BTreeSet::new(), |_, space| {
                            let Some(there) = &there else { return };
                            let made = devices::pair(space, device, other, there.as_fd());
                            done = made.is_ok();
                            space.refused(made, || {
                                format!("the pair {} and {}", device.name, other.name)
                            });
                        })?;
                        self.note(own, done);
                        self.note(end, done);
                    }
                    (None, Some((netns, slot))) => {
                        let there = netns.file()?;
                        let mut done = false;
                        left.run(place, BTreeSet::new(), |_, space| {
                            let made =
                                devices::pair(space, device, &beyond::end(*slot), there.as_fd());
                            done = made.is_ok();
                            space.refused(made, || device.name.clone());
                        })?;
                        self.note(own, done);
                    }
                    (None, None) => self.sink(left, place, device)?,
                }
                Ok(Turn::Done)
            }
            Kind::Vlan(_) | Kind::Macvlan(_) | Kind::Ipvlan(_) => {
                let below = elsewhere.or(device.lower.map(|index| End {
                    netns: inode,
                    index,
                }));
                let Some(below) = below.filter(|end| self.has(*end)) else {
                    return Ok(Turn::Waits);
                };
                let Some(from) = self.places.get(&below.netns) else {
                    return Ok(Turn::Waits);
                };
                let there = place.netns.file()?;
                let on = Device {
                    lower: Some(below.index),
                    ..device.clone()
                };
                let mut done = false;
                left.run(from, BTreeSet::new(), |_, space| {
                    let into = (below.netns != inode).then(|| there.as_fd());
                    done = add(space, &on, into);
                })?;
                self.note(own, done);
                Ok(Turn::Done)
            }
            kind => {
                let below = match kind {
                    Kind::Vxlan(vxlan) => vxlan.underlay,
                    Kind::IpTunnel(tunnel) => tunnel.underlay,
                    _ => None,
                };
                if below.is_some_and(|index| {
                    !self.has(End {
                        netns: inode,
                        index,
                    })
                }) {
                    return Ok(Turn::Waits);
                }
                let mut done = false;
                left.run(place, BTreeSet::new(), |_, space| {
                    done = add(space, device, None)
                })?;
                self.note(own, done);
                Ok(Turn::Done)
            }
        }
    }

    /// Something that takes what is sent there, as nobody knows who is beyond it.
    fn sink(&mut self, left: &mut Left, place: &Place<'_>, device: &Device) -> Result<()> {
        let sink = Device {
            kind: Kind::Dummy,
            ..device.clone()
        };
        let mut done = false;
        left.run(place, BTreeSet::new(), |_, space| {
            done = add(space, &sink, None);
            space.lacks(format!("who is at the other end of {}", device.name));
        })?;
        let inode = self.places.iter().find(|(_, it)| std::ptr::eq(*it, place));
        if let Some((inode, _)) = inode {
            self.note(
                End {
                    netns: *inode,
                    index: device.index,
                },
                done,
            );
        }
        Ok(())
    }

    fn note(&mut self, end: End, done: bool) {
        if done {
            self.made.entry(end.netns).or_default().insert(end.index);
        }
    }
}

/// Whether it is there now.
fn add(space: &mut Space, device: &Device, into: Option<std::os::fd::BorrowedFd<'_>>) -> bool {
    match devices::add(space, device, into) {
        Ok(devices::Made::Itself) => true,
        Ok(devices::Made::Sink) => {
            let name = &device.name;
            space.lacks(format!("{name} is a sink: its kind cannot be made here"));
            true
        }
        Err(error) => {
            space.lacks(format!("{}: {error}", device.name));
            false
        }
    }
}

/// The links of the node by which others are reached that are not of this world.
pub fn uplinks(world: &World, node: Inode) -> Vec<u32> {
    let devices = world
        .stacks
        .get(&node)
        .and_then(|stack| stack.devices.some());
    let all = devices.into_iter().flat_map(BTreeMap::values);
    let out = all.filter(|device| {
        let end = End {
            netns: node,
            index: device.index,
        };
        let peer = world
            .wires
            .get(&end)
            .filter(|peer| world.device(**peer).is_some());
        let leads = matches!(device.kind, Kind::Physical | Kind::Veth | Kind::Netkit);
        leads && peer.is_none() && device.flags.up && device.ethernet
    });
    // Those of hardware, by which the world is, before pods that nobody read.
    let mut out: Vec<&Device> = out.collect();
    out.sort_by_key(|device| device.kind != Kind::Physical);
    let out = out.into_iter().map(|device| device.index);
    out.take(UPLINKS).collect()
}

/// A tunnel of the node's, and the link by which its outer packets leave.
pub struct Tunnel<'w> {
    pub device: &'w Device,
    pub vxlan: &'w Vxlan,
    pub uplink: u32,
}

/// Those whose other ends can be stood up.
pub fn tunnels<'w>(world: &'w World, node: Inode, uplinks: &[u32]) -> Vec<Tunnel<'w>> {
    let Some(stack) = world.stacks.get(&node) else {
        return Vec::new();
    };
    let all = stack.devices.some().into_iter().flat_map(BTreeMap::values);
    let tunnels = all.filter_map(|device| match &device.kind {
        Kind::Vxlan(vxlan) if !vxlan.external && device.flags.up => {
            let ends = stack.fdb.some().into_iter().flatten();
            let mut ends = ends
                .filter(|it| it.device == device.index)
                .filter_map(|it| it.remote);
            let leads = vxlan
                .remote
                .or_else(|| ends.next())
                .and_then(|to| beyond::out(stack, to));
            let under = vxlan.underlay.or(leads)?;
            let mut all = uplinks.iter();
            let uplink = *all.find(|uplink| beyond::above(stack, **uplink).contains(&under))?;
            Some(Tunnel {
                device,
                vxlan,
                uplink,
            })
        }
        _ => None,
    });
    tunnels.take(UPLINKS).collect()
}
