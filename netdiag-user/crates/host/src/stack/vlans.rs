//! VLANs of bridges and their ports (RTM_GETLINK of AF_BRIDGE, net/bridge/br_netlink.c).
use std::collections::BTreeMap;

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    link::{
        AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags as Told, LinkAttribute, LinkExtentMask,
        LinkMessage,
    },
};

use crate::{
    listing::{self, Listed, Message},
    model::world::{
        Known,
        device::{Device, Kind, VlanRange},
    },
};

/// Ranges of one port that are kept: one of every second VLAN has two thousand.
const MOST_RANGES: usize = 256;

/// Those that were not listed have none that are known.
pub fn add(devices: &mut Known<BTreeMap<u32, Device>>, most: usize) {
    let (Known::Is(devices) | Known::Partly(devices, _)) = devices else {
        return;
    };
    let filters = |device: &Device| matches!(device.kind, Kind::Bridge(own) if own.vlan_filtering);
    if !devices.values().any(filters) {
        return;
    }
    for (index, vlans) in vlans(most).map_or(Vec::new(), |listed| listed.all) {
        if let Some(device) = devices.get_mut(&index) {
            device.vlans = vlans;
        }
    }
}

fn vlans(most: usize) -> Result<Listed<(u32, Option<Vec<VlanRange>>)>> {
    let mut ask = LinkMessage::default();
    ask.header.interface_family = AddressFamily::Bridge;
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::BrvlanCompressed]);
    ask.attributes.push(mask);
    let take = |message, all: &mut Vec<_>| {
        if let Message::NewLink(message) = message
            && let Some(ranges) = of(&message)
        {
            let few = ranges.len() <= MOST_RANGES;
            all.push((message.header.index, few.then_some(ranges)));
        }
    };
    listing::list_each([Message::GetLink(ask)], most, "VLANs", take)
}

/// A port or a bridge without any tells of none; what a NIC tells of a switch of its own is no bridge's
/// (`ndo_dflt_bridge_getlink`).
fn of(message: &LinkMessage) -> Option<Vec<VlanRange>> {
    let specs = message.attributes.iter().find_map(|one| match one {
        LinkAttribute::AfSpecBridge(specs) => Some(specs.as_slice()),
        _ => None,
    });
    let specs = specs.unwrap_or_default();
    if specs
        .iter()
        .any(|one| matches!(one, AfSpecBridge::Flags(_)))
    {
        return None;
    }
    let infos = specs.iter().filter_map(|one| match one {
        AfSpecBridge::VlanInfo(info) => Some(info),
        _ => None,
    });
    Some(ranges(infos))
}

/// One of several comes as its first and its last (`br_fill_ifvlaninfo_range`).
fn ranges<'a>(infos: impl Iterator<Item = &'a BridgeVlanInfo>) -> Vec<VlanRange> {
    let mut all: Vec<VlanRange> = Vec::new();
    for info in infos {
        if info.flags.contains(Told::RangeEnd) {
            if let Some(begun) = all.last_mut() {
                begun.last = info.vid;
            }
            continue;
        }
        all.push(VlanRange {
            first: info.vid,
            last: info.vid,
            pvid: info.flags.contains(Told::Pvid),
            untagged: info.flags.contains(Told::Untagged),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_told_by_its_ends() {
        let info = |vid, flags| BridgeVlanInfo { vid, flags };
        let told = [
            info(1, Told::Pvid | Told::Untagged),
            info(5, Told::RangeBegin),
            info(9, Told::RangeEnd),
        ];
        let range = |first, last, own| VlanRange {
            first,
            last,
            pvid: own,
            untagged: own,
        };
        let wanted = [range(1, 1, true), range(5, 9, false)];
        assert_eq!(ranges(told.iter()), wanted);
    }
}
