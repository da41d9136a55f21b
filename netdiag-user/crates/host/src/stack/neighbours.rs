//! Neighbours, what is answered for others, and forwarding tables (RTM_GETNEIGH).
use std::net::IpAddr;

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::devices::mac;
use crate::{
    listing::{self, Listed, Message},
    model::world::neighbour::{FdbEntry, Neighbour, Proxied, State},
};

pub fn neighbours(most: usize) -> Result<Listed<Neighbour>> {
    let ask = NeighbourMessage::default();
    list(ask, most, "neighbours", |message| {
        let parts = Parts::of(message);
        Some(Neighbour {
            device: message.header.ifindex,
            address: parts.address?,
            mac: parts.mac.as_deref().and_then(mac),
            state: state(message.header.state)?,
        })
    })
}

pub fn proxied(most: usize) -> Result<Listed<Proxied>> {
    let mut ask = NeighbourMessage::default();
    ask.header.flags = NeighbourFlags::Proxy;
    list(ask, most, "proxied neighbours", |message| {
        let is_proxy = message.header.flags.contains(NeighbourFlags::Proxy);
        Some(Proxied {
            device: Some(message.header.ifindex).filter(|index| *index != 0),
            address: Parts::of(message).address.filter(|_| is_proxy)?,
        })
    })
}

pub fn fdb(most: usize) -> Result<Listed<FdbEntry>> {
    let mut ask = NeighbourMessage::default();
    ask.header.family = AddressFamily::Bridge;
    list(ask, most, "forwarding entries", |message| {
        let parts = Parts::of(message);
        let state = message.header.state;
        Some(FdbEntry {
            device: message.header.ifindex,
            master: parts.master,
            mac: parts.mac.as_deref().and_then(mac)?,
            vlan: parts.vlan,
            remote: parts.address.filter(|address| !address.is_unspecified()),
            remote_port: parts.port,
            remote_vni: parts.vni,
            remote_link: parts.link,
            local: has(state, NeighbourState::Permanent) && parts.master.is_some(),
            is_static: match parts.master {
                Some(_) => has(state, NeighbourState::Noarp),
                None => has(state, NeighbourState::Noarp) || has(state, NeighbourState::Permanent),
            },
            sticky: message.header.flags.contains(NeighbourFlags::Sticky),
        })
    })
}

fn list<T>(
    ask: NeighbourMessage,
    most: usize,
    what: &'static str,
    of: impl Fn(&NeighbourMessage) -> Option<T>,
) -> Result<Listed<T>> {
    let take = |message, all: &mut Vec<T>| {
        if let Message::NewNeighbour(message) = message {
            all.extend(of(&message));
        }
    };
    listing::list_each([Message::GetNeighbour(ask)], most, what, take)
}

/// A tunnel's entries have several states at once.
fn has(state: NeighbourState, one: NeighbourState) -> bool {
    u16::from(state) & u16::from(one) != 0
}

/// One that nobody asked for and that holds nothing (`NUD_NONE`) is as good as none.
fn state(state: NeighbourState) -> Option<State> {
    use NeighbourState::{Delay, Failed, Incomplete, Noarp, Permanent, Probe, Reachable, Stale};
    Some(match state {
        Incomplete => State::Incomplete,
        Reachable | Stale | Delay | Probe => State::Valid,
        Failed => State::Failed,
        Noarp => State::NoArp,
        Permanent => State::Permanent,
        _ => return None,
    })
}

#[derive(Default)]
struct Parts {
    address: Option<IpAddr>,
    mac: Option<Vec<u8>>,
    master: Option<u32>,
    vlan: Option<u16>,
    port: Option<u16>,
    vni: Option<u32>,
    link: Option<u32>,
}

impl Parts {
    fn of(message: &NeighbourMessage) -> Self {
        let mut parts = Self::default();
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(address) => parts.address = plain(address),
                NeighbourAttribute::LinkLayerAddress(bytes) => parts.mac = Some(bytes.clone()),
                NeighbourAttribute::Controller(master) => parts.master = Some(*master),
                NeighbourAttribute::Vlan(vlan) => parts.vlan = Some(*vlan),
                NeighbourAttribute::Port(port) => parts.port = Some(*port),
                NeighbourAttribute::Vni(vni) => parts.vni = Some(*vni),
                NeighbourAttribute::IfIndex(link) => parts.link = Some(*link),
                _ => {}
            }
        }
        parts
    }
}

/// Under AF_BRIDGE the address has no family of its own: its length tells.
fn plain(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(v4) => Some((*v4).into()),
        NeighbourAddress::Inet6(v6) => Some((*v6).into()),
        NeighbourAddress::Other(bytes) => {
            let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
            let six = || <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from);
            four.or_else(|_| six()).ok()
        }
        _ => None,
    }
}
