//! Bonds (drivers/net/bonding/bond_main.c): several links as one. Which of its ports a frame leaves by is the
//! mode's choice; what comes in by one is the bond's, unless the port is not used.
use netdiag_model::world::device::{Bond, BondMode, Device, Kind};

use super::{Going, Next, Walker};
use crate::{
    packet::{Frame, Packet, To},
    prepared::Space,
    route::decision::No,
    way::{Does, How, Share, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// Out of one (`__bond_start_xmit`).
    pub(super) fn by_ports(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bond, own): (&'w Device, &Bond),
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let ports = ports(space, bond, own)?;
        let sends = |device| Next::Sends {
            space,
            device,
            frame,
            packet,
        };
        if let [(port, _)] = ports.as_slice() {
            return Ok(sends(port));
        }
        if ports.is_empty() {
            let no = no(How::NoUsablePort, bond);
            return self.refuse(walk, space, no, packet);
        }
        if own.mode == BondMode::Broadcast {
            let at = (space, Station::Link, bond);
            let all = ports.into_iter().map(|(port, _)| sends(port)).collect();
            return self.all_of(walk, at, packet, all, |_, next| Ok(next));
        }
        let mut branches = Vec::new();
        for (port, share) in ports {
            let mut branch = walk.branch();
            let gone = self.goes_on(&mut branch, Ok(sends(port)));
            self.ends_alone(walk, &mut branch, gone)?;
            branches.push((share, branch));
        }
        let step = Step {
            netns: space.netns,
            station: Station::Link,
            by: Some(Subject::Device(bond)),
            does: Does::Chooses(branches),
            packet,
        };
        self.ends(walk, step)
    }

    /// In by a port (`bond_handle_frame`): the frame stays what it was for the port.
    pub(super) fn bonded(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bond, port): (&'w Device, &'w Device),
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Going<'w> {
        let own = port.bond_port;
        let own = own.ok_or_else(|| Unknown::NotModelled("a port that is not read".into()))?;
        let all = match &bond.kind {
            Kind::Bond(bond) => modelled(bond)?.all_active,
            _ => return Err(Unknown::NotModelled("a port of no bond".into())),
        };
        if own.backup && !all {
            return self.refuse(walk, space, no(How::BackupPort, port), packet);
        }
        self.arrives(walk, space, bond, (frame, to), packet)
    }
}

fn no<'w>(how: How, by: &'w Device) -> No<'w> {
    No::by_device(Station::Link, how, by)
}

/// Some change the addresses of what they send (`bond_alb_xmit`), or who asks for them.
fn modelled(bond: &Bond) -> Result<&Bond, Unknown> {
    match bond.mode {
        BondMode::BalanceTlb | BondMode::BalanceAlb => {
            let mode = format!("a bond of mode {:?}", bond.mode);
            Err(Unknown::NotModelled(mode))
        }
        _ => Ok(bond),
    }
}

/// By which it sends, and how often each.
fn ports<'w>(
    space: &'w Space<'w>,
    bond: &Device,
    own: &Bond,
) -> Result<Vec<(&'w Device, Share)>, Unknown> {
    let all: Vec<&Device> = space.stack.slaves(bond.index).collect();
    let alike = |ports: Vec<&'w Device>| {
        let share = Share::of(ports.len());
        ports.into_iter().map(|port| (port, share)).collect()
    };
    Ok(match modelled(own)?.mode {
        // Whatever becomes of it, until the bond takes another one.
        BondMode::ActiveBackup => match own.active {
            Some(index) => alike(vec![space.device(index)?]),
            None => Vec::new(),
        },
        BondMode::BalanceRr => in_turns(&all),
        BondMode::Broadcast => alike(all.into_iter().filter(|port| has_link(port)).collect()),
        BondMode::Ieee8023ad => {
            let together = |port: &&Device| {
                let aggregator = port.bond_port.and_then(|port| port.aggregator);
                own.aggregator.is_some() && aggregator == own.aggregator
            };
            let together = all.into_iter().filter(together);
            alike(together.filter(|port| is_usable(port)).collect())
        }
        _ => alike(all.into_iter().filter(|port| is_usable(port)).collect()),
    })
}

/// Each port's turn is its own, or that of the next one that can send (`bond_get_slave_by_id`).
fn in_turns<'w>(all: &[&'w Device]) -> Vec<(&'w Device, Share)> {
    let mut turns = vec![0; all.len()];
    for first in 0..all.len() {
        let mut next = (first..all.len()).chain(0..first);
        if let Some(at) = next.find(|at| is_usable(all[*at])) {
            turns[at] += 1;
        }
    }
    let shares = all.iter().zip(turns).filter(|(_, turns)| *turns > 0);
    shares
        .map(|(port, turns)| (*port, Share(Share::of(all.len()).0 * turns)))
        .collect()
}

/// `bond_slave_can_tx`
fn is_usable(port: &Device) -> bool {
    has_link(port) && port.bond_port.is_some_and(|port| !port.backup)
}

/// As the device says, and as the bond last saw it (`bond_slave_is_up`, `slave->link`).
fn has_link(port: &Device) -> bool {
    port.flags.up && port.lower_up && port.bond_port.is_some_and(|port| port.link_up)
}
