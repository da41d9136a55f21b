//! Frames that come to hosts alone that they are not for, and that throw them away: who addressed them so, or led them
//! there.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::way::{Does, How, Step, Walk};

use super::{
    agreement::{Feature, on},
    conversation::{Conversation, Ways, ends, may_be_marked, ways},
    facts::Facts,
};
use crate::model::{
    address::to_wire,
    flow::UDP,
    world::{
        End, Known, Netns, Stack, World,
        device::{Device, Mac},
        neighbour::{FdbEntry, Neighbour, State},
    },
};

/// By what they came to the wrong host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Misled<'w> {
    /// An entry that somebody made for good, of this namespace: whoever has its address has another link-layer address.
    Entry(Netns, &'w Neighbour),
    /// Their address is right, and a bridge's table, here, has it behind another port.
    Port(Netns, &'w FdbEntry),
    /// Nobody's entry leads there, and the bridge's port behind which whoever has that address is takes nothing that is flooded.
    Unflooded(Netns, &'w Device, Mac),
}

/// A port that whoever is asked throws away what comes to (RFC 863).
const DISCARD: u16 = 9;

/// A frame as it was sent: where, and to whom.
type Sent = (End, Mac);

impl Facts<'_> {
    /// What misleads the packets of a flow, where all of them are, as computed, and none was seen elsewhere than there.
    pub fn misled(&self, flow: &FlowKey) -> Option<Misled<'_>> {
        let prepared = self.prepared();
        let Ways {
            request,
            all,
            lacks,
        } = ways(self, prepared, (Conversation::of(self, flow), 0))?;
        let seen = self.journeys().get(flow);
        let ways: Vec<&Walk<'_>> = all.iter().collect();
        let elsewhere = seen.is_some_and(|journey| on(self, journey, &ways).is_err());
        if lacks || elsewhere || may_be_marked(prepared.world, &request) {
            return None;
        }
        let ended: Vec<&Step<'_>> = all.iter().flat_map(ends).collect();
        if !self.is_nobodys(&ended) {
            return None;
        }
        let mut sent = Vec::new();
        all.iter().for_each(|way| trails(way, &[], &mut sent));
        let first = sent.first()?;
        let addressed = first_of_its_address(first)?;
        let same = |trail: &Vec<Sent>| first_of_its_address(trail) == Some(addressed);
        if !sent.iter().all(same) {
            return None;
        }
        let by_entry = by_entry(prepared.world, addressed);
        let unflooded = || unflooded(prepared.world, addressed.1);
        by_entry.or_else(unflooded).or_else(|| {
            let led = sent.iter().filter_map(|trail| trail.last());
            let mut led = led.map(|last| by_port(prepared.world, *last));
            let one = led.next().flatten()?;
            led.all(|other| other == Some(one)).then_some(one)
        })
    }

    /// What misleads the answers of whoever has an address to who asks for it on its link. ARP's go to the link-layer
    /// address that the question has (RFC 826), neighbour discovery's by what is known of who asked (RFC 4861, 7.2.4).
    pub fn answers_misled(&self, address: IpAddr, asker: IpAddr) -> Option<Misled<'_>> {
        let answer = FlowKey {
            source: to_wire(address),
            destination: to_wire(asker),
            source_port: DISCARD,
            destination_port: DISCARD,
            protocol: UDP,
            family: if asker.is_ipv6() { 6 } else { 4 },
            ..FlowKey::EMPTY
        };
        self.misled(&answer).filter(|by| match by {
            Misled::Entry(..) => asker.is_ipv6(),
            Misled::Port(..) | Misled::Unflooded(..) => true,
        })
    }

    /// Whether a bridge's entry has an address behind a port where nobody has it, though somebody else does.
    pub fn is_misplaced(&self, netns: Netns, entry: &FdbEntry) -> bool {
        let world = self.prepared().world;
        let index = entry.device;
        let behind = world.wires.get(&End { netns, index }).map(|end| end.netns);
        let has = |stack: &Stack| {
            let devices = stack.devices.some();
            let mut devices = devices.into_iter().flat_map(|all| all.values());
            devices.any(|device| device.mac == Some(entry.mac))
        };
        let mut owners = world
            .stacks
            .iter()
            .filter(|(_, stack)| has(stack))
            .peekable();
        owners.peek().is_some() && owners.all(|(netns, _)| Some(*netns) != behind)
    }

    /// Somebody throws it away as another's, and nobody is known to take it: of what is flooded, whoever was not read did
    /// not answer either.
    fn is_nobodys(&self, ended: &[&Step<'_>]) -> bool {
        let world = self.prepared().world;
        let doubted = |step: &Step<'_>| self.distrusted.contains(&Feature::of(world, step));
        let others = |step: &Step<'_>| step.does == Does::Refuses(How::OtherHost) && !doubted(step);
        let unread = |step: &Step<'_>| matches!(step.does, Does::Leaves { .. });
        ended.iter().any(|step| others(step))
            && ended.iter().all(|step| others(step) || unread(step))
    }
}

/// What was sent on the way to each of its ends.
fn trails(walk: &Walk<'_>, before: &[Sent], all: &mut Vec<Vec<Sent>>) {
    let mut trail = before.to_vec();
    for step in &walk.steps {
        match &step.does {
            Does::Sends {
                device,
                to: Some(mac),
            } => {
                let (netns, index) = (step.netns, *device);
                trail.push((End { netns, index }, *mac));
            }
            Does::Chooses(branches) => {
                branches
                    .iter()
                    .for_each(|(_, branch)| trails(branch, &trail, all));
            }
            Does::Copies(copies) => copies.iter().for_each(|copy| trails(copy, &trail, all)),
            Does::Refuses(_) | Does::Delivers | Does::Leaves { .. } | Does::Unknown(_) => {
                all.push(trail.clone());
            }
            _ => {}
        }
    }
}

/// Who gave the frame the address that it had last.
fn first_of_its_address(trail: &[Sent]) -> Option<Sent> {
    let (_, mac) = trail.last()?;
    let same = trail.iter().rev().take_while(|(_, to)| to == mac);
    same.last().copied()
}

/// The entry that named it, where that is wrong.
fn by_entry(world: &World, (end, mac): Sent) -> Option<Misled<'_>> {
    let entries = world.stacks.get(&end.netns)?.neighbours.some()?.iter();
    let names = |entry: &&Neighbour| {
        let fixed = matches!(entry.state, State::Permanent);
        fixed && entry.device == end.index && entry.mac == Some(mac)
    };
    let mut entries = entries.filter(names);
    let entry = entries.next()?;
    let alone = entries.next().is_none();
    let right = world.stacks.values().any(|stack| {
        let devices = stack.devices.some();
        let mut devices = devices.into_iter().flat_map(|all| all.values());
        let addresses = stack.addresses.some();
        let mut addresses = addresses.into_iter().flatten();
        devices.any(|device| device.mac == Some(mac))
            && addresses.any(|own| own.own.address == entry.address)
    });
    (alone && !right).then_some(Misled::Entry(end.netns, entry))
}

/// The port of whoever has that address, where the bridge's table does not know him.
fn unflooded(world: &World, mac: Mac) -> Option<Misled<'_>> {
    let owners = world.stacks.iter().filter_map(|(netns, stack)| {
        let mut devices = stack.devices.some()?.values();
        let own = devices.find(|device| device.mac == Some(mac))?;
        world.wires.get(&End {
            netns: *netns,
            index: own.index,
        })
    });
    owners.into_iter().find_map(|port| {
        let stack = world.stacks.get(&port.netns)?;
        let device = stack.device(port.index)?;
        let takes_none = device.port.is_some_and(|port| !port.unicast_flood);
        let known = stack.fdb.some()?.iter().any(|entry| entry.mac == mac);
        (takes_none && !known).then_some(Misled::Unflooded(port.netns, device, mac))
    })
}

/// The entry of the bridge that sent it out there last, where somebody made it.
fn by_port(world: &World, (end, mac): Sent) -> Option<Misled<'_>> {
    let table = match &world.stacks.get(&end.netns)?.fdb {
        Known::Is(table) => table,
        _ => return None,
    };
    let leads = |entry: &&FdbEntry| {
        let bridges = entry.master.is_some() && !entry.local;
        bridges && entry.device == end.index && entry.mac == mac
    };
    let entry = table.iter().find(leads)?;
    let fixed = entry.is_static || entry.sticky;
    fixed.then_some(Misled::Port(end.netns, entry))
}
