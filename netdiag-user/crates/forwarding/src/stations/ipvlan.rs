//! ipvlan (drivers/net/ipvlan/ipvlan_core.c, ipvlan_l3s.c): devices that share a link and its address. What comes in by
//! the link is theirs by their IP addresses; what they send goes out by it as it is (l2), or as the link's own
//! namespace routes it (l3, l3s).
use std::net::IpAddr;

use netdiag_model::world::{
    End,
    device::{Device, Ipvlan, IpvlanMode, Kind},
    ruleset::Hook,
};

use super::{Going, Next, Walker, hook::Place, link::is_too_big};
use crate::{
    packet::{Decided, Frame, Packet, Sender, To},
    prepared::{At, Space},
    route::decision::{Decision, No},
    way::{How, Station, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// Out of one (`ipvlan_queue_xmit`).
    pub(super) fn by_shared_link(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): (&'w Device, Ipvlan),
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let below = self.prepared.below(space, device)?;
        let (there, lower) = (below.0, below.0.end(below.1));
        let from = (space, device);
        let framed = own.mode == IpvlanMode::L2;
        if frame.to.is_group() {
            return match framed {
                true => self.to_others(walk, from, below, frame, packet),
                // Thrown away, as nobody asks there.
                false => Ok(Next::Ended),
            };
        }
        // All of a link have its address.
        let within = !framed || frame.from == Some(frame.to);
        if within && !own.vepa {
            match self.named(lower, packet.destination)? {
                Some(_) if own.private => {
                    return self.refuse(walk, space, no(How::Isolated, device), packet);
                }
                Some(to) => return self.handed(walk, from, to, frame, packet),
                None if framed => return self.handed(walk, from, below, frame, packet),
                None => {}
            }
        }
        match framed {
            true => Ok(Next::Sends {
                space: there,
                device: below.1,
                frame,
                packet,
            }),
            false => self.routed_below(walk, space, below, packet),
        }
    }

    /// A question, which the link's own host does not hear (`ipvlan_process_multicast`).
    fn to_others(
        &self,
        walk: &mut Walk<'w>,
        (space, own): At<'w>,
        (there, below): At<'w>,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        self.heard_by_all(walk, there.end(below), Some(space.end(own)), frame, packet)?;
        Ok(Next::Sends {
            space: there,
            device: below,
            frame,
            packet,
        })
    }

    fn heard_by_all(
        &self,
        walk: &mut Walk<'w>,
        link: End,
        but: Option<End>,
        frame: Frame,
        packet: Packet,
    ) -> Result<(), Unknown> {
        if walk.heard.is_none() {
            return Err(Unknown::NotModelled("a frame for many".into()));
        }
        for (space, one) in self.on_link(link)? {
            let end = space.end(one);
            if one.flags.up && Some(end) != but {
                self.goes_on(walk, Ok(Next::Comes { end, frame, packet }))?;
            }
        }
        Ok(())
    }

    /// In at another device of this machine (`dev_forward_skb`).
    fn handed(
        &self,
        walk: &mut Walk<'w>,
        (from, _): At<'w>,
        (to, device): At<'w>,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        if !device.flags.up {
            return self.refuse(walk, to, no(How::DeviceDown, device), packet);
        }
        if is_too_big(&frame, &packet, device) {
            return self.refuse(walk, to, no(How::TooBig(device.mtu), device), packet);
        }
        let packet = self.without_mark(packet, from, to);
        let end = to.end(device);
        Ok(Next::Comes { end, frame, packet })
    }

    /// Without its frame, as the link's namespace sends what is to leave by the link
    /// (`ipvlan_process_outbound`): what has no way there is nobody's to tell.
    fn routed_below(
        &self,
        walk: &mut Walk<'w>,
        from: &'w Space<'w>,
        (there, below): At<'w>,
        packet: Packet,
    ) -> Going<'w> {
        let mut packet = self.without_mark(packet, from, there);
        (packet.iif, packet.next_hop, packet.decided) = (None, None, Decided::Shared);
        // Ports are not asked for, and IPv4's protocol neither.
        let asked = Packet {
            protocol: if packet.is_ipv6() { packet.protocol } else { 0 },
            sport: 0,
            dport: 0,
            ..packet
        };
        let sender = Sender {
            netns: there.netns,
            device: Some(below.index),
            uid: 0,
            any_source: true,
            failing: None,
        };
        let (decision, _) = match packet.is_ipv6() {
            true => there.route_out6(&asked, &sender)?,
            false => there.route_out(&asked, &sender)?,
        };
        match decision {
            Decision::No(no) => self.refuse(walk, there, no, packet),
            Decision::Local(route) => self.looped(walk, there, route, packet),
            Decision::Looped { route, .. } => self.looped(walk, there, Some(route), packet),
            Decision::Onward { route, hops } => {
                self.leaves(walk, there, (route, &hops), packet, false)
            }
        }
    }

    /// In by a link that has some (`ipvlan_handle_frame`): whose it is instead of the link's own host.
    pub(super) fn shared_by_address(
        &self,
        walk: &mut Walk<'w>,
        (space, device): At<'w>,
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Result<Option<Next<'w>>, Unknown> {
        let link = space.end(device);
        let mode = match self.mode(link)? {
            None | Some(IpvlanMode::L3s) => return Ok(None),
            Some(mode) => mode,
        };
        if mode == IpvlanMode::L2 && frame.to.is_group() {
            // One that a switch sent back was heard on its way out.
            let back = frame.from == device.mac && self.named(link, packet.source)?.is_some();
            if !back {
                self.heard_by_all(walk, link, None, frame, packet)?;
            }
            return Ok(None);
        }
        let Some((there, one)) = self.named(link, packet.destination)? else {
            return Ok(None);
        };
        self.arrives(walk, there, one, (frame, to), packet)
            .map(Some)
    }

    /// Of mode l3s, where IP asks for a way (`ipvlan_l3_rcv`): it is not seen at the device whose it is, and the hooks that it
    /// meets are the link's.
    pub(super) fn taken_above(
        &self,
        walk: &mut Walk<'w>,
        (space, device): At<'w>,
        mut packet: Packet,
    ) -> Result<Option<Next<'w>>, Unknown> {
        let link = space.end(device);
        if self.mode(link)? != Some(IpvlanMode::L3s) {
            return Ok(None);
        }
        let Some((there, one)) = self.named(link, packet.destination)? else {
            return Ok(None);
        };
        let decision = match packet.is_ipv6() {
            true => there.route_in6(&packet, one)?,
            false => there.route_in(&packet, one)?,
        };
        match decision {
            Decision::Local(route) => {
                let place = Place::entering(Hook::Input, device);
                if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
                    return Ok(Some(ended));
                }
                packet.iif = Some(one.index);
                self.reaches(walk, there, route, packet).map(Some)
            }
            // Whose source is refused is the link's own host's.
            Decision::No(no) if no.station == Station::ReversePath => Ok(None),
            _ => Err(Unknown::NotModelled("an ipvlan that leads on".into())),
        }
    }

    /// The one of a link's that has an address, as long as it is up.
    fn named(&self, link: End, address: IpAddr) -> Result<Option<At<'w>>, Unknown> {
        for (space, one) in self.on_link(link)? {
            let mut all = space.addresses()?.iter();
            let has = all.any(|a| a.device == one.index && a.own.address == address);
            if has && one.flags.up {
                return Ok(Some((space, one)));
            }
        }
        Ok(None)
    }

    /// All of a link have the same.
    fn mode(&self, link: End) -> Result<Option<IpvlanMode>, Unknown> {
        let all = self.on_link(link)?;
        Ok(all.first().and_then(|(_, one)| match one.kind {
            Kind::Ipvlan(own) => Some(own.mode),
            _ => None,
        }))
    }

    fn on_link(&self, link: End) -> Result<Vec<At<'w>>, Unknown> {
        let mut all = self.prepared.above(link)?;
        all.retain(|(_, one)| matches!(one.kind, Kind::Ipvlan(_)));
        Ok(all)
    }
}

fn no<'w>(how: How, by: &'w Device) -> No<'w> {
    No::by_device(Station::Link, how, by)
}
