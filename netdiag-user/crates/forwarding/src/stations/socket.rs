//! Sockets: what is sent by one, and what is for this namespace itself.
use netdiag_model::world::route::Route;

use super::{Ended, Walker, forward::too_big};
use crate::{
    packet::{Packet, Sender},
    prepared::Space,
    route::{
        rules::LOOPBACK,
        v4::{Decision, No, Way},
    },
    way::{Does, How, Station, Step, Subject, Walk},
};

impl<'w> Walker<'w> {
    /// A socket sends it (`ip_route_output_flow`, `ip_output`).
    pub(super) fn sent(&self, walk: &mut Walk<'w>, sender: &Sender, mut packet: Packet) -> Ended {
        let space = self.prepared.space(sender.netns)?;
        let (decision, source) = match packet.is_ipv6() {
            true => space.route_out6(&packet, sender)?,
            false => space.route_out(&packet, sender)?,
        };
        packet.source = source;
        match decision {
            Decision::No(no) => self.refuse(walk, space, no, packet),
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
    fn looped(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        packet: Packet,
    ) -> Ended {
        let loopback = space.device(LOOPBACK)?;
        let way = Way {
            device: loopback,
            gateway: None,
            hop: None,
            source: None,
        };
        if let Some(no) = too_big(space, route, &way, &packet, false)? {
            return self.refuse(walk, space, no, packet);
        }
        if !loopback.flags.up {
            let no = No {
                station: Station::Queue,
                how: How::DeviceDown,
                by: Some(Subject::Device(loopback)),
            };
            return self.refuse(walk, space, no, packet);
        }
        let step = |does| Step {
            netns: space.netns,
            station: Station::Link,
            by: Some(Subject::Device(loopback)),
            does,
            packet,
        };
        let device = LOOPBACK;
        self.push(walk, step(Does::Sends { device, to: None }))?;
        self.push(walk, step(Does::Comes { device }))?;
        self.delivered(walk, space, route, packet)
    }

    /// To whoever listens in this namespace.
    pub(super) fn delivered(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        packet: Packet,
    ) -> Ended {
        self.push(
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
