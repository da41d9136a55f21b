//! VLANs of a bridge that filters them (net/bridge/br_vlan.c): which one a frame is of where it comes in, and whether
//! it leaves by a port, or for the bridge's own host, and with which tags. Each has a table of addresses of its own.
use netdiag_model::world::{
    Why,
    device::{Bridge, Device, Vlan, VlanRange},
};

use crate::{
    packet::Frame,
    way::{How, Unknown},
};

/// What a frame is within the bridge, with the tag of its VLAN where VLANs are told apart (`__allowed_ingress`).
pub(super) fn comes_in(
    own: &Bridge,
    at: &Device,
    frame: Frame,
) -> Result<Result<Frame, How>, Unknown> {
    if !own.vlan_filtering {
        return Ok(Ok(frame));
    }
    let vlans = vlans(at)?;
    // One of the other kind is a part of what the frame carries.
    let tag = frame.vlan.filter(|tag| tag.service == own.vlan_service);
    if let Some(tag) = tag.filter(|tag| tag.id != 0) {
        let lets_in = of(vlans, tag.id).is_some();
        return Ok(lets_in.then_some(frame).ok_or(How::NotInVlan(tag.id)));
    }
    let Some(pvid) = vlans.iter().find(|vlan| vlan.pvid) else {
        return Ok(Err(How::NoPvid));
    };
    // A tag of no VLAN has a priority alone.
    let bare = match tag {
        Some(_) => frame.untagged(),
        None => frame,
    };
    let tag = Vlan {
        id: pvid.first,
        service: own.vlan_service,
    };
    bare.tagged(tag).map(Ok)
}

/// The VLAN of one within a bridge, by which its table is asked; 0 where VLANs are not told apart.
pub(super) fn id(own: &Bridge, frame: &Frame) -> u16 {
    match own.vlan_filtering {
        true => frame.vlan.map_or(0, |tag| tag.id),
        false => 0,
    }
}

/// Why one does not leave there (`br_allowed_egress`).
pub(super) fn stops(own: &Bridge, out: &Device, frame: &Frame) -> Result<Option<How>, Unknown> {
    let id = id(own, frame);
    let lets_out = !own.vlan_filtering || of(vlans(out)?, id).is_some();
    Ok((!lets_out).then_some(How::NotInVlan(id)))
}

/// As it leaves there (`br_handle_vlan`): a promiscuous bridge's host sees what is of none of its VLANs, as it is.
pub(super) fn goes_out(own: &Bridge, out: &Device, frame: Frame) -> Result<Frame, Unknown> {
    if !own.vlan_filtering {
        return Ok(frame);
    }
    let vlan = of(vlans(out)?, id(own, &frame));
    Ok(match vlan.is_some_and(|vlan| vlan.untagged) {
        true => frame.untagged(),
        false => frame,
    })
}

fn vlans(device: &Device) -> Result<&[VlanRange], Unknown> {
    let not_read = || Unknown::NotRead("a bridge's VLANs", Why::NotAsked);
    device.vlans.as_deref().ok_or_else(not_read)
}

fn of(vlans: &[VlanRange], id: u16) -> Option<&VlanRange> {
    let has = |vlan: &&VlanRange| (vlan.first..=vlan.last).contains(&id);
    vlans.iter().find(has)
}
