//! WireGuard (drivers/net/wireguard): a packet goes sealed to the peer whose networks have its destination, as soon as
//! both have agreed on keys, and is opened where that peer is; its source must be of the sender's networks there.

mod message;

use std::net::IpAddr;

use netdiag_model::world::{
    Known,
    device::{Device, Kind, Mac},
    wireguard::{Peer, WireGuard},
};

use message::{DATA, INITIATION, RESPONSE, nothing, outer, padded};

use super::{
    Going, Next, Walker,
    forward::{mtu, piece},
};
use crate::{
    connection::Tracked,
    learned::{Endpoint, Learned, PeerAt},
    packet::{Carried, Decided, Frame, Packet, Seal, Sealed, Sender, To},
    prepared::Space,
    route::{
        decision::{Decision, No},
        rules::LOOPBACK,
    },
    way::{Does, How, Share, Station, Step, Subject, Unknown, Walk},
};

/// Before what a fragment carries, over IPv6.
const CUT6: u32 = 40 + 8;
/// AF41, of which no way is asked for (HANDSHAKE_DSCP).
const HANDSHAKES: u8 = 0x88;

/// A device and its settings.
type Own<'w> = (&'w Device, &'w WireGuard);

impl<'w> Walker<'w> {
    /// `wg_xmit`
    pub(super) fn seals(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): (&'w Device, &'w Known<WireGuard>),
        inner: Packet,
    ) -> Going<'w> {
        let own = read(own)?;
        let no = |how| No::by_device(Station::Encap, how, device);
        let Some((at, peer)) = own
            .peer_of(inner.destination)
            .and_then(|at| Some((at, own.peers.get(at)?)))
        else {
            return self.refuses(walk, space, no(How::NoPeer), inner);
        };
        let key = (space.end(device), at);
        let Some(to) = endpoint(&walk.learned, key, peer) else {
            return self.refuses(walk, space, no(How::NoEndpoint), inner);
        };
        if !own.socket_here {
            let what = "a WireGuard device whose packets leave by another namespace";
            return Err(Unknown::NotModelled(what.into()));
        }
        // Workers have it from here on.
        walk.waited();
        if !self.agrees(walk, space, (device, own), key, to)? {
            return self.refuse(walk, space, no(How::NoSession), inner);
        }
        // Superpackets are cut first.
        let inner = Packet {
            size: inner.segment.unwrap_or(inner.size),
            segment: None,
            parts: inner.parts || inner.segment.is_some(),
            ..inner
        };
        let send = |walk: &mut Walk<'w>, to| {
            self.sends_sealed(walk, space, (device, own), (key, to, Seal::Data), inner)
        };
        let now = endpoint(&walk.learned, key, peer).unwrap_or(to);
        if now == to || self.leads_alike(space, (device, own), (to, now), inner)? {
            return send(walk, now);
        }
        // The way that the handshake took is kept where its answer came within a tick (`dst_cache_reset`).
        let mut branches = Vec::new();
        for to in [to, now] {
            let mut branch = walk.branch();
            let next = send(&mut branch, to);
            let gone = self.goes_on(&mut branch, next);
            self.ends_alone(walk, &mut branch, gone)?;
            branches.push((Share::of(2), branch));
        }
        let step = Step {
            netns: space.netns,
            station: Station::Encap,
            by: Some(Subject::Device(device)),
            does: Does::Chooses(branches),
            packet: inner,
        };
        self.ends(walk, step)
    }

    /// Whether what is sent to a peer leaves alike, with the source that it was heard at or without.
    fn leads_alike(
        &self,
        space: &'w Space<'w>,
        (_, own): Own<'w>,
        (before, now): (Endpoint, Endpoint),
        inner: Packet,
    ) -> Result<bool, Unknown> {
        let by = |to| -> Result<_, Unknown> {
            let mut outer = outer(own, to, (DATA, inner.tos), 0);
            let decision = self.way_out(space, &mut outer, to)?;
            let hops = match &decision {
                Decision::Onward { hops, .. } => hops.as_slice(),
                _ => &[],
            };
            let hops = hops.iter().map(|way| {
                let source = way.source.unwrap_or(outer.source);
                (way.device.index, way.gateway, source)
            });
            Ok((hops.collect::<Vec<_>>(), std::mem::discriminant(&decision)))
        };
        Ok(by(before)? == by(now)?)
    }

    /// Whether both ends have keys, or agree on some first: who sends asks, and is answered.
    fn agrees(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): Own<'w>,
        key: PeerAt,
        to: Endpoint,
    ) -> Result<bool, Unknown> {
        let peer = own.peers.get(key.1);
        if walk.learned.has_session(key) || peer.is_some_and(Peer::has_session) {
            return Ok(true);
        }
        // Without a key nobody is asked, and a handshake that leads into its own tunnel waits for itself.
        if own.key.is_none() || self.agreeing.borrow().contains(&key) {
            return Ok(false);
        }
        self.agreeing.borrow_mut().push(key);
        let mut way = walk.branch();
        let asked = (key, to, Seal::Initiation);
        let next = self.sends_sealed(&mut way, space, (device, own), asked, nothing(to));
        let gone = self.goes_on(&mut way, next);
        self.agreeing.borrow_mut().pop();
        let mut ends = Vec::new();
        let read = gone.and_then(|()| ends_of(&way, key, &mut ends));
        let agreed = ends.iter().flatten().next().cloned();
        let all = ends.iter().all(Option::is_some);
        let packet = nothing(to);
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: Station::Encap,
                by: Some(Subject::Device(device)),
                does: Does::Asks(way.into()),
                packet,
            },
        )?;
        read?;
        match agreed {
            Some(_) if !all => {
                let what = "a handshake that arrives by some of its ways alone";
                Err(Unknown::NotModelled(what.into()))
            }
            Some(learned) => {
                walk.learned = learned;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// `send4`, `send6`
    fn sends_sealed(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): Own<'w>,
        (key, to, what): (PeerAt, Endpoint, Seal),
        inner: Packet,
    ) -> Going<'w> {
        let (by, peer) = key;
        let sealed = Some(Sealed { by, peer, what });
        walk.carried.push(Carried {
            frame: Frame::new(None, Mac::default()),
            packet: inner,
            vni: 0,
            sealed,
        });
        let load = match what {
            Seal::Initiation => INITIATION,
            Seal::Response => RESPONSE,
            Seal::Data => DATA + padded(inner.largest(), device.mtu),
        };
        let mut outer = outer(own, to, (load, inner.tos), walk.carried.len() - 1);
        outer.parts = inner.parts || inner.pieces.is_some();
        let ipv6 = outer.is_ipv6();
        let decision = self.way_out(space, &mut outer, to)?;
        if what != Seal::Data {
            outer.tos = HANDSHAKES;
        }
        match decision {
            // A route by loopback is no error when it is looked for, only when something is sent by it.
            Decision::No(no) if no.how == How::NoIp => self.refuses(walk, space, no, outer),
            Decision::No(no) => self.refuse(walk, space, no, outer),
            Decision::Local(route) => self.looped(walk, space, route, outer),
            Decision::Looped { route, source } => {
                outer.source = source.unwrap_or(outer.source);
                self.looped(walk, space, Some(route), outer)
            }
            Decision::Onward { route, hops } => {
                outer.ttl = space.hop_limit(route, hops.first().map(|way| way.device), ipv6)?;
                self.choose(walk, space, (route, &hops), outer, |walk, way| {
                    let mut outer = Packet {
                        source: way.source.unwrap_or(outer.source),
                        ..outer
                    };
                    let room = mtu(&walk.learned, space, (route, way), &outer, false)?;
                    // It may be cut, over IPv6 as well (`ignore_df`).
                    outer.pieces = (ipv6 && outer.size > room).then_some(piece(CUT6, room));
                    self.by(walk, space, route, way, outer, false)
                })
            }
        }
    }

    /// By the address at which this end was spoken to, as long as that is one and its way leads by the same device; over
    /// IPv6 nobody asks for the latter.
    fn way_out(
        &self,
        space: &'w Space<'w>,
        outer: &mut Packet,
        to: Endpoint,
    ) -> Result<Decision<'w>, Unknown> {
        let sender = Sender {
            netns: space.netns,
            device: to.device,
            uid: 0,
            any_source: false,
            failing: None,
        };
        let ipv6 = outer.is_ipv6();
        let ask = |packet: &Packet| match ipv6 {
            true => space.route_out6(packet, &sender),
            false => space.route_out(packet, &sender),
        };
        let (decision, source) = ask(outer)?;
        let by = |decision: &Decision<'_>| match decision {
            Decision::Onward { hops, .. } => hops.first().map(|way| way.device.index),
            Decision::Local(_) | Decision::Looped { .. } => Some(LOOPBACK),
            Decision::No(_) => None,
        };
        let another = |iif| by(&decision).is_some_and(|by| by != iif) && !ipv6;
        let invalid = |how| match how {
            How::ForeignSource => true,
            How::Blackhole | How::MartianSource => to.iif.is_some() && !ipv6,
            _ => false,
        };
        let invalid = matches!(&decision, Decision::No(no) if invalid(no.how));
        let (decision, source) = match invalid || to.iif.is_some_and(another) {
            false => (decision, source),
            true => {
                outer.source = outer.any();
                ask(outer)?
            }
        };
        outer.source = source;
        Ok(decision)
    }

    /// Who sealed it.
    fn sender(&self, sealed: Sealed) -> Result<&'w WireGuard, Unknown> {
        let from = self.prepared.space(sealed.by.netns)?;
        match &from.device(sealed.by.index)?.kind {
            Kind::WireGuard(sender) => read(sender),
            _ => Err(Unknown::NotModelled("what nobody sealed".into())),
        }
    }

    /// Whether both ends have a secret that they share beside their keys, or none; that it is the same nobody tells.
    fn same_secret(&self, sealed: Sealed, own: Option<&Peer>) -> Result<bool, Unknown> {
        let theirs = self.sender(sealed)?.peers.get(sealed.peer);
        let has = |peer: Option<&Peer>| peer.is_some_and(|peer| peer.preshared);
        Ok(has(theirs) == has(own))
    }

    /// A device that was moved away listens where it came from, which may be here.
    fn none_elsewhere(&self, port: u16) -> Result<(), Unknown> {
        let stacks = self.prepared.world.stacks.values();
        let mut devices = stacks.filter_map(|stack| stack.devices.some());
        let moved = |device: &Device| match &device.kind {
            Kind::WireGuard(Known::Is(own)) => !own.socket_here && own.port == port,
            Kind::WireGuard(_) => true,
            _ => false,
        };
        match devices.any(|all| all.values().any(|it| it.flags.up && moved(it))) {
            false => Ok(()),
            true => {
                let what = "a WireGuard device that listens in another namespace";
                Err(Unknown::NotModelled(what.into()))
            }
        }
    }

    /// Where it arrives (`wg_receive`).
    pub(super) fn opens(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (carried, sealed): (Carried, Sealed),
        outer: Packet,
    ) -> Going<'w> {
        let Some((device, own)) = listens(space, outer.dport)? else {
            self.none_elsewhere(outer.dport)?;
            let no = No {
                station: Station::Socket,
                how: How::NoSocket,
                by: None,
            };
            return self.refuses(walk, space, no, outer);
        };
        let no = |how| No::by_device(Station::Encap, how, device);
        let sender = self.sender(sealed)?;
        let meant = sender.peers.get(sealed.peer).map(|peer| &peer.key);
        let is = |peer: &Peer| Some(&peer.key) == sender.key.as_ref();
        let known = own.peers.iter().position(is);
        let Some(at) = known.filter(|_| own.key.is_some() && meant == own.key.as_ref()) else {
            return self.refuse(walk, space, no(How::NoPeer), outer);
        };
        let key = (space.end(device), at);
        let heard_from = Endpoint {
            address: outer.source,
            port: outer.sport,
            device: outer.iif.filter(|_| is_link_local(outer.source)),
            source: Some(outer.destination),
            iif: outer.iif,
        };
        walk.learned.learn_endpoint(key, heard_from);
        let back = (key, heard_from, Seal::Response);
        match sealed.what {
            Seal::Initiation => {
                walk.waited();
                self.sends_sealed(walk, space, (device, own), back, nothing(heard_from))
            }
            Seal::Response if !self.same_secret(sealed, own.peers.get(at))? => {
                self.refuse(walk, space, no(How::NoSession), outer)
            }
            Seal::Response => {
                // The other end has them since it answered.
                let theirs = (sealed.by, sealed.peer);
                walk.learned.learn_session(key);
                walk.learned.learn_session(theirs);
                Ok(Next::Ended)
            }
            Seal::Data => {
                let has = own.peers.get(at).is_some_and(Peer::has_session);
                if !has && !walk.learned.has_session(key) {
                    // Both were read at moments of their own, or one of them started anew since.
                    let what = "keys that one of both ends has alone";
                    return Err(Unknown::NotModelled(what.into()));
                }
                let inner = Packet {
                    mark: 0,
                    decided: Decided::No,
                    tracked: Tracked::No,
                    next_hop: None,
                    iif: None,
                    pieces: carried.packet.cut_by(&outer),
                    ..carried.packet
                };
                if own.peer_of(inner.source) != Some(at) {
                    return self.refuse(walk, space, no(How::UnallowedSource), inner);
                }
                self.came(walk, space, device, inner)?;
                self.taken(walk, space, device, To::Host, inner)
            }
        }
    }
}

/// Whose device counts.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn read(own: &Known<WireGuard>) -> Result<&WireGuard, Unknown> {
    let own = own.whole();
    own.map_err(|why| Unknown::NotRead("a WireGuard device's peers", why.clone()))
}

/// Where a peer was heard last, or was said to be.
fn endpoint(learned: &Learned, key: PeerAt, peer: &Peer) -> Option<Endpoint> {
    let set = || {
        Some(Endpoint {
            address: peer.endpoint?,
            port: peer.port,
            device: peer.device,
            source: None,
            iif: None,
        })
    };
    learned.endpoint(key).or_else(set)
}

/// The device whose socket has that port here.
fn listens<'w>(space: &'w Space<'w>, port: u16) -> Result<Option<Own<'w>>, Unknown> {
    let devices = space.stack.devices.whole();
    let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
    for device in devices.values().filter(|device| device.flags.up) {
        if let Kind::WireGuard(own) = &device.kind {
            let own = read(own)?;
            if own.socket_here && own.port == port {
                return Ok(Some((device, own)));
            }
        }
    }
    Ok(None)
}

/// What was learned at each end of a handshake's ways where both have keys then, and nothing at the others.
fn ends_of(way: &Walk<'_>, key: PeerAt, all: &mut Vec<Option<Learned>>) -> Result<(), Unknown> {
    for step in &way.steps {
        match &step.does {
            Does::Leaves { .. } => return Err(Unknown::Beyond(None)),
            Does::Unknown(unknown) => return Err(unknown.clone()),
            Does::Chooses(branches) => {
                let mut ways = branches.iter();
                return ways.try_for_each(|(_, way)| ends_of(way, key, all));
            }
            Does::Copies(copies) => {
                let mut ends = Vec::new();
                for copy in copies {
                    ends_of(copy, key, &mut ends)?;
                }
                all.push(ends.into_iter().flatten().next());
                return Ok(());
            }
            _ => {}
        }
    }
    let agreed = way.learned.has_session(key);
    all.push(agreed.then(|| way.learned.clone()));
    Ok(())
}
