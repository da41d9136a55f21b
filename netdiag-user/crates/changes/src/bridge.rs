//! bridge(8).
use netdiag_model::world::{
    Stack,
    device::{Mac, PortState, VlanRange},
    neighbour::FdbEntry,
};

use crate::{
    Done, Refused, Words,
    device::{by_index, index, whole},
    ip::Verb,
    words::unknown,
};

/// What a bridge's port does.
pub fn link(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    if verb != Verb::Set || !words.take("dev") {
        return Err(Refused::NotModelled);
    }
    let index = index(stack, words.next()?)?;
    let device = by_index(stack, index)?;
    let port = device.port.as_mut().ok_or(Refused::Nothing)?;
    while let Some(word) = words.more() {
        let switch = match word {
            "state" => {
                port.state = state(words.next()?)?;
                continue;
            }
            "learning" => &mut port.learning,
            "hairpin" => &mut port.hairpin,
            "isolated" => &mut port.isolated,
            "flood" => &mut port.unicast_flood,
            "mcast_flood" => &mut port.multicast_flood,
            "bcast_flood" => &mut port.broadcast_flood,
            "locked" => &mut port.locked,
            "proxy_arp" => &mut port.proxy_arp,
            "neigh_suppress" => &mut port.neigh_suppress,
            other => return Err(unknown(other)),
        };
        *switch = words.switch()?;
    }
    Ok(())
}

fn state(word: &str) -> Result<PortState, Refused> {
    Ok(match word {
        "0" | "disabled" => PortState::Disabled,
        "1" | "listening" => PortState::Listening,
        "2" | "learning" => PortState::Learning,
        "3" | "forwarding" => PortState::Forwarding,
        "4" | "blocking" => PortState::Blocking,
        other => return Err(unknown(other)),
    })
}

/// Entries of a bridge's table (`master`) or of a device's own (`self`, which is what is meant where nothing is said).
pub fn fdb(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    let mac = words.mac()?;
    let (mut device, mut of_bridge, mut vlan, mut remote) = (None, false, None, None);
    let mut kind = None;
    while let Some(word) = words.more() {
        match word {
            "dev" => device = Some(index(stack, words.next()?)?),
            "master" => of_bridge = true,
            "self" => of_bridge = false,
            "vlan" => vlan = Some(words.value()?),
            "dst" => remote = Some(words.address()?),
            "static" | "permanent" | "local" | "dynamic" => kind = Some(word),
            other => return Err(unknown(other)),
        }
    }
    let device = device.ok_or(Refused::Ends)?;
    let bridge = by_index(stack, device)?.master;
    let master = match (of_bridge, bridge) {
        (true, None) => return Err(Refused::Nothing),
        (true, bridge) => bridge,
        (false, _) => None,
    };
    // What nothing else is said of is the bridge's own.
    let local = of_bridge && matches!(kind, None | Some("permanent" | "local"));
    let made = FdbEntry {
        device,
        master,
        mac,
        vlan,
        remote,
        remote_port: None,
        remote_vni: None,
        remote_link: None,
        local,
        is_static: !local && kind != Some("dynamic"),
        sticky: false,
    };
    let all = whole(&mut stack.fdb)?;
    let is = |entry: &FdbEntry| {
        (entry.mac, entry.master, entry.vlan) == (mac, master, vlan)
            && (master.is_some() || entry.device == device)
    };
    let to = |entry: &FdbEntry| is(entry) && remote.is_none_or(|it| entry.remote == Some(it));
    match verb {
        Verb::Delete => {
            let before = all.len();
            all.retain(|entry| !to(entry));
            if all.len() == before {
                return Err(Refused::Nothing);
            }
        }
        Verb::Add if all.iter().any(is) => return Err(Refused::Exists),
        Verb::Append if all.iter().any(to) => return Err(Refused::Exists),
        // Of one host there is one other end (`vxlan_fdb_update_existing`); groups, and what no entry knows, have several.
        Verb::Append if all.iter().any(is) && !mac.is_group() && mac != Mac::default() => {}
        Verb::Replace => {
            all.retain(|entry| !is(entry));
            all.push(made);
        }
        Verb::Add | Verb::Append => all.push(made),
        _ => return Err(Refused::NotModelled),
    }
    Ok(())
}

pub fn vlan(stack: &mut Stack, verb: Verb, mut words: Words<'_>) -> Done {
    let (mut device, mut ids) = (None, None);
    let (mut pvid, mut untagged) = (false, false);
    while let Some(word) = words.more() {
        match word {
            "dev" => device = Some(index(stack, words.next()?)?),
            "vid" => ids = Some(words.value::<u16>()?),
            "pvid" => pvid = true,
            "untagged" => untagged = true,
            "master" | "self" => {}
            other => return Err(unknown(other)),
        }
    }
    let (device, id) = (device.ok_or(Refused::Ends)?, ids.ok_or(Refused::Ends)?);
    let vlans = by_index(stack, device)?.vlans.as_mut();
    let vlans = vlans.ok_or(Refused::NotRead)?;
    if verb != Verb::Add {
        return Err(Refused::NotModelled);
    }
    if pvid {
        vlans.iter_mut().for_each(|range| range.pvid = false);
    }
    let has = |range: &VlanRange| (range.first..=range.last).contains(&id);
    if vlans
        .iter()
        .any(|range| has(range) && range.first != range.last)
    {
        return Err(Refused::NotModelled);
    }
    vlans.retain(|range| !has(range));
    vlans.push(VlanRange {
        first: id,
        last: id,
        pvid,
        untagged,
    });
    Ok(())
}
