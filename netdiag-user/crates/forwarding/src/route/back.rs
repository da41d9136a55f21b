//! Whether rules find the way back to a source (net/ipv4/netfilter/ipt_rpfilter.c, nft_fib_ipv4.c, net/ipv6/netfilter/
//! ip6t_rpfilter.c, nft_fib_ipv6.c), and what kind of address IPv6's routes say that one is.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::world::{
    conf::Release,
    device::Device,
    route::{Kind, Route},
};

use super::rules::{Found, Key, LOOPBACK, Looked};
use crate::{
    packet::Packet,
    prepared::Space,
    way::{How, Unknown},
};

/// Where the way to a source leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    Nowhere,
    /// It is this namespace's own; by these devices, of IPv4.
    Here(Vec<u32>),
    /// By these devices, whether they are alive or not.
    By(Vec<u32>),
}

/// `RTN_…` (include/uapi/linux/rtnetlink.h).
mod kinds {
    pub const UNICAST: u32 = 1;
    pub const LOCAL: u32 = 2;
    pub const ANYCAST: u32 = 4;
    pub const MULTICAST: u32 = 5;
    pub const BLACKHOLE: u32 = 6;
    pub const UNREACHABLE: u32 = 7;
    pub const PROHIBIT: u32 = 8;
}

/// From then on nft_fib asks IPv6's routes another way.
const SUPPRESSES_LESS: Release = Release(6, 19);

impl<'w> Space<'w> {
    /// Of what came in by a device, with its mark or without.
    pub fn way_back(
        &self,
        packet: &Packet,
        device: &Device,
        with_mark: bool,
    ) -> Result<Back, Unknown> {
        let key = Key {
            mark: if with_mark { packet.mark } else { 0 },
            ..key(packet.source, packet.destination)
        };
        match packet.source {
            IpAddr::V4(source) => self.way_back4(key, source),
            IpAddr::V6(source) => {
                let own = source.is_unicast_link_local();
                self.way_back6(Key {
                    oif: if own { device.index } else { 0 },
                    tos: packet.routed_tos(),
                    protocol: packet.protocol,
                    ..key
                })
            }
        }
    }

    fn way_back4(&self, key: Key, source: Ipv4Addr) -> Result<Back, Unknown> {
        if source.octets()[0] == 0 || self.looks_for_class(false)? || self.looks_for_ports(false)? {
            let what = "the way back to such a source by rules";
            return Err(Unknown::NotModelled(what.into()));
        }
        let nobody = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
            IpAddr::V6(_) => false,
        };
        let source = match nobody(key.source) {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => key.source,
        };
        let found = self.lookup(&Key {
            source,
            ignore_linkstate: true,
            ..key
        })?;
        Ok(match found {
            Looked::Found(Found { route, .. }) => {
                let devices = route.hops.iter().map(|hop| hop.device).collect();
                match route.kind {
                    Kind::Unicast => Back::By(devices),
                    Kind::Local => Back::Here(devices),
                    _ => Back::Nowhere,
                }
            }
            _ => Back::Nowhere,
        })
    }

    /// It is asked for in a way of its own there (`ip6_route_lookup`), which is as others where there is one choice alone.
    fn way_back6(&self, key: Key) -> Result<Back, Unknown> {
        self.asks_as_others6()?;
        let Looked::Found(found) = self.lookup(&key)? else {
            return Ok(Back::Nowhere);
        };
        let place = |route: &Route| (route.to, route.table);
        let like = |other: &&Route| place(other) == place(found.route);
        let all = self.stack.routes.some().into_iter().flatten();
        let several = all.filter(like).count() > 1 || found.route.hops.len() > 1;
        if several || self.has_given_up_some() || key.destination == Ipv6Addr::UNSPECIFIED {
            let what = "the way back to such a source by rules";
            return Err(Unknown::NotModelled(what.into()));
        }
        let first = found.hops.first();
        let loopback = match first {
            Some(hop) => self.device(hop.device)?.flags.loopback,
            None => true,
        };
        Ok(match found.route.kind {
            Kind::Local => Back::Here(Vec::new()),
            Kind::Unicast if !loopback => Back::By(first.iter().map(|hop| hop.device).collect()),
            _ => Back::Nowhere,
        })
    }

    /// Later kernels look without what rules suppress (`fib6_lookup`).
    fn asks_as_others6(&self) -> Result<(), Unknown> {
        match self.settings()?.release >= SUPPRESSES_LESS && self.suppresses_some6()? {
            true => {
                let what = "what rules find of IPv6's routes where other rules suppress some";
                Err(Unknown::NotModelled(what.into()))
            }
            false => Ok(()),
        }
    }

    /// Of one of a packet's addresses (`__nft_fib6_eval_type`), `RTN_…`.
    pub fn kind6(&self, packet: &Packet, of_source: bool) -> Result<u32, Unknown> {
        self.asks_as_others6()?;
        let (address, other) = match of_source {
            true => (packet.source, packet.destination),
            false => (packet.destination, packet.source),
        };
        let looked = self.lookup(&Key {
            tos: packet.routed_tos(),
            protocol: packet.protocol,
            ..key(address, other)
        })?;
        let found = match looked {
            Looked::Found(found) => found,
            Looked::Refused(How::Blackhole, _) => return Ok(kinds::BLACKHOLE),
            Looked::Refused(How::Prohibited, _) => return Ok(kinds::PROHIBIT),
            Looked::Refused(..) | Looked::None => return Ok(kinds::UNREACHABLE),
        };
        let first = found.hops.first();
        let nowhere = match first {
            Some(hop) => self.device(hop.device)?.flags.loopback,
            None => true,
        };
        // The address of a network of its own stands for any router there (`ipv6_anycast_destination`).
        let to = found.route.to;
        let network = to.length < 127
            && to.address == address
            && first.is_some_and(|hop| hop.gateway.is_none());
        let many = matches!(address, IpAddr::V6(v6) if v6.is_multicast());
        Ok(match found.route.kind {
            Kind::Unicast if nowhere => kinds::UNREACHABLE,
            Kind::Anycast => kinds::ANYCAST,
            _ if network => kinds::ANYCAST,
            Kind::Local => kinds::LOCAL,
            _ if many => kinds::MULTICAST,
            _ if address.is_unspecified() => 0,
            _ => kinds::UNICAST,
        })
    }
}

fn key(destination: IpAddr, source: IpAddr) -> Key {
    Key {
        destination,
        source,
        tos: 0,
        mark: 0,
        iif: LOOPBACK,
        oif: 0,
        uid: 0,
        protocol: 0,
        sport: 0,
        dport: 0,
        ignore_linkstate: false,
        loose: false,
        failing: None,
    }
}
