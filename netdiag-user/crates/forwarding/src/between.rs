//! What is between nodes whose states were read apart: a link that they share, or routers that nobody read.
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use netdiag_model::world::{
    End, Netns, Stack, World,
    device::{Device, Kind, Mac},
    neighbour::Neighbour,
};

/// Devices by which a node's packets leave it, and those of other nodes that are reached by them.
#[derive(Default)]
pub struct Between {
    /// On one link.
    beside: HashMap<End, Vec<End>>,
    /// The addresses of such devices: whatever routes there, it comes in there.
    addresses: HashMap<IpAddr, End>,
}

/// A device whose other end nobody read.
struct Open<'w> {
    end: End,
    node: usize,
    device: &'w Device,
    stack: &'w Stack,
    /// It, and the bridge or bond that it is a port of: which has the addresses.
    indexes: Vec<u32>,
}

impl Between {
    pub fn new(world: &World) -> Self {
        let nodes = world.nodes.iter().enumerate();
        let open: Vec<Open<'_>> = nodes
            .flat_map(|(node, spaces)| spaces.iter().map(move |netns| (node, *netns)))
            .flat_map(|(node, netns)| opens(world, node, netns))
            .collect();
        let mut between = Self::default();
        for one in &open {
            for address in one.addresses() {
                between.addresses.insert(address, one.end);
            }
            let others = open.iter().filter(|other| other.node != one.node);
            let beside = others.filter(|other| one.sees(other) || other.sees(one));
            let beside: Vec<End> = beside.map(|other| other.end).collect();
            if !beside.is_empty() {
                between.beside.insert(one.end, beside);
            }
        }
        between
    }

    pub fn beside(&self, end: End) -> &[End] {
        self.beside.get(&end).map_or(&[], Vec::as_slice)
    }

    /// Where what is for that address comes in, which leaves another node by `end`.
    pub fn routed(&self, world: &World, end: End, to: IpAddr) -> Option<End> {
        let node = |netns: Netns| world.nodes.iter().position(|node| node.contains(&netns));
        let there = *self.addresses.get(&to)?;
        (node(end.netns) != node(there.netns)).then_some(there)
    }
}

fn opens(world: &World, node: usize, netns: Netns) -> Vec<Open<'_>> {
    let Some(stack) = world.stacks.get(&netns) else {
        return Vec::new();
    };
    let devices = stack
        .devices
        .some()
        .into_iter()
        .flat_map(|all| all.values());
    let read = |end: &End| {
        let peer = world.wires.get(end);
        peer.is_some_and(|peer| world.stacks.contains_key(&peer.netns))
    };
    let all = devices.filter_map(|device| {
        let end = End {
            netns,
            index: device.index,
        };
        let leads_out = match device.kind {
            Kind::Physical => true,
            Kind::Veth => !read(&end),
            _ => false,
        };
        let indexes = std::iter::once(device.index).chain(device.master).collect();
        (leads_out && device.ethernet && device.flags.up).then_some(Open {
            end,
            node,
            device,
            stack,
            indexes,
        })
    });
    all.collect()
}

impl Open<'_> {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.stack.addresses.some().into_iter().flatten();
        let own = all.filter(|address| self.indexes.contains(&address.device));
        own.map(|address| address.own.address)
            .filter(|address| match address {
                IpAddr::V4(v4) => !v4.is_link_local(),
                IpAddr::V6(v6) => !v6.is_unicast_link_local(),
            })
    }

    fn macs(&self) -> HashSet<Mac> {
        let devices = self
            .indexes
            .iter()
            .filter_map(|index| self.stack.device(*index));
        devices
            .filter_map(|device| device.mac)
            .chain(self.device.mac)
            .collect()
    }

    /// Whether it has met the other, or is in its network.
    fn sees(&self, other: &Open<'_>) -> bool {
        let all = self.stack.addresses.some().into_iter().flatten();
        let mut own = all.filter(|address| self.indexes.contains(&address.device));
        let theirs: Vec<IpAddr> = other.addresses().collect();
        let in_network = own.any(|address| {
            let network = address.network();
            theirs.iter().any(|other| network.contains(*other))
        });
        let macs = other.macs();
        let met = |entry: &&Neighbour| {
            self.indexes.contains(&entry.device)
                && entry.mac.is_some_and(|mac| macs.contains(&mac))
                && theirs.contains(&entry.address)
        };
        let mut entries = self.stack.neighbours.some().into_iter().flatten();
        in_network || entries.any(|entry| met(&entry))
    }
}
