//! Addresses of devices (RTM_NEWADDR).
use std::{io::ErrorKind, net::IpAddr};

use super::{
    netlink::{self, CREATE, EXCLUSIVE},
    space::{Place, Space},
};
use crate::model::world::address::{Address, Flags};

const NEW: u16 = 20;
/// IFA_…
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
const FLAGS: u16 = 8;
/// IFA_F_NODAD, IFA_F_PERMANENT
const NO_DAD: u32 = 0x02;

pub fn add(place: &Place<'_>, space: &mut Space) {
    for address in place.stack.addresses.some().into_iter().flatten() {
        if !space.made.contains(&address.device) || is_there(address) {
            continue;
        }
        ask(space, address);
    }
}

/// The kernel may have made a link's own already.
pub fn ask(space: &mut Space, address: &Address) {
    let added = space.route.ask(NEW, CREATE | EXCLUSIVE, &message(address));
    let own = address.own;
    match added {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        added => space.refused(added, || format!("address {own}")),
    }
}

/// The kernel's own (`inet_netdev_event`, `init_loopback`).
fn is_there(address: &Address) -> bool {
    let own = address.own;
    let loopback = match own.address {
        IpAddr::V4(v4) => v4.octets() == [127, 0, 0, 1] && own.length == 8,
        IpAddr::V6(v6) => v6.is_loopback(),
    };
    loopback && address.device == 1
}

/// Routes to its network are recorded themselves.
fn message(address: &Address) -> Vec<u8> {
    let own = address.own.address;
    let ipv6 = own.is_ipv6();
    let kept = address.flags.0 & Flags::DEPRECATED;
    let flags = Flags::NO_PREFIX_ROUTE | kept | if ipv6 { NO_DAD } else { 0 };
    let mut message = vec![
        netlink::family(ipv6),
        address.own.length,
        0,
        address.scope.0,
    ];
    message.extend(address.device.to_ne_bytes());
    message.extend(netlink::address(LOCAL, own));
    message.extend(netlink::address(ADDRESS, address.peer.unwrap_or(own)));
    let broadcast = address.broadcast.filter(|_| !ipv6);
    message.extend(broadcast.map_or_else(Vec::new, |it| netlink::address(BROADCAST, it)));
    message.extend(netlink::number(FLAGS, flags));
    message
}
