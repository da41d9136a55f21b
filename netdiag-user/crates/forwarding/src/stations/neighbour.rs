//! Neighbours: which link-layer address the next hop has (net/core/neighbour.c).
use std::net::IpAddr;

use netdiag_model::world::{
    device::{Device, Mac},
    neighbour::{Neighbour, State},
};

use super::{Ended, Walker};
use crate::{
    packet::Packet,
    prepared::Space,
    route::v4::{No, Way},
    way::{How, Station, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    pub(super) fn to_neighbour(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        way: &Way<'w>,
        packet: Packet,
    ) -> Ended {
        let next = way.gateway.unwrap_or(packet.destination);
        let to_many = match next {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        if to_many {
            return Err(Unknown::NotModelled("packets for many".into()));
        }
        let device = way.device;
        if device.flags.no_arp || !device.ethernet {
            return self.sends(walk, space, device, device.mac, packet);
        }
        let entry = neighbour(space, device, next)?;
        let known = entry.filter(|entry| matches!(entry.state, State::Valid | State::Permanent));
        let found = match known.and_then(|entry| entry.mac) {
            Some(mac) => Some(mac),
            None if known.is_some() => None,
            None => self.asked(space, device, next, packet.source)?,
        };
        match found {
            Some(mac) => self.sends(walk, space, device, Some(mac), packet),
            None => {
                let no = No {
                    station: Station::Neighbour,
                    how: How::NoNeighbour(next),
                    by: entry
                        .map(Subject::Neighbour)
                        .or(Some(Subject::Device(device))),
                };
                self.refuse(walk, space, no, packet)
            }
        }
    }

    fn asked(
        &self,
        space: &'w Space<'w>,
        device: &'w Device,
        target: IpAddr,
        source: IpAddr,
    ) -> Result<Option<Mac>, Unknown> {
        match target {
            IpAddr::V4(target) => self.asks_arp(space, device, target, source),
            IpAddr::V6(target) => self.asks_nd(space, device, target, source),
        }
    }
}

fn neighbour<'w>(
    space: &Space<'w>,
    device: &Device,
    address: IpAddr,
) -> Result<Option<&'w Neighbour>, Unknown> {
    let all = space.stack.neighbours.whole();
    let all = all.map_err(|why| Unknown::NotRead("neighbours", why.clone()))?;
    Ok(all
        .iter()
        .find(|n| n.device == device.index && n.address == address))
}
