//! The stations of a packet's way, a file each, and the walker that goes from one to the next.
mod arp;
mod bridge;
mod forward;
mod link;
mod nd;
mod neighbour;
mod socket;

use netdiag_model::world::{
    End,
    device::{Device, Kind},
};

use crate::{
    packet::{Frame, Packet, Start, To},
    prepared::{Prepared, Space},
    route::decision::{Decision, No},
    way::{Does, How, Station, Step, Subject, Unknown, Walk},
};

/// Steps of one branch; a way that is longer goes round in circles.
const MOST_STEPS: usize = 512;

/// Computes the way of a packet.
pub fn walk<'w>(prepared: &'w Prepared<'w>, start: Start, packet: Packet) -> Walk<'w> {
    let mut walk = Walk::default();
    let walker = Walker { prepared };
    let (netns, ended) = match start {
        Start::Socket(sender) => (sender.netns, walker.sent(&mut walk, &sender, packet)),
        Start::Device(end, frame) => (end.netns, walker.comes(&mut walk, end, frame, packet)),
        Start::Frame(end, frame) => (end.netns, walker.frame(&mut walk, end, frame, packet)),
    };
    if let Err(unknown) = ended {
        let (station, netns) = match walk.last() {
            Some(step) => (step.station, step.netns),
            None => (Station::Link, netns),
        };
        walk.steps.push(Step {
            netns,
            station,
            by: None,
            does: Does::Unknown(unknown),
            packet,
        });
    }
    walk
}

pub(crate) struct Walker<'w> {
    prepared: &'w Prepared<'w>,
}

/// A step that cannot be told ends the walk.
type Ended = Result<(), Unknown>;

impl<'w> Walker<'w> {
    fn push(&self, walk: &mut Walk<'w>, step: Step<'w>) -> Ended {
        if walk.steps.len() >= MOST_STEPS {
            return Err(Unknown::TooLong);
        }
        walk.steps.push(step);
        Ok(())
    }

    fn refuse(&self, walk: &mut Walk<'w>, space: &Space<'w>, no: No<'w>, packet: Packet) -> Ended {
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: no.station,
                by: no.by,
                does: Does::Refuses(no.how),
                packet,
            },
        )
    }

    /// A frame that a program made.
    fn frame(&self, walk: &mut Walk<'w>, end: End, frame: Frame, packet: Packet) -> Ended {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        if device.flags.up && packet.size > device.mtu {
            let no = No {
                station: Station::Size,
                how: How::TooBig(device.mtu),
                by: Some(Subject::Device(device)),
            };
            return self.refuse(walk, space, no, packet);
        }
        self.sends(walk, space, device, frame, packet)
    }

    /// A frame comes in at a device.
    fn comes(&self, walk: &mut Walk<'w>, end: End, frame: Frame, packet: Packet) -> Ended {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        self.came(walk, space, device, packet)?;
        let Some(master) = device.master else {
            let to = To::of(frame.to, device.mac);
            return self.taken(walk, space, device, to, packet);
        };
        let master = space.device(master)?;
        match master.kind {
            Kind::Bridge(_) => self.bridged(walk, space, (master, device), frame, packet),
            _ => Err(Unknown::NotModelled("a device with a master".into())),
        }
    }

    fn came(
        &self,
        walk: &mut Walk<'w>,
        space: &Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Ended {
        let does = Does::Comes {
            device: device.index,
        };
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: Station::Link,
                by: Some(Subject::Device(device)),
                does,
                packet,
            },
        )
    }

    /// IP has it, by what its frame makes of it.
    fn taken(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        to: To,
        packet: Packet,
    ) -> Ended {
        if let Some(heard) = &mut walk.heard {
            heard.push((space.end(device), to));
            return Ok(());
        }
        match to {
            To::Host => self.received(walk, space, device, packet),
            To::OtherHost => {
                let no = No {
                    station: Station::Link,
                    how: How::OtherHost,
                    by: Some(Subject::Device(device)),
                };
                self.refuse(walk, space, no, packet)
            }
            _ => Err(Unknown::NotModelled("a frame for many".into())),
        }
    }

    /// A packet for this host, by its frame.
    fn received(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Ended {
        let decision = match packet.is_ipv6() {
            true => space.route_in6(&packet, device)?,
            false => space.route_in(&packet, device)?,
        };
        match decision {
            Decision::No(no) => self.refuse(walk, space, no, packet),
            Decision::Local(route) => self.delivered(walk, space, route, packet),
            Decision::Looped { route, .. } => self.delivered(walk, space, Some(route), packet),
            Decision::Onward { route, hops } => self.forwarded(walk, space, (route, &hops), packet),
        }
    }
}
