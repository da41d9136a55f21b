//! Addresses (RTM_GETADDR).
use std::net::IpAddr;

use anyhow::Result;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use crate::{
    listing::{self, Listed, Message},
    model::{
        address::Prefix,
        world::address::{Address, Flags, Scope},
    },
};

pub fn addresses(most: usize) -> Result<Listed<Address>> {
    let take = |message, all: &mut Vec<Address>| {
        if let Message::NewAddress(message) = message {
            all.extend(address(&message));
        }
    };
    let ask = Message::GetAddress(AddressMessage::default());
    listing::list_each([ask], most, "addresses", take)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut local, mut named, mut broadcast) = (None, None, None);
    let mut flags = u32::from(header.flags.bits());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => named = Some(*address),
            AddressAttribute::Broadcast(address) => broadcast = Some(IpAddr::V4(*address)),
            // All of them, of which the header has room for eight.
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    // On a point-to-point link ADDRESS is the peer's; IPv6 has no LOCAL otherwise.
    let own = local.or(named)?;
    Some(Address {
        device: header.index,
        own: Prefix {
            address: own,
            length: header.prefix_len,
        },
        peer: named.filter(|address| *address != own),
        broadcast,
        scope: Scope(header.scope.into()),
        flags: Flags(flags),
    })
}
