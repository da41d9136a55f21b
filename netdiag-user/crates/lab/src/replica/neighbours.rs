//! Neighbours, what is answered for others, and forwarding tables of frames (RTM_NEWNEIGH).
use std::net::IpAddr;

use super::{
    netlink::{self, APPEND, CREATE, address, bytes, number},
    space::{Place, Space},
};
use crate::model::world::{
    device::{Kind, Mac},
    neighbour::{FdbEntry, State},
};

pub const NEW: u16 = 28;
/// NDA_…
const TO: u16 = 1;
const LINK_ADDRESS: u16 = 2;
const VLAN: u16 = 5;
const PORT: u16 = 6;
const VNI: u16 = 7;
const LINK: u16 = 8;
/// NUD_…
const REACHABLE: u16 = 0x02;
const NO_ARP: u16 = 0x40;
const PERMANENT: u16 = 0x80;
/// NTF_…
const SELF: u8 = 0x02;
const MASTER: u8 = 0x04;
const PROXY: u8 = 0x08;
const STICKY: u8 = 0x40;
const AF_BRIDGE: u8 = 7;

pub fn add(place: &Place<'_>, space: &mut Space) {
    for entry in place.stack.neighbours.some().into_iter().flatten() {
        // Nobody answers for the others here either.
        let state = match entry.state {
            State::Valid => REACHABLE,
            State::Permanent => PERMANENT,
            State::NoArp | State::Incomplete | State::Failed => continue,
        };
        if entry.address.is_multicast() || !space.made.contains(&entry.device) {
            continue;
        }
        let family = netlink::family(entry.address.is_ipv6());
        let mut body = header(family, entry.device, state, 0);
        body.extend(address(TO, entry.address));
        body.extend(
            entry
                .mac
                .map_or_else(Vec::new, |mac| bytes(LINK_ADDRESS, &mac.0)),
        );
        let added = space.route.ask(NEW, CREATE, &body);
        space.refused(added, || format!("neighbour {}", entry.address));
    }
    for entry in place.stack.proxied.some().into_iter().flatten() {
        let family = netlink::family(entry.address.is_ipv6());
        let mut body = header(family, entry.device.unwrap_or(0), PERMANENT, PROXY);
        body.extend(address(TO, entry.address));
        let added = space.route.ask(NEW, CREATE, &body);
        space.refused(added, || format!("what answers for {}", entry.address));
    }
    for entry in place.stack.fdb.some().into_iter().flatten() {
        if is_wanted(place, entry) && space.made.contains(&entry.device) {
            let flags = CREATE | if entry.mac.0 == [0; 6] { APPEND } else { 0 };
            let added = space.route.ask(NEW, flags, &frames(entry));
            space.refused(added, || format!("forwarding entry of {}", entry.mac));
        }
    }
}

/// A device's own addresses and groups are in its table by themselves.
fn is_wanted(place: &Place<'_>, entry: &FdbEntry) -> bool {
    let device = place.stack.device(entry.device);
    let vxlan = device.is_some_and(|device| matches!(device.kind, Kind::Vxlan(_)));
    match entry.master {
        None => vxlan && entry.remote.is_some(),
        Some(_) => !entry.local && !entry.mac.is_group(),
    }
}

fn frames(entry: &FdbEntry) -> Vec<u8> {
    let state = match (entry.master, entry.is_static) {
        (None, true) => PERMANENT,
        (Some(_), true) => NO_ARP,
        (_, false) => REACHABLE,
    };
    let own = if entry.master.is_some() { MASTER } else { SELF };
    let flags = own | if entry.sticky { STICKY } else { 0 };
    let mut body = header(AF_BRIDGE, entry.device, state, flags);
    body.extend(bytes(LINK_ADDRESS, &entry.mac.0));
    let mut has = |attribute: Option<Vec<u8>>| body.extend(attribute.unwrap_or_default());
    has(entry.remote.map(|it| address(TO, it)));
    has(entry.remote_port.map(|it| bytes(PORT, &it.to_be_bytes())));
    has(entry.remote_vni.map(|it| number(VNI, it)));
    has(entry.remote_link.map(|it| number(LINK, it)));
    has(entry.vlan.map(|it| bytes(VLAN, &it.to_ne_bytes())));
    body
}

/// One that nobody has to ask for.
pub fn permanent(to: IpAddr, device: u32, mac: Mac) -> Vec<u8> {
    let mut body = header(netlink::family(to.is_ipv6()), device, PERMANENT, 0);
    body.extend(address(TO, to));
    body.extend(bytes(LINK_ADDRESS, &mac.0));
    body
}

/// `ndmsg`
fn header(family: u8, device: u32, state: u16, flags: u8) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    body.extend(device.to_ne_bytes());
    body.extend(state.to_ne_bytes());
    body.extend([flags, 0]);
    body
}
