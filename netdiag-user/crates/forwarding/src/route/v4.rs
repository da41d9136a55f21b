//! IPv4's routing decisions (net/ipv4/route.c): for what comes in, and for what is sent.
use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::{
    node::LOCAL,
    world::{
        address::{Address, Flags, Scope},
        device::Device,
        route::{Hop, Kind, Route},
    },
};

use super::{
    decision::{Decision, No, Way, no},
    rules::{Found, Key, LOOPBACK, Looked},
    table::SHARED,
};
use crate::{
    packet::{Packet, Sender},
    prepared::Space,
    way::{How, Station, Subject, Unknown},
};

impl<'w> Space<'w> {
    /// What comes in at a device (`ip_route_input_slow`).
    pub fn route_in(&self, packet: &Packet, device: &'w Device) -> Result<Decision<'w>, Unknown> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination)
        else {
            return Err(Unknown::NotModelled("IPv6".into()));
        };
        let Some(conf) = self.conf4(device)? else {
            return Ok(no(Station::Route, How::NoIp, Some(Subject::Device(device))));
        };
        if let Some(how) = martian(source, destination, conf.route_localnet()) {
            let loopback = source.is_loopback() || destination.is_loopback();
            let setting = Subject::Setting("ipv4.conf.DEVICE.route_localnet", Some(device));
            return Ok(no(Station::ReversePath, how, loopback.then_some(setting)));
        }
        if destination.is_broadcast() {
            return self.taken(packet, device, None);
        }
        let found = match self.lookup(&key_in(packet, device))? {
            Looked::Found(found) => found,
            Looked::Refused(how, by) => return Ok(no(Station::Route, how, Some(by))),
            Looked::None => return Ok(no(Station::Route, How::NoRoute, None)),
        };
        match found.route.kind {
            Kind::Local => self.taken(packet, device, Some(found.route)),
            Kind::Broadcast if !conf.bc_forwarding() => {
                self.taken(packet, device, Some(found.route))
            }
            _ if !conf.forwarding() => Ok(no(
                Station::Forward,
                How::NotForwarding,
                Some(Subject::Setting(
                    "ipv4.conf.DEVICE.forwarding",
                    Some(device),
                )),
            )),
            Kind::Unicast | Kind::Broadcast => {
                self.is_the_one(found.route)?;
                self.forwarded(packet, device, &found)
            }
            _ => Ok(no(
                Station::Route,
                How::MartianDestination,
                Some(Subject::Route(found.route)),
            )),
        }
    }

    /// For this namespace itself, if its source may have come in there.
    fn taken(
        &self,
        packet: &Packet,
        device: &'w Device,
        route: Option<&'w Route>,
    ) -> Result<Decision<'w>, Unknown> {
        let mut asked = *packet;
        if route.is_none_or(|route| route.kind == Kind::Broadcast) {
            // To no address of its own.
            asked.destination = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
        let refused = self.reverse(&asked, device, 0)?;
        Ok(refused.map_or(Decision::Local(route), Decision::No))
    }

    fn forwarded(
        &self,
        packet: &Packet,
        device: &'w Device,
        found: &Found<'w>,
    ) -> Result<Decision<'w>, Unknown> {
        let mut hops = Vec::new();
        for hop in &found.hops {
            for way in self.ways(hop)? {
                if self.conf4(way.device)?.is_none() {
                    let by = Some(Subject::Device(way.device));
                    return Ok(no(Station::Route, How::NoIp, by));
                }
                hops.push(way);
            }
        }
        // Each next hop is asked for by its own device; those of one route seldom differ in it.
        let out = hops.first().map_or(0, |way| way.device.index);
        if let Some(refused) = self.reverse(packet, device, out)? {
            return Ok(Decision::No(refused));
        }
        let route = Some(found.route);
        Ok(Decision::Onward { route, hops })
    }

    /// By that hop. A gateway that was this namespace's own when the route was made says that the network is on
    /// the link (`rt_set_nexthop`); one that is its own now may have become so later, and nothing tells.
    fn ways(&self, hop: &'w Hop) -> Result<Vec<Way<'w>>, Unknown> {
        if hop.encap {
            return Err(Unknown::NotModelled("a route that wraps".into()));
        }
        let way = Way {
            device: self.device(hop.device)?,
            gateway: hop.gateway,
            hop: Some(hop),
            source: None,
            martian: false,
        };
        let on_link = Way {
            gateway: None,
            ..way
        };
        Ok(match hop.gateway {
            Some(gateway) if self.is_own_by(gateway, hop.device) => vec![on_link, way],
            _ => vec![way],
        })
    }

    /// What a socket sends (`ip_route_output_key_hash_rcu`): where to, and with which source.
    pub fn route_out(
        &self,
        packet: &Packet,
        sender: &Sender,
    ) -> Result<(Decision<'w>, IpAddr), Unknown> {
        let mut packet = *packet;
        // Who binds to a network's broadcast address is given none (`inet_bind`).
        if self.kind_of(packet.source)? == Some(Kind::Broadcast) {
            packet.source = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
        let (packet, source) = (&packet, packet.source);
        if !self.fib.has(false, LOCAL) {
            // Where no address ever was there is no such table: every address may be bound to, and every
            // destination is a broadcast (`__inet_dev_addr_type`).
            return Err(Unknown::NotModelled("a namespace without addresses".into()));
        }
        if !source.is_unspecified() && !sender.any_source && !self.is_local(source)? {
            return Ok((no(Station::Route, How::ForeignSource, None), source));
        }
        let bound = match sender.device {
            Some(index) => Some(self.device(index)?),
            None => None,
        };
        if let Some(device) = bound
            && (!device.flags.up || device.conf4.is_none())
        {
            let by = Some(Subject::Device(device));
            return Ok((no(Station::Route, How::DeviceDown, by), source));
        }
        let found = match (self.lookup(&key_out(packet, sender))?, bound) {
            (Looked::Found(found), _) => found,
            // A bound socket's packets go out without a route, too.
            (_, Some(device)) => return self.on_link(packet, device),
            (Looked::Refused(how, by), _) => {
                return Ok((no(Station::Route, how, Some(by)), source));
            }
            (Looked::None, _) => return Ok((no(Station::Route, How::NoRoute, None), source)),
        };
        if found.route.kind == Kind::Local {
            let chosen = found.route.prefsrc.unwrap_or(packet.destination);
            let source = if source.is_unspecified() {
                chosen
            } else {
                source
            };
            return Ok((Decision::Local(Some(found.route)), source));
        }
        self.is_the_one(found.route)?;
        self.sent(packet, &found)
    }

    /// That no other default route may be taken in its place: beside one of a class the kernel tries those of none by turns,
    /// as their gateways' entries are (`fib_select_default`).
    fn is_the_one(&self, route: &Route) -> Result<(), Unknown> {
        let by_gateway = |one: &Route| {
            let gateway = one.hops.first().and_then(|hop| hop.gateway);
            gateway.is_some() && one.kind == Kind::Unicast && one.scope == route.scope
        };
        if route.to.length > 0 || route.tos == 0 || !by_gateway(route) {
            return Ok(());
        }
        let mut all = self.fib.to((route.table, None), route.to.address);
        match all.any(|one| one.to.length == 0 && one.tos == 0 && by_gateway(one)) {
            true => Err(Unknown::NotModelled("one of two default routes".into())),
            false => Ok(()),
        }
    }

    /// By a route of which table a packet would leave by that device, whoever sends it and by whichever ports: who
    /// notes a size asks without them (`__build_flow_key`).
    pub fn leads_by(&self, packet: &Packet, device: &Device) -> Result<Option<u32>, Unknown> {
        let sender = Sender {
            netns: self.netns,
            device: Some(device.index),
            uid: 0,
            any_source: true,
            failing: None,
        };
        let asked = Packet {
            sport: 0,
            dport: 0,
            ..*packet
        };
        let looked = self.lookup(&key_out(&asked, &sender))?;
        Ok(match looked {
            Looked::Found(found) if found.route.kind == Kind::Unicast => Some(found.route.table),
            _ => None,
        })
    }

    /// Loopback's own addresses do not leave (`__mkroute_output`).
    fn stays(&self, source: IpAddr, device: &'w Device) -> Result<Option<No<'w>>, Unknown> {
        let loopback = matches!(source, IpAddr::V4(v4) if v4.is_loopback());
        if !loopback || device.flags.loopback {
            return Ok(None);
        }
        let may = self
            .conf4(device)?
            .is_some_and(|conf| conf.route_localnet());
        Ok((!may).then_some(No {
            station: Station::Route,
            how: How::MartianSource,
            by: Some(Subject::Device(device)),
        }))
    }

    fn on_link(
        &self,
        packet: &Packet,
        device: &'w Device,
    ) -> Result<(Decision<'w>, IpAddr), Unknown> {
        let source = match packet.source.is_unspecified() {
            true => self.select_source(device, None, Scope::LINK)?,
            false => packet.source,
        };
        if let Some(no) = self.stays(source, device)? {
            return Ok((Decision::No(no), source));
        }
        let way = Way {
            device,
            gateway: None,
            hop: None,
            source: None,
            martian: false,
        };
        let (route, hops) = (None, vec![way]);
        Ok((Decision::Onward { route, hops }, source))
    }

    fn sent(&self, packet: &Packet, found: &Found<'w>) -> Result<(Decision<'w>, IpAddr), Unknown> {
        let (mut hops, mut stays) = (Vec::new(), None);
        for hop in &found.hops {
            for mut way in self.ways(hop)? {
                if packet.source.is_unspecified() {
                    way.source = Some(match found.route.prefsrc {
                        Some(source) => source,
                        None => self.select_source(way.device, hop.gateway, found.route.scope)?,
                    });
                }
                let source = way.source.unwrap_or(packet.source);
                if let Some(no) = self.stays(source, way.device)? {
                    way.martian = true;
                    stays = stays.or(Some((no, source)));
                }
                hops.push(way);
            }
        }
        if let Some((no, source)) = stays.filter(|_| hops.iter().all(|way| way.martian)) {
            return Ok((Decision::No(no), source));
        }
        let route = Some(found.route);
        Ok((Decision::Onward { route, hops }, packet.source))
    }

    /// Which of this namespace's addresses speaks (`inet_select_addr`).
    pub fn select_source(
        &self,
        device: &'w Device,
        towards: Option<IpAddr>,
        scope: Scope,
    ) -> Result<IpAddr, Unknown> {
        let localnet = match self
            .conf4(device)?
            .is_some_and(|conf| conf.route_localnet())
        {
            true => Scope::LINK,
            false => Scope::HOST,
        };
        self.addresses()?;
        let primary = |a: &&Address| !a.flags.has(Flags::SECONDARY);
        let here = || {
            let all = self.listed.addresses_of(device.index, false);
            let all = all.filter(primary);
            all.filter(|a| a.scope.min(localnet) <= scope)
        };
        let on_link = |a: &&Address| towards.is_none_or(|to| a.network().contains(to));
        if let Some(found) = here().find(on_link).or(here().next()) {
            return Ok(found.own.address);
        }
        let mut elsewhere = self.listed.addresses(false).filter(primary);
        let found = elsewhere.find(|a| a.scope != Scope::LINK && a.scope <= scope);
        Ok(found.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.own.address))
    }

    /// An address of this namespace, or one that a local route says is (`__ip_dev_find`).
    pub fn is_local(&self, address: IpAddr) -> Result<bool, Unknown> {
        Ok(self.has(address) || self.kind_of(address)? == Some(Kind::Local))
    }

    /// Whether a local route by that device says that it is an own one.
    fn is_own_by(&self, address: IpAddr, device: u32) -> bool {
        let mut local = self.fib.to((LOCAL, None), address);
        local.any(|route| {
            let leads = route.hops.iter().any(|hop| hop.device == device);
            route.kind == Kind::Local && leads
        })
    }

    /// The number of that (RTN_…), as far as it is known.
    pub fn address_type(&self, address: Ipv4Addr) -> Result<Option<u32>, Unknown> {
        const UNICAST: u32 = 1;
        const HERE: u32 = 2;
        const BROADCAST: u32 = 3;
        const MULTICAST: u32 = 5;
        if address.octets()[0] == 0 || address.is_broadcast() {
            return Ok(Some(BROADCAST));
        }
        if address.is_multicast() {
            return Ok(Some(MULTICAST));
        }
        Ok(match self.kind_of(address.into())? {
            // Where no address ever was there is no such table.
            None if !self.fib.has(false, LOCAL) => Some(BROADCAST),
            None | Some(Kind::Unicast) => Some(UNICAST),
            Some(Kind::Local) => Some(HERE),
            Some(Kind::Broadcast) => Some(BROADCAST),
            Some(_) => None,
        })
    }

    /// What the local table says of an address (`inet_addr_type`).
    fn kind_of(&self, address: IpAddr) -> Result<Option<Kind>, Unknown> {
        let routes = self.stack.routes.whole();
        routes.map_err(|why| Unknown::NotRead("routes", why.clone()))?;
        let tables = match self.settings()?.one_trie {
            true => SHARED,
            false => (LOCAL, None),
        };
        let mut local = self.fib.to(tables, address);
        Ok(local.next().map(|route| route.kind))
    }
}

pub fn key_in(packet: &Packet, device: &Device) -> Key {
    let (sport, dport) = packet.routed_ports();
    Key {
        destination: packet.destination,
        source: packet.source,
        tos: packet.routed_tos(),
        mark: packet.mark,
        iif: device.index,
        oif: 0,
        uid: 0,
        protocol: packet.protocol,
        sport,
        dport,
        ignore_linkstate: false,
        loose: false,
        failing: None,
    }
}

fn key_out(packet: &Packet, sender: &Sender) -> Key {
    Key {
        destination: packet.destination,
        source: packet.source,
        tos: packet.routed_tos(),
        mark: packet.mark,
        iif: LOOPBACK,
        oif: sender.device.unwrap_or(0),
        uid: sender.uid,
        protocol: packet.protocol,
        sport: packet.sport,
        dport: packet.dport,
        ignore_linkstate: false,
        loose: false,
        failing: None,
    }
}

/// Addresses that nothing on a wire may carry, whatever the routes say.
fn martian(source: Ipv4Addr, destination: Ipv4Addr, localnet: bool) -> Option<How> {
    let zero = |address: Ipv4Addr| address.octets()[0] == 0;
    if source.is_multicast() || source.is_broadcast() {
        return Some(How::MartianSource);
    }
    if destination.is_broadcast() {
        return None;
    }
    if zero(source) {
        return Some(How::MartianSource);
    }
    if zero(destination) || (destination.is_loopback() && !localnet) {
        return Some(How::MartianDestination);
    }
    (source.is_loopback() && !localnet).then_some(How::MartianSource)
}
