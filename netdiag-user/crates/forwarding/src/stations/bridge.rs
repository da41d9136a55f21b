//! Bridges (net/bridge/br_input.c, br_forward.c, br_fdb.c): which ports a frame that came in by one is sent
//! by, and whether the bridge itself takes it. What comes in by a port and is for its own address is the
//! bridge's.
use std::cell::Cell;

use netdiag_model::world::{
    conf::Release,
    device::{Bridge, Device, Kind, Mac, Port, PortState},
    neighbour::FdbEntry,
};

use super::{
    Going, Next, Walker,
    bridge_hooks::{Led, asks, cut, tracked_up, up},
    bridge_vlan as vlan,
    link::is_too_big,
};
use crate::{
    connection::Tracked,
    learned::Learned,
    packet::{Frame, Packet, To},
    prepared::Space,
    route::decision::No,
    way::{How, Station, Subject, Unknown, Walk},
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
#[derive(Clone)]
enum Onward<'w> {
    /// To this host, as that; or for it takes everything.
    Up(To, Sees),
    By(&'w Device),
}

/// Why a bridge's host has a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    Its,
    All,
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
        let takes = matches!(conf.state, PortState::Forwarding | PortState::Learning);
        if !takes {
            return self.refuse(walk, space, no(How::PortState(conf.state), port), packet);
        }
        // ARP's questions are no packets of IP's.
        let of_ip = walk.heard.is_none() || packet.carries.is_some() || packet.is_ipv6();
        let asked = of_ip && asks(space, &own, &frame, &packet)?;
        let at = (bridge, port, asked);
        if !asked {
            return self.carried(walk, space, at, (frame, to), packet);
        }
        let (mut packet, iif) = (packet, packet.iif);
        match self.before_bridging(walk, space, bridge, &mut packet)? {
            Led::Ended => Ok(Next::Ended),
            Led::On => {
                packet.iif = iif;
                self.carried(walk, space, at, (frame, to), packet)
            }
            Led::Up => self.carried(walk, space, at, up(bridge, frame)?, packet),
            Led::To(way) => {
                let on = (bridge, &way);
                let own = To::of(frame.to, bridge.mac);
                let to = if own == To::Host { own } else { to };
                self.to_bridged_neighbour(walk, space, on, (packet, to), &|walk, mac| {
                    // What it was for stays as the first frame had it.
                    let frame = Frame { to: mac, ..frame };
                    self.carried(walk, space, at, (frame, to), packet)
                })
            }
        }
    }

    /// The same behind the chains before routing, which were asked or not (`br_handle_frame_finish`).
    fn carried(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, port, asked): (&'w Device, &'w Device, bool),
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Going<'w> {
        let (own, conf) = (settings(bridge)?, port_of(port)?);
        let frame = match vlan::comes_in(&own, port, frame)? {
            Ok(frame) => frame,
            Err(how) => return self.refuse(walk, space, no(how, port), packet),
        };
        let (at, by) = ((bridge, &own), (port, &conf));
        if let Some(how) = learns(&mut walk.learned, space, at, by, &frame)? {
            return self.refuse(walk, space, no(how, port), packet);
        }
        if conf.state == PortState::Learning {
            return self.refuse(walk, space, no(How::PortState(conf.state), port), packet);
        }
        let to = match To::of(frame.to, bridge.mac) {
            To::Host => To::Host,
            _ => to,
        };
        match onward(&walk.learned, space, at, by, (&frame, to))? {
            Ok(onward) => self.each(walk, space, (bridge, asked), onward, frame, packet),
            Err(no) => self.refuse(walk, space, no, packet),
        }
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
        let own = settings(bridge)?;
        let frame = match vlan::comes_in(&own, bridge, frame)? {
            Ok(frame) => frame,
            Err(how) => return self.refuse(walk, space, no(how, bridge), packet),
        };
        // A bridge has no such thing for what is in a tunnel (`hw_enc_features`).
        packet.sum = packet.sum.made();
        if packet.carries.is_some() && space.settings()?.release < ASKS_ITS_PORTS {
            packet.pieces = packet.pieces.or(packet.segment);
        }
        let mut onward = Vec::new();
        let within = vlan::id(&own, &frame);
        match towards(&walk.learned, space, bridge, (frame.to, within))? {
            Some(Held::Own(at)) if at == bridge.index => {
                return self.refuse(walk, space, no(How::ToItself, bridge), packet);
            }
            Some(Held::Own(at) | Held::Port(at)) => {
                let out = space.device(at)?;
                if let Some(how) = stops((&own, out), None, &frame)? {
                    return self.refuse(walk, space, no(how, out), packet);
                }
                onward.push(Onward::By(out));
            }
            None => flood(space, (bridge, &own), None, &frame, &mut onward)?,
        }
        self.each(walk, space, (bridge, false), onward, frame, packet)
    }

    /// By each of them; more than one are copies.
    fn each(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, asked): (&'w Device, bool),
        onward: Vec<Onward<'w>>,
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        if onward.is_empty() {
            return self.refuse(walk, space, no(How::NoPort, bridge), packet);
        }
        let at = (space, Station::Bridge, bridge);
        let shared = asked.then(|| Cell::new(packet.tracked));
        self.all_of(walk, at, packet, onward, |walk, one| {
            self.on(walk, space, (bridge, shared.as_ref()), one, frame, packet)
        })
    }

    fn on(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, shared): (&'w Device, Option<&Cell<Tracked>>),
        onward: Onward<'w>,
        frame: Frame,
        mut packet: Packet,
    ) -> Going<'w> {
        let own = settings(bridge)?;
        match onward {
            Onward::Up(to, sees) => {
                if shared.is_some() {
                    packet.tracked =
                        tracked_up(&walk.learned, space, (sees == Sees::All, to), &packet)?;
                }
                let frame = vlan::goes_out(&own, bridge, frame)?;
                self.arrives(walk, space, bridge, (frame, to), packet)
            }
            Onward::By(port) => {
                let frame = vlan::goes_out(&own, port, frame)?;
                if let Some(shared) = shared.filter(|_| frame.vlan.is_none()) {
                    let at = (bridge, port);
                    if let Some(ended) = self.between_ports(walk, space, at, &mut packet, shared)? {
                        return Ok(ended);
                    }
                    if let Some(how) = cut(bridge, port, &mut packet)? {
                        return self.refuse(walk, space, no(how, port), packet);
                    }
                }
                packet.met = false;
                if std::mem::take(&mut packet.gathered) {
                    let what = "what was put together, with a tag";
                    return Err(Unknown::NotModelled(what.into()));
                }
                if is_too_big(&frame, &packet, port) {
                    return self.refuse(walk, space, no(How::TooBig(port.mtu), port), packet);
                }
                self.sends(walk, space, port, frame, packet)
            }
        }
    }
}

fn no<'w>(how: How, by: &'w Device) -> No<'w> {
    No::by_device(Station::Bridge, how, by)
}

fn settings(bridge: &Device) -> Result<Bridge, Unknown> {
    match bridge.kind {
        Kind::Bridge(own) if own.vlan_filtering && own.vlans_apart => Err(Unknown::NotModelled(
            "a bridge whose VLANs have states of their own".into(),
        )),
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

/// Its sender is behind that port from now on; why a locked one does not take it.
fn learns(
    learned: &mut Learned,
    space: &Space<'_>,
    (bridge, own): (&Device, &Bridge),
    (port, conf): (&Device, &Port),
    frame: &Frame,
) -> Result<Option<How>, Unknown> {
    let Some(from) = frame.from.map(|from| (from, vlan::id(own, frame))) else {
        return Ok(None);
    };
    let held = held(learned, space, bridge, from)?;
    let known = matches!(held, Some(Held::Port(at)) if at == port.index);
    if conf.locked && !known {
        return Ok(Some(How::Locked));
    }
    if conf.learning && own.ageing > 0 && may_move(space, bridge, from, held.as_ref())? {
        learned.learn_port(space.end(bridge), from, port.index);
    }
    Ok(None)
}

/// Where one that came in by a port goes on (`br_handle_frame_finish`). The bridge's own host is as a port: what is of
/// none of its VLANs is not for it, as long as it does not take everything (`br_pass_frame_up`).
fn onward<'w>(
    learned: &Learned,
    space: &'w Space<'w>,
    (bridge, own): (&'w Device, &Bridge),
    (port, conf): (&'w Device, &Port),
    (frame, to): (&Frame, To),
) -> Result<Result<Vec<Onward<'w>>, No<'w>>, Unknown> {
    let promiscuous = bridge.flags.promiscuous;
    let not_up = match promiscuous {
        true => None,
        false => vlan::stops(own, bridge, frame)?,
    };
    let mut onward = Vec::new();
    if promiscuous || frame.to.is_group() && not_up.is_none() {
        let sees = if promiscuous { Sees::All } else { Sees::Its };
        onward.push(Onward::Up(to, sees));
    }
    let from = Some((port, conf));
    match towards(learned, space, bridge, (frame.to, vlan::id(own, frame)))? {
        Some(Held::Own(_)) => match not_up {
            None => onward = vec![Onward::Up(to, Sees::Its)],
            Some(how) => return Ok(Err(no(how, bridge))),
        },
        Some(Held::Port(at)) => {
            let out = space.device(at)?;
            match stops((own, out), from, frame)? {
                None => onward.push(Onward::By(out)),
                Some(How::SamePort) if onward.is_empty() => {
                    let to = (frame.to, vlan::id(own, frame));
                    return Ok(Err(back(space, bridge, to, out)?));
                }
                Some(how) if onward.is_empty() => return Ok(Err(no(how, out))),
                Some(_) => {}
            }
        }
        None => flood(space, (bridge, own), from, frame, &mut onward)?,
    }
    Ok(Ok(onward))
}

/// By the entry that has its address behind the port that it came in by, where somebody made that.
fn back<'w>(
    space: &'w Space<'w>,
    bridge: &Device,
    to: (Mac, u16),
    out: &'w Device,
) -> Result<No<'w>, Unknown> {
    let made = entry(space, bridge, to)?.filter(|entry| entry.device == out.index);
    let made = made.filter(|entry| entry.is_static || entry.sticky);
    Ok(No {
        station: Station::Bridge,
        how: How::SamePort,
        by: Some(made.map_or(Subject::Device(out), Subject::Forwarding)),
    })
}

/// Nothing where everybody is to have it.
fn towards(
    learned: &Learned,
    space: &Space<'_>,
    bridge: &Device,
    to: (Mac, u16),
) -> Result<Option<Held>, Unknown> {
    match to.0.is_group() {
        true => Ok(None),
        false => held(learned, space, bridge, to),
    }
}

/// Why a port does not send it; `from` is where it came in (`should_deliver`).
fn stops(
    (own, out): (&Bridge, &Device),
    from: Option<(&Device, &Port)>,
    frame: &Frame,
) -> Result<Option<How>, Unknown> {
    let conf = port_of(out)?;
    let same = from.is_some_and(|(port, _)| port.index == out.index);
    let isolated = from.is_some_and(|(_, from)| from.isolated) && conf.isolated;
    Ok(match conf.state {
        _ if same && !conf.hairpin => Some(How::SamePort),
        PortState::Forwarding if isolated => Some(How::Isolated),
        PortState::Forwarding => vlan::stops(own, out, frame)?,
        state => Some(How::PortState(state)),
    })
}

/// `br_flood`: with multicast snooping too, as long as nobody on the link asks for members.
fn flood<'w>(
    space: &'w Space<'w>,
    (bridge, own): (&Device, &Bridge),
    from: Option<(&Device, &Port)>,
    frame: &Frame,
    onward: &mut Vec<Onward<'w>>,
) -> Result<(), Unknown> {
    let kind = match frame.to {
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
        if wanted && stops((own, out), from, frame)?.is_none() {
            onward.push(Onward::By(out));
        }
    }
    Ok(())
}

/// What its table has of an address in a VLAN.
fn held(
    learned: &Learned,
    space: &Space<'_>,
    bridge: &Device,
    mac: (Mac, u16),
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
    (mac, vlan): (Mac, u16),
) -> Result<Option<&'w FdbEntry>, Unknown> {
    let all = space.stack.fdb.whole();
    let all = all.map_err(|why| Unknown::NotRead("forwarding entries", why.clone()))?;
    let own = |entry: &&FdbEntry| {
        entry.master == Some(bridge.index) && entry.mac == mac && entry.vlan.unwrap_or(0) == vlan
    };
    Ok(all.iter().find(own))
}

/// A frame's sender is where it was seen last, unless the address is the bridge's own or sticks to its
/// port (`br_fdb_update`).
fn may_move(
    space: &Space<'_>,
    bridge: &Device,
    from: (Mac, u16),
    held: Option<&Held>,
) -> Result<bool, Unknown> {
    if let Some(Held::Own(_)) = held {
        return Ok(false);
    }
    Ok(entry(space, bridge, from)?.is_none_or(|entry| !entry.sticky))
}
