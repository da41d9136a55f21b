//! Devices: what leaves by one, and where it comes in.
use netdiag_model::world::{
    End,
    device::{Device, Kind, Mac},
};

use super::{Ended, Walker};
use crate::{
    packet::Packet,
    prepared::Space,
    route::v4::No,
    way::{Does, How, Station, Step, Subject, Unknown, Walk},
};

/// What a device takes beside its MTU: room for one VLAN tag (`__is_skb_forwardable`,
/// include/linux/netdevice.h).
const TAG: u32 = 4;

impl<'w> Walker<'w> {
    pub(super) fn sends(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        to: Option<Mac>,
        packet: Packet,
    ) -> Ended {
        let frame = to.unwrap_or_default();
        for end in self.transmit(walk, space, device, frame, packet)? {
            let mut packet = packet;
            if end.netns != space.netns {
                // `skb_scrub_packet`: what a namespace wrote on a packet stays there.
                packet.mark = 0;
            }
            self.comes(walk, end, frame, packet)?;
        }
        Ok(())
    }

    /// Sends a frame, and tells where it will come in; what is lost is told in the walk.
    pub(super) fn transmit(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        to: Mac,
        packet: Packet,
    ) -> Result<Vec<End>, Unknown> {
        let subject = Some(Subject::Device(device));
        let lost = |station, how, by| No { station, how, by };
        if !device.flags.up {
            let no = lost(Station::Queue, How::DeviceDown, subject);
            self.refuse(walk, space, no, packet)?;
            return Ok(Vec::new());
        }
        if !device.lower_up {
            // Its queue is one that drops (`noop_qdisc`) until then.
            let no = lost(Station::Queue, How::NoCarrier, subject);
            self.refuse(walk, space, no, packet)?;
            return Ok(Vec::new());
        }
        let does = Does::Sends {
            device: device.index,
            to: Some(to),
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
            Kind::Veth => self.crosses(walk, space, device, packet),
            // Whatever is sent there is gone, as by intent.
            Kind::Dummy => Ok(Vec::new()),
            Kind::Other(kind) => Err(Unknown::NotModelled(kind.clone())),
            other => Err(Unknown::NotModelled(format!("{other:?}"))),
        }
    }

    /// To the other end of a pair (drivers/net/veth.c), which takes only what fits it.
    fn crosses(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Result<Vec<End>, Unknown> {
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
            self.refuse(walk, space, lost(How::PeerDown, peer), packet)?;
            return Ok(Vec::new());
        }
        if packet.segment.is_none() && packet.size > peer.mtu + TAG {
            self.refuse(walk, space, lost(How::PeerMtu(peer.mtu), peer), packet)?;
            return Ok(Vec::new());
        }
        Ok(vec![end])
    }
}
