//! Devices: what leaves by one, and where it comes in.
use std::net::IpAddr;

use netdiag_model::world::{
    End,
    device::{Device, Kind, Mac},
};

use super::{Going, Next, Walker};
use crate::{
    connection::Tracked,
    learned::Learned,
    packet::{ADVERTISEMENT, Decided, Frame, Packet, Served, TAG, To},
    prepared::{Space, Wrong},
    route::decision::No,
    way::{Does, Heard, How, MOST_BRANCHES, Outcome, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// Out of a device, and in wherever that leads.
    pub(super) fn sends(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        space.passes_links()?;
        space.shows(device, false)?;
        let subject = Some(Subject::Device(device));
        let how = match (device.flags.up, device.lower_up) {
            (false, _) => Some(How::DeviceDown),
            // Its queue is one that drops (`noop_qdisc`) until then.
            (true, false) => Some(How::NoCarrier),
            (true, true) => None,
        };
        if let Some(how) = how {
            let no = No {
                station: Station::Queue,
                how,
                by: subject,
            };
            return self.refuse(walk, space, no, packet);
        }
        let does = Does::Sends {
            device: device.index,
            to: Some(frame.to),
        };
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: Station::Link,
                by: subject,
                does,
                packet,
            },
        )?;
        match &device.kind {
            Kind::Veth => self.crosses(walk, space, device, frame, packet),
            Kind::Bridge(_) => self.sent_by_bridge(walk, space, device, frame, packet),
            Kind::Vxlan(own) => self.wraps(walk, space, (device, own), frame, packet),
            Kind::Vlan(own) => self.tags(space, (device, own), frame, packet),
            Kind::Macvlan(mode) => self.shares(walk, space, (device, *mode), frame, packet),
            Kind::Ipvlan(own) => self.by_shared_link(walk, space, (device, *own), frame, packet),
            Kind::Bond(own) => self.by_ports(walk, space, (device, own), frame, packet),
            Kind::IpTunnel(own) => self.encapsulates(walk, space, (device, own), packet),
            Kind::WireGuard(own) => self.seals(walk, space, (device, own), packet),
            Kind::Physical => self.by_wire(walk, space, device, frame, packet),
            // Whatever is sent there is gone, as by intent.
            Kind::Dummy => Ok(Next::Ended),
            // A program reads it, whose ways nobody knows; without one the device has no signal.
            Kind::Tun => self.gone(walk, space, device, packet),
            Kind::Other(kind) => Err(Unknown::NotModelled(kind.clone())),
            other => Err(Unknown::NotModelled(format!("{other:?}"))),
        }
    }

    /// Sends what is no packet of anybody's: a question to a link, or its answer. Who hears it, and as what,
    /// in each of the ways that it may go, and what was learned there.
    fn heard(
        &self,
        learned: &Learned,
        from: End,
        to: Mac,
        packet: Packet,
    ) -> Result<Vec<(Heard, Learned)>, Unknown> {
        let space = self.prepared.space(from.netns)?;
        let device = space.device(from.index)?;
        let mut way = Walk {
            learned: learned.clone(),
            heard: Some(Vec::new()),
            failing: self.given_up.get(),
            ..Walk::default()
        };
        let from = device.mac;
        let next = Next::Sends {
            space,
            device,
            frame: Frame::new(from, to),
            packet,
        };
        self.goes_on(&mut way, Ok(next))?;
        way.hearers()
    }

    /// What may come of a question: the address that is answered, or none, and what everybody learned
    /// meanwhile. `answers` tells what each of those that hear it may send in answer: an address, and the frame's
    /// own destination.
    pub(super) fn answered(
        &self,
        learned: &Learned,
        (asker, to, target): (End, Mac, IpAddr),
        question: Packet,
        answers: impl Fn(Learned, End) -> Result<Vec<(Option<(Mac, Mac)>, Learned)>, Unknown>,
    ) -> Result<Vec<Outcome>, Unknown> {
        let (mut outcomes, before) = (Vec::new(), learned.ports());
        let answer = Packet {
            source: target,
            destination: question.source,
            dport: match question.is_of_the_link() {
                true => ADVERTISEMENT << 8,
                false => question.dport,
            },
            ..question
        };
        for (hearers, learned) in self.heard(learned, asker, to, question)? {
            let mut going = vec![(Vec::new(), learned)];
            // One of a VLAN that nobody here has is for others (`arp_rcv`, `ipv6_rcv`).
            let hearers = hearers.into_iter().filter(|(_, to)| *to != To::OtherHost);
            for (end, _) in hearers {
                let mut further = Vec::new();
                for (macs, learned) in going {
                    for (given, learned) in answers(learned, end)? {
                        let Some((mac, to)) = given else {
                            further.push((macs.clone(), learned));
                            continue;
                        };
                        // A port's questions are answered to its bridge, which never asked.
                        for (back, learned) in self.heard(&learned, end, to, answer)? {
                            let arrives = back.contains(&(asker, To::Host)).then_some(mac);
                            let macs = macs.iter().copied().chain(arrives).collect();
                            further.push((macs, learned));
                        }
                    }
                }
                going = distinct(further)?;
            }
            for (mut macs, learned) in going {
                // Its own question may have come back to it, and said whose address that is.
                macs.extend(learned.of(asker, target));
                if macs.is_empty() {
                    outcomes.push((None, learned));
                    continue;
                }
                // Whose answer comes first is taken, nobody knows whose will; by IPv6 the last that says so is
                // kept (`NEIGH_UPDATE_F_OVERRIDE`).
                for mac in &macs {
                    let own = [*mac];
                    let kept = if target.is_ipv6() {
                        macs.as_slice()
                    } else {
                        &own
                    };
                    for kept in kept {
                        let mut learned = learned.clone();
                        learned.learn(asker, target, *kept);
                        outcomes.extend(by_each_port(learned, (asker, *mac), before));
                    }
                }
            }
        }
        distinct(outcomes)
    }

    /// By a wire: to another node that was read, as far as it is known to be there.
    fn by_wire(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        mut packet: Packet,
    ) -> Going<'w> {
        let between = &self.prepared.between;
        let own = space.end(device);
        let beside = between.beside(own);
        // Nothing that a namespace wrote on a packet goes over a wire.
        (packet.decided, packet.mark) = (Decided::No, 0);
        if frame.to.is_group() {
            if walk.heard.is_none() || beside.is_empty() {
                return self.gone(walk, space, device, packet);
            }
            for end in beside.iter().copied() {
                let next = Next::Comes { end, frame, packet };
                self.goes_on(walk, Ok(next))?;
            }
            return Ok(Next::Ended);
        }
        let is = |end: &&End| {
            let device = self
                .prepared
                .space(end.netns)
                .and_then(|it| it.device(end.index));
            device.is_ok_and(|device| self.has_mac(**end, device, frame.to))
        };
        if let Some(end) = beside.iter().find(is).copied() {
            return Ok(Next::Comes { end, frame, packet });
        }
        // Routers that nobody read lead it there, one at least.
        let routed = between.routed(self.prepared.world, own, packet.destination);
        let routed = routed.filter(|_| walk.heard.is_none() && packet.ttl > 1);
        match routed {
            Some(end) => {
                packet.ttl -= 1;
                let there = self.prepared.space(end.netns)?.device(end.index)?;
                let to = there.mac.unwrap_or(frame.to);
                let frame = Frame::new(None, to);
                Ok(Next::Comes { end, frame, packet })
            }
            None => self.gone(walk, space, device, packet),
        }
    }

    /// Its own, or that of the bridge or bond that it is a port of.
    fn has_mac(&self, end: End, device: &Device, mac: Mac) -> bool {
        let space = self.prepared.space(end.netns);
        let master = space.ok().zip(device.master);
        let master = master.and_then(|(space, index)| space.device(index).ok());
        let macs = [device.mac, master.and_then(|master| master.mac)];
        macs.contains(&Some(mac))
    }

    /// To where nothing is read.
    fn gone(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Going<'w> {
        if walk.heard.is_some() {
            return Err(Unknown::Beyond(None));
        }
        let step = Step {
            netns: space.netns,
            station: Station::Link,
            by: Some(Subject::Device(device)),
            does: Does::Leaves {
                device: device.index,
            },
            packet,
        };
        self.ends(walk, step)
    }

    /// What a namespace wrote on a packet stays there (`skb_scrub_packet`).
    pub(super) fn without_mark(&self, packet: Packet, from: &Space<'_>, to: &Space<'_>) -> Packet {
        let kept = from.netns == to.netns || self.prepared.is(Wrong::MarkKept);
        Packet {
            mark: if kept { packet.mark } else { 0 },
            served: if kept { packet.served } else { Served::No },
            decided: Decided::No,
            met: false,
            turned: None,
            tracked: match self.prepared.is(Wrong::TrackedOverLinks) {
                true => packet.tracked,
                false => Tracked::No,
            },
            ..packet
        }
    }

    /// To the other end of a pair (drivers/net/veth.c), which takes only what fits it.
    fn crosses(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let lost = |how, by| No {
            station: Station::Link,
            how,
            by: Some(Subject::Device(by)),
        };
        let end = self.prepared.peer(space.end(device));
        let Some(end) = end.filter(|end| self.prepared.space(end.netns).is_ok()) else {
            return self.by_wire(walk, space, device, frame, packet);
        };
        let peer = self.prepared.space(end.netns)?.device(end.index)?;
        if !peer.flags.up {
            return self.refuse(walk, space, lost(How::PeerDown, peer), packet);
        }
        let whole = self.prepared.is(Wrong::SuperpacketWhole) && packet.size > peer.mtu + TAG;
        if is_too_big(&frame, &packet, peer) || whole {
            return self.refuse(walk, space, lost(How::PeerMtu(peer.mtu), peer), packet);
        }
        let packet = self.without_mark(packet, space, self.prepared.space(end.netns)?);
        Ok(Next::Comes { end, frame, packet })
    }
}

/// What waited for an answer leaves with the first that comes, by the port that a bridge saw its sender behind then; which of
/// several that is nobody knows.
fn by_each_port(learned: Learned, (bridge, mac): (End, Mac), before: usize) -> Vec<Outcome> {
    let ports = learned.ports_since(before, (bridge, mac));
    let with = |(vlan, port)| {
        let mut learned = learned.clone();
        learned.learn_port(bridge, (mac, vlan), port);
        (Some(mac), learned)
    };
    match ports.len() {
        0 | 1 => vec![(Some(mac), learned)],
        _ => ports.into_iter().map(with).collect(),
    }
}

/// Each once.
fn distinct<T: PartialEq>(all: Vec<T>) -> Result<Vec<T>, Unknown> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    match once.len() > MOST_BRANCHES {
        true => Err(Unknown::TooLong),
        false => Ok(once),
    }
}

/// Whether a device has no room for it in one frame, and one tag (`__is_skb_forwardable`,
/// include/linux/netdevice.h); a superpacket is cut first.
pub(super) fn is_too_big(frame: &Frame, packet: &Packet, device: &Device) -> bool {
    let whole = packet.segment.is_none() || packet.pieces.is_some();
    whole && packet.largest() + frame.tags_inside() > device.mtu + TAG
}
