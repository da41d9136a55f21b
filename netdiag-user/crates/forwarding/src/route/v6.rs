//! IPv6's routing decisions (net/ipv6/route.c, ip6_input.c, ip6_output.c): for what comes in, and for
//! what is sent.
use std::net::{IpAddr, Ipv6Addr};

use netdiag_model::world::{
    address::{Address, Flags, Scope},
    device::Device,
    route::{Kind, Route},
};

use super::{
    decision::{Decision, No, Way, no},
    rules::{Found, Key, LOOPBACK, Looked, is_of_a_link},
};
use crate::{
    packet::{Packet, Sender},
    prepared::Space,
    way::{How, Station, Subject, Unknown},
};

/// What socket's packets carry that did not choose a source, and where they go.
type Sent<'w> = (Decision<'w>, IpAddr);

impl<'w> Space<'w> {
    /// What comes in at a device, where it may (`ip6_route_input`, `ip6_forward`).
    pub fn route_in6(&self, packet: &Packet, device: &'w Device) -> Result<Decision<'w>, Unknown> {
        let IpAddr::V6(source) = packet.source else {
            return Err(Unknown::NotModelled("two families in one packet".into()));
        };
        let found = match self.lookup(&key_in(packet, device))? {
            Looked::Found(found) => found,
            Looked::Refused(how, by) => return Ok(no(Station::Route, how, Some(by))),
            Looked::None => return Ok(no(Station::Route, How::NoRoute, None)),
        };
        match found.route.kind {
            Kind::Local | Kind::Anycast | Kind::Multicast => Ok(Decision::Local(Some(found.route))),
            Kind::Unicast => self.onward6(packet, source, device, &found),
            other => Err(Unknown::NotModelled(format!("{other:?} routes of IPv6"))),
        }
    }

    /// What is looked at before any route, even where one was chosen before (`ip6_rcv_core`).
    pub fn may_not_come6(
        &self,
        packet: &Packet,
        device: &'w Device,
    ) -> Result<Option<No<'w>>, Unknown> {
        let no = |station, how| {
            let by = Some(Subject::Device(device));
            Some(No { station, how, by })
        };
        let runs = self.conf6(device)?.is_some_and(|conf| !conf.disabled());
        if !runs {
            return Ok(no(Station::Route, How::NoIp));
        }
        let (source, destination) = (packet.source, packet.destination);
        Ok(if !device.flags.loopback && source.is_loopback() {
            no(Station::ReversePath, How::MartianSource)
        } else if !device.flags.loopback && destination.is_loopback() {
            no(Station::ReversePath, How::MartianDestination)
        } else if source.is_multicast() {
            no(Station::ReversePath, How::MartianSource)
        } else {
            None
        })
    }

    fn onward6(
        &self,
        packet: &Packet,
        source: Ipv6Addr,
        device: &'w Device,
        found: &Found<'w>,
    ) -> Result<Decision<'w>, Unknown> {
        if let Some(no) = self.leads_nowhere(found)? {
            return Ok(Decision::No(No {
                how: How::NoRoute,
                ..no
            }));
        }
        if !self.conf6(device)?.is_some_and(|conf| conf.forwarding()) {
            let by = Subject::Setting("ipv6.conf.all.forwarding", None);
            return Ok(no(Station::Forward, How::NotForwarding, Some(by)));
        }
        let hops = self.ways6(found)?;
        // What goes back by where it came from is redirected, whatever its source.
        let elsewhere = hops.iter().any(|way| way.device.index != device.index);
        let cannot_leave = source.is_unspecified() || source.is_unicast_link_local();
        if packet.ttl > 1 && elsewhere && cannot_leave {
            return Ok(no(Station::Forward, How::MartianSource, None));
        }
        let route = Some(found.route);
        Ok(Decision::Onward { route, hops })
    }

    /// Whatever is routed to loopback and is not local is thrown away there (`ip6_route_info_create`,
    /// RTF_REJECT): its sender hears of it only where it came from elsewhere.
    fn leads_nowhere(&self, found: &Found<'w>) -> Result<Option<No<'w>>, Unknown> {
        let first = found
            .hops
            .first()
            .filter(|_| found.route.kind == Kind::Unicast);
        let Some(first) = first else {
            return Ok(None);
        };
        let loopback = self.device(first.device)?.flags.loopback;
        Ok(loopback.then_some(No {
            station: Station::Route,
            how: How::NoIp,
            by: Some(Subject::Route(found.route)),
        }))
    }

    fn ways6(&self, found: &Found<'w>) -> Result<Vec<Way<'w>>, Unknown> {
        if found.route.from.is_some() {
            return Err(Unknown::NotModelled("a route by source".into()));
        }
        let way = |hop: &&'w netdiag_model::world::route::Hop| {
            if hop.encap {
                return Err(Unknown::NotModelled("a route that wraps".into()));
            }
            Ok(Way {
                device: self.device(hop.device)?,
                gateway: hop.gateway,
                hop: Some(hop),
                source: None,
                martian: false,
            })
        };
        found.hops.iter().map(way).collect()
    }

    /// What a socket sends (`ip6_dst_lookup_tail`): where to, and with which source.
    pub fn route_out6(&self, packet: &Packet, sender: &Sender) -> Result<Sent<'w>, Unknown> {
        let source = packet.source;
        if !source.is_unspecified() {
            let usable = sender.any_source || self.has_usable(source, sender.device)?;
            return Ok(match usable {
                true => (
                    self.found6(packet, self.lookup(&key_out(packet, sender))?, false)?,
                    source,
                ),
                false => (no(Station::Route, How::ForeignSource, None), source),
            });
        }
        let looked = self.lookup(&key_out(packet, sender))?;
        if let Looked::Found(found) = &looked {
            // What leads nowhere has a source all the same, and an error goes back to it.
            let mut source = source;
            if self.leads_nowhere(found)?.is_some()
                && let Some(hop) = found.hops.first()
            {
                let device = self.device(hop.device)?;
                let chosen = self.source_by6(found.route, device, packet.destination)?;
                source = chosen.unwrap_or(source);
            }
            return Ok((self.found6(packet, looked, true)?, source));
        }
        // A refusal without a source is no refusal yet: rules may be for the source that is chosen.
        let Some(chosen) = self.select_source6(None, packet.destination)? else {
            return Ok((no(Station::Route, How::NoSource, None), source));
        };
        let mut asked = *packet;
        asked.source = chosen;
        let looked = self.lookup(&key_out(&asked, sender))?;
        Ok((self.found6(&asked, looked, false)?, chosen))
    }

    /// With which source an error goes back: the address that was asked for where it is this namespace's own,
    /// the route's, or one of the device that its cause came in by (`icmp6_send`).
    pub fn error_source6(
        &self,
        error: &Packet,
        asked: IpAddr,
        (input, at): (Option<&'w Device>, Option<u32>),
        failing: Option<(u32, IpAddr)>,
    ) -> Result<IpAddr, Unknown> {
        // One of narrow scope counts on its own device alone.
        const NONE: u32 = 0;
        if self.has_usable(asked, at.or(Some(NONE)))? {
            return Ok(asked);
        }
        let Some(input) = input else {
            return Ok(error.source);
        };
        let sender = Sender {
            netns: self.netns,
            device: None,
            uid: 0,
            any_source: true,
            failing,
        };
        let own = match self.lookup(&key_out(error, &sender))? {
            Looked::Found(found) => found.route.prefsrc,
            _ => None,
        };
        match own {
            Some(_) => Ok(error.source),
            None => {
                let chosen = self.select_source6(Some(input), error.destination)?;
                Ok(chosen.unwrap_or(error.source))
            }
        }
    }

    /// Whether the limits on errors let one go: they look for its route with no source chosen yet, and where that
    /// finds none it is not sent (`icmpv6_xrlim_allow`).
    pub fn limits_route6(&self, error: &Packet, sender: &Sender) -> Result<bool, Unknown> {
        Ok(match self.lookup(&key_out(error, sender))? {
            Looked::Found(found) => self.leads_nowhere(&found)?.is_none(),
            _ => false,
        })
    }

    /// An address of its own that is not still asked for; one of narrow scope is its own device's alone
    /// (`ipv6_chk_addr_and_flags`).
    fn has_usable(&self, address: IpAddr, bound: Option<u32>) -> Result<bool, Unknown> {
        let usable = |a: &Address| {
            let wide = a.scope < Scope::LINK || bound.is_none_or(|device| device == a.device);
            a.own.address == address && wide && is_assigned(a.flags)
        };
        Ok(self.addresses()?.iter().any(usable))
    }

    /// What rules learn of an address by its route (`match_lookup_rt6`): `XT_ADDRTYPE_LOCAL`, `_ANYCAST`, `_UNREACHABLE`.
    pub fn kinds6(&self, address: IpAddr) -> Result<u16, Unknown> {
        const LOCAL: u16 = 1 << 2;
        const ANYCAST: u16 = 1 << 4;
        const UNREACHABLE: u16 = 1 << 7;
        let asked = Packet::new(Ipv6Addr::UNSPECIFIED.into(), address);
        let key = Key {
            iif: LOOPBACK,
            sport: 0,
            dport: 0,
            protocol: 0,
            ..key(&asked)
        };
        let Looked::Found(found) = self.lookup(&key)? else {
            return Ok(UNREACHABLE);
        };
        Ok(match found.route.kind {
            Kind::Local => LOCAL,
            Kind::Anycast => ANYCAST,
            _ if self.leads_nowhere(&found)?.is_some() => UNREACHABLE,
            _ => 0,
        })
    }

    fn found6(
        &self,
        packet: &Packet,
        looked: Looked<'w>,
        choose: bool,
    ) -> Result<Decision<'w>, Unknown> {
        let found = match looked {
            Looked::Found(found) => found,
            Looked::Refused(how, by) => return Ok(no(Station::Route, how, Some(by))),
            Looked::None => return Ok(no(Station::Route, How::NoRoute, None)),
        };
        if let Some(nowhere) = self.leads_nowhere(&found)? {
            // A socket's own look at sizes comes before (`__ip6_append_data`).
            let mtu = match (found.route.metrics.mtu, found.hops.first()) {
                (None, Some(hop)) => {
                    let loopback = self.conf6(self.device(hop.device)?)?;
                    loopback.map(|conf| conf.device.mtu)
                }
                (mtu, _) => mtu,
            };
            let mtu = mtu.filter(|_| packet.df);
            let by = Some(Subject::Route(found.route));
            return Ok(match mtu.filter(|mtu| packet.largest() > *mtu) {
                Some(mtu) => no(Station::Size, How::TooBig(mtu), by),
                None => Decision::No(nowhere),
            });
        }
        let mut hops = self.ways6(&found)?;
        if choose {
            for way in &mut hops {
                way.source = self.source_by6(found.route, way.device, packet.destination)?;
                if way.source.is_none() {
                    return Ok(no(Station::Route, How::NoSource, None));
                }
            }
        }
        match found.route.kind {
            Kind::Local | Kind::Anycast => Ok(Decision::Looped {
                route: found.route,
                source: hops.first().and_then(|way| way.source),
            }),
            Kind::Unicast => Ok(Decision::Onward {
                route: Some(found.route),
                hops,
            }),
            other => Err(Unknown::NotModelled(format!("{other:?} routes of IPv6"))),
        }
    }

    fn source_by6(
        &self,
        route: &Route,
        device: &'w Device,
        to: IpAddr,
    ) -> Result<Option<IpAddr>, Unknown> {
        match route.prefsrc {
            Some(source) => Ok(Some(source)),
            None => self.select_source6(Some(device), to),
        }
    }
}

/// An address that may be spoken with.
pub fn is_assigned(flags: Flags) -> bool {
    !flags.has(Flags::TENTATIVE) || flags.has(Flags::OPTIMISTIC)
}

fn key_in(packet: &Packet, device: &Device) -> Key {
    Key {
        iif: device.index,
        oif: 0,
        uid: 0,
        ..key(packet)
    }
}

fn key_out(packet: &Packet, sender: &Sender) -> Key {
    Key {
        iif: LOOPBACK,
        oif: sender.device.unwrap_or(0),
        uid: sender.uid,
        // Nothing is bound to a device there (`ip6_route_output_flags`).
        loose: sender.any_source
            && packet.bound.is_none()
            && sender.device.is_some()
            && !packet.source.is_unspecified()
            && !is_of_a_link(packet.destination),
        failing: sender.failing,
        ..key(packet)
    }
}

fn key(packet: &Packet) -> Key {
    Key {
        destination: packet.destination,
        source: packet.source,
        tos: packet.routed_tos(),
        mark: packet.mark,
        iif: 0,
        oif: 0,
        uid: 0,
        protocol: packet.protocol,
        sport: packet.sport,
        dport: packet.dport,
        ignore_linkstate: false,
        loose: false,
        failing: None,
    }
}
