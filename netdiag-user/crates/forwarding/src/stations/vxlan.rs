//! VXLAN (drivers/net/vxlan/vxlan_core.c): a frame becomes a packet of the namespace's own, which goes its
//! own way, with the frame's mark, and is a frame again where a tunnel of the same network takes it.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::world::{
    device::{Device, Df, Kind, Mac, Vxlan},
    neighbour::FdbEntry,
    route::Route,
    ruleset::Hook,
};

use super::{Going, Next, Walker, forward::mtu, hook::Place, vlan};
use crate::{
    connection::{Ports, Tracked},
    learned::Learned,
    packet::{Carried, Decided, Frame, Packet, Sender, Sum, To, UDP},
    prepared::{Space, Wrong},
    route::decision::{Decision, No, Way},
    way::{How, Station, Subject, Unknown, Walk},
};

/// Ethernet's header, VXLAN's and UDP's.
const HEADERS: u32 = 14 + 8 + 8;
const IPV4: u32 = 20;
const IPV6: u32 = 40;
/// What frames of every other address are sent by.
const ANY: Mac = Mac([0; 6]);
/// A class is what both bits of ECN are not (RFC 6040).
const ECN: u8 = 3;

/// The other end for a frame.
#[derive(Clone, Copy)]
struct Remote {
    address: IpAddr,
    port: u16,
    vni: u32,
    link: Option<u32>,
}

impl<'w> Walker<'w> {
    /// Each of the other ends gets a copy (`vxlan_xmit`).
    pub(super) fn wraps(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): (&'w Device, &'w Vxlan),
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        if own.external || own.proxy {
            let kind = "a tunnel that is told by others where to send";
            return Err(Unknown::NotModelled(kind.into()));
        }
        let remotes = remotes(&walk.learned, space, (device, own), frame.to)?;
        if remotes.is_empty() {
            return self.refuse(walk, space, no(How::NoRemote, device), packet);
        }
        let wrap = |walk: &mut Walk<'w>, remote: Remote| {
            self.wrap(walk, space, (device, own, remote), frame, packet)
        };
        let at = (space, Station::Encap, device);
        self.all_of(walk, at, packet, remotes, wrap)
    }

    /// `vxlan_xmit_one`
    fn wrap(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own, remote): (&'w Device, &'w Vxlan, Remote),
        frame: Frame,
        mut packet: Packet,
    ) -> Going<'w> {
        if remote.address.is_multicast() {
            return Err(Unknown::NotModelled("a tunnel to a group".into()));
        }
        let ipv6 = remote.address.is_ipv6();
        if own.is_ipv6() != ipv6 {
            // It has no socket of that family (`-EIO`).
            return self.refuse(walk, space, no(How::NoRemote, device), packet);
        }
        let flow = packet.flow.unwrap_or_else(|| packet.spread());
        packet.flow = packet.flow.or(packet.has_ports().then_some(flow));
        let vni = remote.vni;
        let sealed = None;
        walk.carried.push(Carried {
            frame,
            packet,
            vni,
            sealed,
        });
        let mut outer = outer(own, remote, (&frame, &packet), walk.carried.len() - 1);
        if self.prepared.is(Wrong::OuterWithoutMark) {
            outer.mark = 0;
        }
        outer.chosen = Some(Ports::of_flow(flow));
        let sender = Sender {
            netns: space.netns,
            device: remote.link,
            uid: 0,
            any_source: ipv6,
            failing: None,
        };
        let (decision, source) = match ipv6 {
            true => space.route_out6(&outer, &sender)?,
            false => space.route_out(&outer, &sender)?,
        };
        let mut outer = Packet { source, ..outer };
        match decision {
            // A route by loopback is no error when it is looked for, only when something is sent by it.
            Decision::No(no) if no.how == How::NoIp => self.refuses(walk, space, no, outer),
            Decision::No(no) => self.refuse(walk, space, no, outer),
            Decision::Local(_) | Decision::Looped { .. } => {
                self.bypasses(walk, space, (device, own), remote, (frame, packet))
            }
            Decision::Onward { route, hops } => {
                let ttl = match own.ttl {
                    0 if own.ttl_inherit => packet.ttl,
                    0 => space.hop_limit(route, hops.first().map(|way| way.device), ipv6)?,
                    ttl => ttl,
                };
                outer.ttl = ttl;
                self.choose(walk, space, (route, &hops), outer, |walk, way| {
                    // Whatever goes by loopback is this namespace's own over IPv4 (`__mkroute_output`).
                    let own_device = way.device.flags.loopback && !ipv6;
                    match way.device.index == device.index {
                        true => self.refuse(walk, space, no(How::Circular, device), outer),
                        false if own_device => {
                            self.bypasses(walk, space, (device, own), remote, (frame, packet))
                        }
                        false => {
                            narrows(
                                &mut walk.learned,
                                space,
                                (device, &frame),
                                (route, way),
                                &outer,
                                &packet,
                            )?;
                            self.by(walk, space, route, way, outer, false)
                        }
                    }
                })
            }
        }
    }

    /// A remote that is this namespace itself: no packet is made (`encap_bypass_if_local`).
    fn bypasses(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): (&'w Device, &'w Vxlan),
        remote: Remote,
        (frame, packet): (Frame, Packet),
    ) -> Going<'w> {
        let like = |d: &Device| matches!(&d.kind, Kind::Vxlan(it) if it.udp_csum == own.udp_csum);
        let found = tunnel(space, remote.port, remote.vni, own.is_ipv6())?;
        let Some((into, to)) = found.filter(|(into, _)| like(into)) else {
            return self.refuse(walk, space, no(How::NoTunnel, device), packet);
        };
        if to.learning
            && let Some(from) = frame.from
        {
            let loopback = match remote.address {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            learn(&mut walk.learned, space, into, from, loopback)?;
        }
        if into.master.is_none() && packet.decided != Decided::No {
            return self.again(walk, space, (device, into), frame, packet);
        }
        // It is for this host, whatever its address.
        let frame = match into.mac.filter(|_| into.master.is_none()) {
            Some(mac) => Frame { to: mac, ..frame },
            None => frame,
        };
        let to = To::of(frame.to, into.mac);
        self.arrives(walk, space, into, (frame, to), packet)
    }

    /// It still has the way that was chosen for it and goes it again, as long as it lives; over IPv4 what was
    /// sent here may not.
    fn again(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, into): (&'w Device, &'w Device),
        frame: Frame,
        mut packet: Packet,
    ) -> Going<'w> {
        self.came(walk, space, into, packet)?;
        let refuse = |station, how| No {
            station,
            how,
            by: Some(Subject::Device(device)),
        };
        if packet.is_ipv6()
            && let Some(no) = space.may_not_come6(&packet, into)?
        {
            return self.refuse(walk, space, no, packet);
        }
        let place = Place::entering(Hook::Prerouting, into);
        if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
            return Ok(ended);
        }
        if packet.decided != Decided::Forwarded && !packet.is_ipv6() {
            let no = refuse(Station::Encap, How::Discarded);
            return self.refuse(walk, space, no, packet);
        }
        let leads_on = space.conf6(into)?.is_none_or(|conf| conf.forwarding());
        if packet.is_ipv6() && !leads_on {
            let no = refuse(Station::Forward, How::NotForwarding);
            return self.refuse(walk, space, no, packet);
        }
        packet.iif = Some(into.index);
        if packet.ttl <= 1 {
            let no = refuse(Station::Ttl, How::TtlExceeded);
            return self.refuses(walk, space, no, packet);
        }
        packet.ttl -= 1;
        packet.decided = Decided::Forwarded;
        for hook in [Hook::Forward, Hook::Postrouting] {
            let place = Place {
                input: Some(into),
                ..Place::leaving(hook, device)
            };
            if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
                return Ok(ended);
            }
        }
        Ok(Next::Sends {
            space,
            device,
            frame,
            packet,
        })
    }

    /// A tunnel's packet at its end (`vxlan_rcv`).
    pub(super) fn unwraps(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        carried: Carried,
        outer: Packet,
    ) -> Going<'w> {
        let refuse = |walk: &mut Walk<'w>, how, by: Option<&'w Device>| {
            let no = No {
                station: Station::Encap,
                how,
                by: by.map(Subject::Device),
            };
            self.refuse(walk, space, no, outer)
        };
        let found = tunnel(space, outer.dport, carried.vni, outer.is_ipv6())?;
        let Some((device, own)) = found else {
            let (port, ipv6) = (outer.dport, outer.is_ipv6());
            let listens = tunnels(space)?.any(|(_, own)| (own.port, own.is_ipv6()) == (port, ipv6));
            if listens {
                return refuse(walk, How::NoTunnel, None);
            }
            let no = No {
                station: Station::Socket,
                how: How::NoSocket,
                by: None,
            };
            return self.refuses(walk, space, no, outer);
        };
        if carried.frame.from.is_some() && carried.frame.from == device.mac {
            return refuse(walk, How::OwnFrame, Some(device));
        }
        if own.learning
            && let Some(from) = carried.frame.from
            && !learn(&mut walk.learned, space, device, from, outer.source)?
        {
            return refuse(walk, How::WrongRemote, Some(device));
        }
        let inner = Packet {
            mark: outer.mark,
            served: outer.served,
            decided: Decided::No,
            tracked: Tracked::No,
            pieces: carried.packet.cut_by(&outer),
            ..carried.packet
        };
        let to = To::of(carried.frame.to, device.mac);
        self.arrives(walk, space, device, (carried.frame, to), inner)
    }
}

/// What has no room in the outer packet's way tells its own route how much has (`skb_tunnel_check_pmtu`); it goes
/// on itself, in fragments where it may.
fn narrows(
    learned: &mut Learned,
    space: &Space<'_>,
    (device, frame): (&Device, &Frame),
    outwards: (Option<&Route>, &Way<'_>),
    outer: &Packet,
    inner: &Packet,
) -> Result<(), Unknown> {
    /// RFC 8200, 5.
    const LEAST6: u32 = 1280;
    let headers = HEADERS + if outer.is_ipv6() { IPV6 } else { IPV4 };
    let room = mtu(learned, space, outwards, outer, false)?.saturating_sub(headers);
    let routed = inner.decided != Decided::No;
    let least = if inner.is_ipv6() { LEAST6 } else { 0 };
    let tells = routed && inner.largest() > room && room >= least;
    // Over IPv6 it is noted at the route that it has, which leads by the VLAN's device.
    let by = match frame.vlan.filter(|_| tells && inner.is_ipv6()) {
        Some(tag) => vlan::device(space, device, tag)?.ok_or_else(|| {
            let what = "what a tunnel tells through a bridge's tag";
            Unknown::NotModelled(what.into())
        })?,
        None => device,
    };
    // Over IPv4 it is noted at the route that is found anew, by that very device (`__ip_rt_update_pmtu`).
    let found = match tells && !inner.is_ipv6() {
        true => space.leads_by(inner, device)?,
        false => None,
    };
    // What is noted makes IPv6 look routes up anew: who shares an object with the tunnel's, and is asked for before that is
    // on its way, takes away what it has (`rt6_get_pcpu_route`).
    let object = outwards.0.and_then(|route| route.nexthop);
    let both = inner.is_ipv6() && outer.is_ipv6();
    if tells && both && object.is_some() && space.rules_ask_for_routes() {
        let what = "a route that rules look up while a tunnel has it";
        return Err(Unknown::NotModelled(what.into()));
    }
    if tells && (inner.is_ipv6() || found.is_some()) {
        learned.learn_size(space.end(by), inner.destination, found, room);
    }
    Ok(())
}

/// The packet that carries a frame, with the tags that this has.
fn outer(own: &Vxlan, remote: Remote, (frame, inner): (&Frame, &Packet), carries: usize) -> Packet {
    let ipv6 = remote.address.is_ipv6();
    let headers = HEADERS + if ipv6 { IPV6 } else { IPV4 } + frame.tags();
    let any = match ipv6 {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let class = match own.tos {
        1 => inner.tos,
        tos => tos,
    };
    Packet {
        protocol: UDP,
        dport: remote.port,
        tos: class & !ECN | inner.tos & ECN,
        ttl: own.ttl,
        // What was cut before is carried in as many packets.
        size: inner.pieces.unwrap_or(inner.size) + headers,
        df: match own.df {
            Df::Set => true,
            Df::Unset => false,
            Df::Inherit => inner.df || inner.is_ipv6(),
        },
        segment: inner
            .segment
            .filter(|_| inner.pieces.is_none())
            .map(|segment| segment + headers),
        sum: match ipv6 || own.udp_csum {
            true => Sum::Left,
            false => Sum::Made,
        },
        parts: inner.pieces.is_some(),
        mark: inner.mark,
        served: inner.served,
        flow: inner.flow,
        carries: Some(carries),
        ..Packet::new(own.local.unwrap_or(any), remote.address)
    }
}

fn no<'w>(how: How, by: &'w Device) -> No<'w> {
    No::by_device(Station::Encap, how, by)
}

/// Where frames to an address are sent: as it learned, as its table says, or as of every other one.
fn remotes(
    learned: &Learned,
    space: &Space<'_>,
    (device, own): (&Device, &Vxlan),
    to: Mac,
) -> Result<Vec<Remote>, Unknown> {
    if let Some(address) = learned.remote(space.end(device), to) {
        return Ok(vec![Remote {
            address,
            port: own.port,
            vni: own.vni,
            link: None,
        }]);
    }
    let remote = |entry: &FdbEntry| {
        Some(Remote {
            address: entry.remote?,
            port: entry.remote_port.unwrap_or(own.port),
            vni: entry.remote_vni.unwrap_or(own.vni),
            link: entry.remote_link,
        })
    };
    let of = |mac: Mac| -> Result<Vec<Remote>, Unknown> {
        let all = entries(space, device)?.filter(|entry| entry.mac == mac);
        Ok(all.filter_map(remote).collect())
    };
    let exact = of(to)?;
    match exact.is_empty() {
        true => of(ANY),
        false => Ok(exact),
    }
}

/// Its own entries, not those of a bridge that it is a port of.
fn entries<'w>(
    space: &Space<'w>,
    device: &Device,
) -> Result<impl Iterator<Item = &'w FdbEntry> + use<'w>, Unknown> {
    let all = space.stack.fdb.whole();
    let all = all.map_err(|why| Unknown::NotRead("forwarding entries", why.clone()))?;
    let index = device.index;
    Ok(all
        .iter()
        .filter(move |entry| entry.device == index && entry.master.is_none()))
}

/// Notes behind which remote a sender is; a fixed entry that says otherwise takes the frame
/// (`vxlan_snoop`).
fn learn(
    learned: &mut Learned,
    space: &Space<'_>,
    device: &Device,
    from: Mac,
    remote: IpAddr,
) -> Result<bool, Unknown> {
    let mut all = entries(space, device)?;
    let fixed = all.find(|entry| entry.mac == from && entry.is_static);
    if let Some(fixed) = fixed {
        return Ok(fixed.remote == Some(remote));
    }
    learned.learn_remote(space.end(device), from, remote);
    Ok(true)
}

/// The device that takes what comes for that port and network: its socket hears on every address.
fn tunnel<'w>(
    space: &'w Space<'w>,
    port: u16,
    vni: u32,
    ipv6: bool,
) -> Result<Option<(&'w Device, &'w Vxlan)>, Unknown> {
    let mut all = tunnels(space)?;
    Ok(all.find(|(_, own)| (own.port, own.vni, own.is_ipv6()) == (port, vni, ipv6)))
}

fn tunnels<'w>(
    space: &'w Space<'w>,
) -> Result<impl Iterator<Item = (&'w Device, &'w Vxlan)>, Unknown> {
    let devices = space.stack.devices.whole();
    let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
    let own = |device: &'w Device| match &device.kind {
        Kind::Vxlan(own) if device.flags.up => Some((device, own)),
        _ => None,
    };
    Ok(devices.values().filter_map(own))
}
