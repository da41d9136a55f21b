//! Devices: what leaves by one, and where it comes in.
use netdiag_model::world::{
    End,
    device::{Device, Kind, Mac},
};

use super::{Ended, Walker};
use crate::{
    packet::{Frame, Packet, To},
    prepared::Space,
    route::decision::No,
    way::{Does, How, Learned, Station, Step, Subject, Unknown, Walk},
};

/// What a device takes beside its MTU: room for one VLAN tag (`__is_skb_forwardable`,
/// include/linux/netdevice.h).
const TAG: u32 = 4;

impl<'w> Walker<'w> {
    /// Out of a device, and in wherever that leads.
    pub(super) fn sends(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        packet: Packet,
    ) -> Ended {
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
            // Whatever is sent there is gone, as by intent.
            Kind::Dummy => Ok(()),
            Kind::Other(kind) => Err(Unknown::NotModelled(kind.clone())),
            other => Err(Unknown::NotModelled(format!("{other:?}"))),
        }
    }

    /// Sends what is no packet of anybody's: a question to a link, or its answer. Who hears it, and as what.
    pub(super) fn heard(
        &self,
        learned: &mut Learned,
        from: End,
        to: Mac,
        packet: Packet,
    ) -> Result<Vec<(End, To)>, Unknown> {
        let space = self.prepared.space(from.netns)?;
        let device = space.device(from.index)?;
        let mut way = Walk {
            steps: Vec::new(),
            learned: std::mem::take(learned),
            heard: Some(Vec::new()),
        };
        let from = device.mac;
        let sent = self.sends(&mut way, space, device, Frame { from, to }, packet);
        *learned = way.learned;
        sent.map(|()| way.heard.unwrap_or_default())
    }

    /// To the other end of a pair (drivers/net/veth.c), which takes only what fits it.
    fn crosses(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        mut packet: Packet,
    ) -> Ended {
        let lost = |how, by| No {
            station: Station::Link,
            how,
            by: Some(Subject::Device(by)),
        };
        let Some(end) = self.prepared.peer(space.end(device)) else {
            return Err(Unknown::NotModelled(
                "a pair whose other end is not read".into(),
            ));
        };
        let peer = self.prepared.space(end.netns)?.device(end.index)?;
        if !peer.flags.up {
            return self.refuse(walk, space, lost(How::PeerDown, peer), packet);
        }
        if is_too_big(&packet, peer) {
            return self.refuse(walk, space, lost(How::PeerMtu(peer.mtu), peer), packet);
        }
        if end.netns != space.netns {
            // `skb_scrub_packet`: what a namespace wrote on a packet stays there.
            packet.mark = 0;
        }
        self.comes(walk, end, frame, packet)
    }
}

/// Whether a device has no room for it in one frame; a superpacket is cut first.
pub(super) fn is_too_big(packet: &Packet, device: &Device) -> bool {
    packet.segment.is_none() && packet.size > device.mtu + TAG
}
