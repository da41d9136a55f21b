//! A World made ready to be walked: its routes by their prefixes, its addresses by themselves.
use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use netdiag_model::world::{
    End, Netns, Stack, World,
    address::Address,
    conf::{Of4, Of6, Settings},
    device::Device,
};

use crate::{route::table::Fib, way::Unknown};

pub struct Prepared<'w> {
    pub world: &'w World,
    spaces: BTreeMap<Netns, Space<'w>>,
}

/// One namespace of it.
pub struct Space<'w> {
    pub netns: Netns,
    pub stack: &'w Stack,
    pub fib: Fib<'w>,
    own: HashSet<IpAddr>,
}

impl<'w> Prepared<'w> {
    pub fn new(world: &'w World) -> Self {
        let space = |(netns, stack): (&Netns, &'w Stack)| (*netns, Space::new(*netns, stack));
        Self {
            world,
            spaces: world.stacks.iter().map(space).collect(),
        }
    }

    pub fn space(&self, netns: Netns) -> Result<&Space<'w>, Unknown> {
        let gone = || Unknown::NotModelled(format!("namespace {netns}"));
        self.spaces.get(&netns).ok_or_else(gone)
    }

    /// Where what leaves by this device comes in.
    pub fn peer(&self, end: End) -> Option<End> {
        self.world.wires.get(&end).copied()
    }
}

impl<'w> Space<'w> {
    fn new(netns: Netns, stack: &'w Stack) -> Self {
        let addresses = stack.addresses.some().into_iter().flatten();
        Self {
            netns,
            stack,
            fib: Fib::new(stack),
            own: addresses.map(|address| address.own.address).collect(),
        }
    }

    pub fn device(&self, index: u32) -> Result<&'w Device, Unknown> {
        let devices = self.stack.devices.whole();
        let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
        let gone = || Unknown::NotModelled(format!("device {index}"));
        devices.get(&index).ok_or_else(gone)
    }

    pub fn end(&self, device: &Device) -> End {
        End {
            netns: self.netns,
            index: device.index,
        }
    }

    pub fn settings(&self) -> Result<&'w Settings, Unknown> {
        let settings = self.stack.settings.whole();
        settings.map_err(|why| Unknown::NotRead("sysctls", why.clone()))
    }

    /// Nothing where IPv4 does not run on it.
    pub fn conf4(&self, device: &'w Device) -> Result<Option<Of4<'w>>, Unknown> {
        let all = &self.settings()?.all4;
        Ok(device.conf4.as_ref().map(|device| Of4 { device, all }))
    }

    pub fn conf6(&self, device: &'w Device) -> Result<Option<Of6<'w>>, Unknown> {
        let all = &self.settings()?.all6;
        Ok(device.conf6.as_ref().map(|device| Of6 { device, all }))
    }

    pub fn addresses(&self) -> Result<&'w [Address], Unknown> {
        let addresses = self.stack.addresses.whole();
        let addresses = addresses.map_err(|why| Unknown::NotRead("addresses", why.clone()))?;
        Ok(addresses)
    }

    /// An address of one of its devices.
    pub fn has(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }
}

/// Devices by their names, for rules.
pub fn index_of(stack: &Stack, name: &str) -> Option<u32> {
    stack.device_by_name(name).map(|device| device.index)
}
