//! Sockets: what is sent by one, and what is for this namespace itself.
use netdiag_model::world::{ipsec::Direction, route::Route, ruleset::Hook};

use super::{
    Going, Next, Walker,
    hook::{Passed, Place},
};
use crate::{
    packet::{Decided, Packet, Sender, Sum, UDP},
    prepared::Space,
    route::{
        decision::{Decision, Way},
        rules::LOOPBACK,
    },
    way::{Does, How, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// A socket sends it (`ip_route_output_flow`, `ip_output`).
    pub(super) fn sent(
        &self,
        walk: &mut Walk<'w>,
        sender: &Sender,
        mut packet: Packet,
    ) -> Going<'w> {
        let space = self.prepared.space(sender.netns)?;
        let (decision, source) = match packet.is_ipv6() {
            true => space.route_out6(&packet, sender)?,
            false => space.route_out(&packet, sender)?,
        };
        packet.source = source;
        // A tunnel's packets and errors are sent by sockets of the kernel's own, which are not.
        let own = packet.carries.is_none() && !packet.is_icmp();
        packet.bound = sender.device.filter(|_| own);
        match decision {
            Decision::No(no) => {
                // What leads nowhere over IPv6 is thrown away behind the hook (`ip6_pkt_discard_out`).
                if no.how == How::NoIp {
                    let place = Place::leaving(Hook::Output, space.device(LOOPBACK)?);
                    // By then it is a socket's that has a way, as rules see it.
                    packet.decided = Decided::Sent;
                    if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
                        return Ok(ended);
                    }
                }
                self.refuses(walk, space, no, packet)
            }
            Decision::Local(route) => self.looped(walk, space, route, packet),
            Decision::Looped { route, source } => {
                packet.source = source.unwrap_or(packet.source);
                self.looped(walk, space, Some(route), packet)
            }
            Decision::Onward { route, hops } => {
                self.leaves(walk, space, (route, &hops), packet, false)
            }
        }
    }

    /// By loopback and in again, with the decision that was made: nothing is routed twice.
    pub(super) fn looped(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        packet: Packet,
    ) -> Going<'w> {
        let way = Way {
            device: space.device(LOOPBACK)?,
            gateway: None,
            hop: None,
            source: None,
            martian: false,
        };
        self.by(walk, space, route, &way, packet, false)
    }

    /// To whoever listens in this namespace.
    pub(super) fn delivered(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        mut packet: Packet,
    ) -> Going<'w> {
        let input = space.device(packet.iif.unwrap_or(LOOPBACK))?;
        let place = Place::entering(Hook::Input, input);
        match self.passes(walk, space, &place, &mut packet)? {
            Passed::On => self.reaches(walk, space, route, packet),
            Passed::Ended => Ok(Next::Ended),
            Passed::Led(onward) => self.led(walk, (space, Some(input)), onward, packet),
            Passed::Turned(_) => {
                let what = "what is led elsewhere where it is delivered";
                Err(Unknown::NotModelled(what.into()))
            }
        }
    }

    /// Behind the last hook.
    pub(super) fn reaches(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        packet: Packet,
    ) -> Going<'w> {
        space.without_ipsec(&packet, Direction::In)?;
        if let Some(carried) = packet.carries.and_then(|at| walk.carried.get(at)) {
            let carried = *carried;
            let sum = match packet.pieces {
                Some(_) => packet.sum.made(),
                None => packet.sum,
            };
            if sum == Sum::Wrong {
                let what = "the checksum of a tunnel's packet that was translated, then made";
                return Err(Unknown::NotModelled(what.into()));
            }
            return match (carried.sealed, packet.protocol) {
                (Some(sealed), _) => self.opens(walk, space, (carried, sealed), packet),
                (None, UDP) => self.unwraps(walk, space, carried, packet),
                (None, _) => self.unloads(walk, space, carried, packet),
            };
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station: Station::Socket,
                by: route.map(Subject::Route),
                does: Does::Delivers,
                packet,
            },
        )
    }
}
