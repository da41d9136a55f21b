//! What rtnetlink(7) tells of links, addresses, routes, policy rules, neighbours and sysctls of the network.
use std::collections::HashMap;

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage as Message,
        link::LinkMessage,
        neighbour::{NeighbourMessage, NeighbourState},
        route::RouteMessage,
        rule::RuleMessage,
    },
};

use crate::{
    gather::netlink::{HEADER, attribute, attributes, u16_at, u32_at},
    links,
    model::{
        address::Prefix,
        journal::{Change, How, Thing},
        node::{LOCAL, Link, Node},
    },
    routes, rules,
};

use super::traffic_control;

/// NLM_F_REPLACE, of what was there before.
const REPLACE: u16 = 0x100;
/// RTM_NEWLINK, RTM_NEWNETCONF, `struct ifinfomsg`, and IFLA_PROTINFO.
const NEWLINK: u16 = 16;
const NEWNETCONF: u16 = 80;
const IFINFO: usize = 16;
const PROTINFO: u16 = 12;
/// Links that are remembered; of more, whatever happens to them is not told.
const LINKS: usize = 16_384;

/// What is known of a link, to see what changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Before {
    name: String,
    up: bool,
    carrier: bool,
    mtu: u32,
    master: Option<u32>,
    /// What a bridge keeps of it, as attributes of one byte.
    port: Vec<(u16, u8)>,
}

#[derive(Default)]
pub struct Routing {
    links: HashMap<u32, Before>,
    addresses: HashMap<(u32, Prefix), ()>,
    seeded: bool,
}

type Note<'a> = &'a mut dyn FnMut(Change);

impl Routing {
    pub fn seed(&mut self, node: &Node) {
        if std::mem::replace(&mut self.seeded, true) {
            return;
        }
        for link in node.links.iter().take(LINKS) {
            self.links.entry(link.index).or_insert_with(|| before(link));
            for address in &link.addresses {
                self.addresses.insert((link.index, address.prefix), ());
            }
        }
    }

    pub fn read(&mut self, datagram: &[u8], now: u64, note: Note<'_>) {
        let mut rest = datagram;
        while let Some(length) = u32_at(rest, 0) {
            let Some(message) = rest.get(..length as usize).filter(|m| m.len() >= HEADER) else {
                return;
            };
            let mut changed = |of, how| {
                note(Change {
                    at: now,
                    of,
                    how,
                    by: None,
                    translates: None,
                })
            };
            match u16_at(message, 4) {
                Some(NEWNETCONF) => self.setting(message, &mut changed),
                Some(NEWLINK) if message.get(HEADER) == Some(&(libc::AF_BRIDGE as u8)) => {
                    self.port(message, &mut changed);
                }
                Some(kind) if traffic_control::is_of(kind) => {
                    traffic_control::read(kind, message, |index| self.name(index), &mut changed);
                }
                _ => self.parsed(message, &mut changed),
            }
            let step = (length as usize).next_multiple_of(4);
            rest = rest.get(step..).unwrap_or_default();
        }
    }

    fn parsed(&mut self, bytes: &[u8], changed: &mut dyn FnMut(Thing, How)) {
        // One that is not understood is not told.
        let Ok(message) = NetlinkMessage::<Message>::deserialize(bytes) else {
            return;
        };
        let appeared = match message.header.flags & REPLACE {
            0 => How::Appeared,
            _ => How::Replaced,
        };
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            return;
        };
        match message {
            Message::NewLink(link) => self.link(&link, changed),
            Message::DelLink(link) if link.header.interface_family == AddressFamily::Unspec => {
                if let Some(gone) = self.links.remove(&link.header.index) {
                    let index = link.header.index;
                    self.addresses.retain(|(of, _), ()| *of != index);
                    changed(Thing::Link { name: gone.name }, How::Vanished);
                }
            }
            Message::NewAddress(message) => self.address(&message, true, changed),
            Message::DelAddress(message) => self.address(&message, false, changed),
            Message::NewRoute(message) => route(&message, appeared, changed),
            Message::DelRoute(message) => route(&message, How::Vanished, changed),
            Message::NewRule(message) => policy(&message, How::Appeared, changed),
            Message::DelRule(message) => policy(&message, How::Vanished, changed),
            Message::NewNeighbour(message) => {
                let set = [NeighbourState::Permanent, NeighbourState::Noarp];
                if set.contains(&message.header.state) {
                    self.neighbour(&message, appeared, changed);
                }
            }
            Message::DelNeighbour(message) => self.neighbour(&message, How::Vanished, changed),
            _ => {}
        }
    }

    fn link(&mut self, message: &LinkMessage, changed: &mut dyn FnMut(Thing, How)) {
        let Some(link) = links::noted(message) else {
            return;
        };
        let (index, now) = (link.index, before(&link));
        let room = self.links.len() < LINKS;
        let Some(last) = self.links.get_mut(&index) else {
            if room {
                self.links.insert(index, now);
                // What was there before anybody listened is no news.
                if self.seeded {
                    changed(Thing::Link { name: link.name }, How::Appeared);
                }
            }
            return;
        };
        let how = match (&*last, &now) {
            (last, now) if last.name != now.name => Some(How::Replaced),
            (last, now) if last.master != now.master => Some(How::Master),
            (last, now) if last.up != now.up => Some(if now.up { How::Up } else { How::Down }),
            (last, now) if last.mtu != now.mtu => Some(How::Mtu {
                before: last.mtu,
                now: now.mtu,
            }),
            (last, now) if last.carrier != now.carrier => Some(match now.carrier {
                true => How::Carrier,
                false => How::NoCarrier,
            }),
            _ => None,
        };
        let port = std::mem::take(&mut last.port);
        *last = Before { port, ..now };
        if let Some(how) = how {
            changed(Thing::Link { name: link.name }, how);
        }
    }

    /// What a bridge says of a port of it.
    fn port(&mut self, message: &[u8], changed: &mut dyn FnMut(Thing, How)) {
        let index = u32_at(message, HEADER + 4);
        let body = message.get(HEADER + IFINFO..).unwrap_or_default();
        let (Some(index), Some(kept)) = (index, attribute(body, PROTINFO)) else {
            return;
        };
        let flags = attributes(kept).filter_map(|(kind, value)| match value {
            [flag] => Some((kind, *flag)),
            _ => None,
        });
        let flags: Vec<(u16, u8)> = flags.take(64).collect();
        let Some(link) = self.links.get_mut(&index) else {
            return;
        };
        if link.port != flags {
            link.port = flags;
            let name = link.name.clone();
            changed(Thing::Port { name }, How::Replaced);
        }
    }

    fn address(
        &mut self,
        message: &rtnetlink::packet_route::address::AddressMessage,
        there: bool,
        changed: &mut dyn FnMut(Thing, How),
    ) {
        let index = message.header.index;
        let Some(address) = links::address(message) else {
            return;
        };
        let key = (index, address.prefix);
        let (how, news) = match there {
            // A router's announcements tell of the same one again and again.
            true if self.addresses.len() < 4 * LINKS => {
                (How::Appeared, self.addresses.insert(key, ()).is_none())
            }
            true => (How::Appeared, false),
            false => {
                self.addresses.remove(&key);
                (How::Vanished, true)
            }
        };
        if news && self.seeded {
            let (prefix, link) = (address.prefix, self.name(index));
            changed(Thing::Address { prefix, link }, how);
        }
    }

    fn neighbour(&self, message: &NeighbourMessage, how: How, changed: &mut dyn FnMut(Thing, How)) {
        let link = self.name(message.header.ifindex);
        let (address, lladdr) = routes::parts(message);
        let of = match (message.header.family, address, lladdr) {
            (AddressFamily::Bridge, _, Some(lladdr)) => Thing::Forwarding { lladdr, link },
            (AddressFamily::Bridge, ..) => return,
            (_, Some(address), _) if !address.is_multicast() => Thing::Neighbour { address, link },
            _ => return,
        };
        changed(of, how);
    }

    /// Of devices that are new the kernel tells all settings at once.
    fn setting(&self, message: &[u8], changed: &mut dyn FnMut(Thing, How)) {
        let ipv6 = message.get(HEADER) == Some(&(libc::AF_INET6 as u8));
        let body = message.get(HEADER + 4..).unwrap_or_default();
        let number = |value: &[u8]| value.try_into().map(i32::from_ne_bytes).ok();
        let mut of = None;
        let mut told = Vec::new();
        for (kind, value) in attributes(body) {
            // NETCONFA_… (include/uapi/linux/netconf.h)
            let name = match kind {
                1 => {
                    of = number(value);
                    continue;
                }
                2 => "forwarding",
                3 => "rp_filter",
                5 if ipv6 => "proxy_ndp",
                5 => "proxy_arp",
                _ => continue,
            };
            told.push((name, number(value)));
        }
        let ([(name, Some(now))], Some(of)) = (told.as_slice(), of) else {
            return;
        };
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let device = match u32::try_from(of) {
            Ok(index) => self.name(index).replace('.', "/"),
            // NETCONFA_IFINDEX_ALL; what new devices get concerns nobody yet.
            Err(_) if of == -1 => "all".to_owned(),
            Err(_) => return,
        };
        let sysctl = match (ipv6, *name, &*device) {
            (false, "forwarding", "all") => "net.ipv4.ip_forward".to_owned(),
            (_, name, device) => format!("net.{family}.conf.{device}.{name}"),
        };
        changed(Thing::Setting { sysctl }, How::Set { now: *now });
    }

    fn name(&self, index: u32) -> String {
        let known = self.links.get(&index);
        known.map_or_else(|| format!("ifindex {index}"), |link| link.name.clone())
    }
}

fn before(link: &Link) -> Before {
    Before {
        name: link.name.clone(),
        up: link.up,
        carrier: link.carrier,
        mtu: link.mtu,
        master: link.master,
        port: Vec::new(),
    }
}

/// Those that come and go with addresses are told with these.
fn route(message: &RouteMessage, how: How, changed: &mut dyn FnMut(Thing, How)) {
    let Some(route) = routes::route(message).into_iter().next() else {
        return;
    };
    let to = route.destination;
    if route.table != LOCAL && !to.address.is_multicast() {
        let table = route.table;
        changed(Thing::Route { to, table }, how);
    }
}

fn policy(message: &RuleMessage, how: How, changed: &mut dyn FnMut(Thing, How)) {
    let ipv6 = message.header.family == AddressFamily::Inet6;
    let priority = rules::rule(message, ipv6).priority;
    changed(Thing::Policy { ipv6, priority }, how);
}

#[cfg(test)]
mod tests;
