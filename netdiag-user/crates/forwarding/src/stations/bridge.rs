//! Bridges (net/bridge/br_input.c, br_forward.c, br_fdb.c): which ports a frame that came in by one is sent
//! by, and whether the bridge itself takes it. What comes in by a port and is for its own address is the
//! bridge's.
use netdiag_model::world::{
    conf::Release,
    device::{Bridge, Device, Kind, Mac, Port, PortState},
    neighbour::FdbEntry,
};

use super::{Going, Walker, link::is_too_big};
use crate::{
    packet::{Frame, Packet, To},
    prepared::Space,
    route::decision::No,
    way::{Does, How, Learned, Station, Step, Subject, Unknown, Walk},
};

/// From then on a bridge takes of tunnels' superpackets what its ports take.
const ASKS_ITS_PORTS: Release = Release(6, 19);

/// Where a bridge's table has an address.
enum Held {
    /// The bridge's own, or one of its ports': that device's.
    Own(u32),
    Port(u32),
}

/// Where a frame goes on.
enum Onward<'w> {
    /// To this host, as that.
    Up(To),
    By(&'w Device),
}

/// What is flooded, of which each port may take none.
#[derive(Clone, Copy)]
enum Flood {
    Unicast,
    Multicast,
    Broadcast,
}

impl<'w> Walker<'w> {
    /// A frame that came in by a port (`br_handle_frame`).
    pub(super) fn bridged(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, port): (&'w Device, &'w Device),
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Going<'w> {
        let (own, conf) = (settings(bridge)?, port_of(port)?);
        if frame.vlan.is_some() {
            return Err(Unknown::NotModelled("a tag on a bridge".into()));
        }
        let refuse = |how| Some(no(how, port));
        let refused = match conf.state {
            PortState::Forwarding => None,
            PortState::Learning => refuse(How::PortState(conf.state)),
            _ => return self.refuse(walk, space, no(How::PortState(conf.state), port), packet),
        };
        if let Some(from) = frame.from {
            let held = held(&walk.learned, space, bridge, from)?;
            let known = matches!(held, Some(Held::Port(at)) if at == port.index);
            if conf.locked && !known {
                return self.refuse(walk, space, no(How::Locked, port), packet);
            }
            if conf.learning && own.ageing > 0 && may_move(space, bridge, from, held.as_ref())? {
                let at = space.end(bridge);
                walk.learned.learn_port(at, from, port.index);
            }
        }
        if let Some(no) = refused {
            return self.refuse(walk, space, no, packet);
        }
        let to = match To::of(frame.to, bridge.mac) {
            To::Host => To::Host,
            _ => to,
        };
        let mut onward = Vec::new();
        if bridge.flags.promiscuous || frame.to.is_group() {
            onward.push(Onward::Up(to));
        }
        match self.towards(walk, space, bridge, frame.to)? {
            Some(Held::Own(_)) => onward = vec![Onward::Up(to)],
            Some(Held::Port(at)) => {
                let out = space.device(at)?;
                match stops(out, Some((port, &conf)))? {
                    None => onward.push(Onward::By(out)),
                    Some(how) if onward.is_empty() => {
                        return self.refuse(walk, space, no(how, out), packet);
                    }
                    Some(_) => {}
                }
            }
            None => flood(space, bridge, Some((port, &conf)), frame.to, &mut onward)?,
        }
        if is_cut(space, &own, &onward, &packet)? {
            return Err(Unknown::NotModelled("iptables of a bridge".into()));
        }
        self.each(walk, space, bridge, onward, frame, packet)
    }

    /// One that the bridge's own host sends (`br_dev_xmit`). Bridges said of themselves that they take no tunnel's
    /// superpackets, which were cut before (`hw_enc_features`), until they asked their ports
    /// (`netdev_compute_master_upper_features`).
    pub(super) fn sent_by_bridge(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        bridge: &'w Device,
        frame: Frame,
        mut packet: Packet,
    ) -> Going<'w> {
        settings(bridge)?;
        if frame.vlan.is_some() {
            return Err(Unknown::NotModelled("a tag on a bridge".into()));
        }
        if packet.carries.is_some() && space.settings()?.release < ASKS_ITS_PORTS {
            packet.pieces = packet.pieces.or(packet.segment);
        }
        let mut onward = Vec::new();
        match self.towards(walk, space, bridge, frame.to)? {
            Some(Held::Own(at)) if at == bridge.index => {
                return self.refuse(walk, space, no(How::ToItself, bridge), packet);
            }
            Some(Held::Own(at) | Held::Port(at)) => {
                let out = space.device(at)?;
                if let Some(how) = stops(out, None)? {
                    return self.refuse(walk, space, no(how, out), packet);
                }
                onward.push(Onward::By(out));
            }
            None => flood(space, bridge, None, frame.to, &mut onward)?,
        }
        self.each(walk, space, bridge, onward, frame, packet)
    }

    fn towards(
        &self,
        walk: &Walk<'w>,
        space: &'w Space<'w>,
        bridge: &Device,
        to: Mac,
    ) -> Result<Option<Held>, Unknown> {
        match to.is_group() {
            true => Ok(None),
            false => held(&walk.learned, space, bridge, to),
        }
    }

    /// By each of them; more than one are copies.
    fn each(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        bridge: &'w Device,
        mut onward: Vec<Onward<'w>>,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let Some(last) = onward.pop() else {
            return self.refuse(walk, space, no(How::NoPort, bridge), packet);
        };
        if walk.heard.is_some() {
            for one in onward.drain(..) {
                let next = self.on(walk, space, bridge, one, frame, packet);
                self.goes_on(walk, next)?;
            }
        }
        if onward.is_empty() {
            return self.on(walk, space, bridge, last, frame, packet);
        }
        onward.push(last);
        let mut copies = Vec::new();
        for one in onward {
            let mut copy = walk.branch();
            let next = self.on(&mut copy, space, bridge, one, frame, packet);
            self.goes_on(&mut copy, next)?;
            copies.push(copy);
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station: Station::Bridge,
                by: Some(Subject::Device(bridge)),
                does: Does::Copies(copies),
                packet,
            },
        )
    }

    fn on(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        bridge: &'w Device,
        onward: Onward<'w>,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        match onward {
            Onward::Up(to) => {
                self.came(walk, space, bridge, packet)?;
                if let Some(next) = self.shared(walk, space, bridge, frame, packet)? {
                    return Ok(next);
                }
                let shared = self.shared_by_address(walk, (space, bridge), (frame, to), packet)?;
                if let Some(next) = shared {
                    return Ok(next);
                }
                self.taken(walk, space, bridge, to, packet)
            }
            Onward::By(port) if is_too_big(&packet, port) => {
                self.refuse(walk, space, no(How::TooBig(port.mtu), port), packet)
            }
            Onward::By(port) => self.sends(walk, space, port, frame, packet),
        }
    }
}

/// Whether IP's hooks have it cut, or refused with an error, for a port's size (`br_nf_dev_queue_xmit`).
fn is_cut(
    space: &Space<'_>,
    bridge: &Bridge,
    onward: &[Onward<'_>],
    packet: &Packet,
) -> Result<bool, Unknown> {
    let settings = space.settings()?;
    let calls = match packet.is_ipv6() {
        true => settings.bridge_calls_ip6tables || bridge.nf_call_ip6tables,
        false => settings.bridge_calls_iptables || bridge.nf_call_iptables,
    };
    let whole = packet.segment.is_none() || packet.pieces.is_some();
    let large = |one: &Onward<'_>| match one {
        Onward::By(port) => packet.largest() > port.mtu,
        Onward::Up(_) => false,
    };
    Ok(calls && whole && onward.iter().any(large))
}

fn no<'w>(how: How, by: &'w Device) -> No<'w> {
    No {
        station: Station::Bridge,
        how,
        by: Some(Subject::Device(by)),
    }
}

fn settings(bridge: &Device) -> Result<Bridge, Unknown> {
    match bridge.kind {
        Kind::Bridge(own) if own.vlan_filtering => {
            Err(Unknown::NotModelled("a bridge's VLANs".into()))
        }
        Kind::Bridge(own) => Ok(own),
        _ => Err(Unknown::NotModelled("a port of no bridge".into())),
    }
}

fn port_of(device: &Device) -> Result<Port, Unknown> {
    match device.port {
        None => Err(Unknown::NotModelled("a port that is not read".into())),
        Some(port) if port.proxy_arp || port.neigh_suppress => Err(Unknown::NotModelled(
            "a port that answers for others".into(),
        )),
        Some(port) => Ok(port),
    }
}

/// Why a port does not send it; `from` is where it came in (`should_deliver`).
fn stops(out: &Device, from: Option<(&Device, &Port)>) -> Result<Option<How>, Unknown> {
    let conf = port_of(out)?;
    let same = from.is_some_and(|(port, _)| port.index == out.index);
    let isolated = from.is_some_and(|(_, from)| from.isolated) && conf.isolated;
    Ok(match conf.state {
        _ if same && !conf.hairpin => Some(How::SamePort),
        PortState::Forwarding if isolated => Some(How::Isolated),
        PortState::Forwarding => None,
        state => Some(How::PortState(state)),
    })
}

/// `br_flood`: with multicast snooping too, as long as nobody on the link asks for members.
fn flood<'w>(
    space: &'w Space<'w>,
    bridge: &Device,
    from: Option<(&Device, &Port)>,
    to: Mac,
    onward: &mut Vec<Onward<'w>>,
) -> Result<(), Unknown> {
    let kind = match to {
        Mac::BROADCAST => Flood::Broadcast,
        group if group.is_group() => Flood::Multicast,
        _ => Flood::Unicast,
    };
    for out in space.stack.slaves(bridge.index) {
        let conf = port_of(out)?;
        // What the host itself sends to many goes to all.
        let wanted = match kind {
            Flood::Unicast => conf.unicast_flood,
            Flood::Multicast => conf.multicast_flood || from.is_none(),
            Flood::Broadcast => conf.broadcast_flood || from.is_none(),
        };
        if wanted && stops(out, from)?.is_none() {
            onward.push(Onward::By(out));
        }
    }
    Ok(())
}

/// What its table has of an address.
fn held(
    learned: &Learned,
    space: &Space<'_>,
    bridge: &Device,
    mac: Mac,
) -> Result<Option<Held>, Unknown> {
    if let Some(port) = learned.port(space.end(bridge), mac) {
        return Ok(Some(Held::Port(port)));
    }
    let entry = entry(space, bridge, mac)?;
    Ok(entry.map(|entry| match entry.local {
        true => Held::Own(entry.device),
        false => Held::Port(entry.device),
    }))
}

fn entry<'w>(
    space: &Space<'w>,
    bridge: &Device,
    mac: Mac,
) -> Result<Option<&'w FdbEntry>, Unknown> {
    let all = space.stack.fdb.whole();
    let all = all.map_err(|why| Unknown::NotRead("forwarding entries", why.clone()))?;
    // Without VLAN filtering a bridge asks for those of none.
    let own = |entry: &&FdbEntry| {
        entry.master == Some(bridge.index)
            && entry.mac == mac
            && entry.vlan.is_none_or(|vlan| vlan == 0)
    };
    Ok(all.iter().find(own))
}

/// A frame's sender is where it was seen last, unless the address is the bridge's own or sticks to its
/// port (`br_fdb_update`).
fn may_move(
    space: &Space<'_>,
    bridge: &Device,
    from: Mac,
    held: Option<&Held>,
) -> Result<bool, Unknown> {
    if let Some(Held::Own(_)) = held {
        return Ok(false);
    }
    Ok(entry(space, bridge, from)?.is_none_or(|entry| !entry.sticky))
}
