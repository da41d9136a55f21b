//! VLANs (net/8021q/vlan_core.c, vlan_dev.c): a frame with a tag belongs to the device of that tag, before any bridge.
use netdiag_model::world::device::{Device, Kind, Vlan};

use super::{Going, Next, Walker};
use crate::{
    packet::{Frame, Packet, To},
    prepared::Space,
    route::decision::No,
    way::{How, Station, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// Out of one: by the device below, with its tag (`vlan_dev_hard_start_xmit`).
    pub(super) fn tags(
        &self,
        space: &'w Space<'w>,
        (device, own): (&'w Device, &Vlan),
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let (space, device) = self.prepared.below(space, device)?;
        Ok(Next::Sends {
            space,
            device,
            frame: frame.tagged(*own)?,
            packet,
        })
    }

    /// In by one (`vlan_do_receive`): what is for the device below is for it, too, and what is for its own address.
    pub(super) fn untagged(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Going<'w> {
        if !device.flags.up {
            let no = No {
                station: Station::Link,
                how: How::DeviceDown,
                by: Some(Subject::Device(device)),
            };
            return self.refuse(walk, space, no, packet);
        }
        // Its own address may be another than that of the device below.
        let to = match to {
            To::OtherHost => To::of(frame.to, device.mac),
            to => to,
        };
        self.arrives(walk, space, device, (frame.untagged(), to), packet)
    }
}

/// Which one has that tag on a device.
pub(super) fn device<'w>(
    space: &'w Space<'w>,
    below: &Device,
    tag: Vlan,
) -> Result<Option<&'w Device>, Unknown> {
    let devices = space.stack.devices.whole();
    let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
    let has = |device: &&Device| {
        let on = device.lower == Some(below.index) && device.lower_netnsid.is_none();
        on && matches!(&device.kind, Kind::Vlan(own) if *own == tag)
    };
    Ok(devices.values().find(has))
}
