//! IP's hooks at a bridge (net/bridge/br_netfilter_hooks.c, br_netfilter_ipv6.c): where its namespace or the bridge says so,
//! what it carries is asked about as what is routed, with the bridge as the device that it comes by and leaves by.
use std::cell::Cell;

use netdiag_model::world::{
    device::{Bridge, Device, Mac},
    ruleset::Hook,
};

use super::{
    Going, Next, Walker,
    forward::{IPV4, piece},
    hook::Place,
};
use crate::{
    connection::{Connection, Tracked, Tracking},
    learned::Learned,
    packet::{Frame, Packet, To},
    prepared::{Space, Wrong},
    route::decision::{Decision, No, Way},
    way::{Does, How, Share, Station, Step, Subject, Unknown, Walk},
};

/// Where a packet goes on behind the chains before routing.
pub(super) enum Led<'w> {
    /// Where its frame goes.
    On,
    /// To this host, which routes it.
    Up,
    /// To a neighbour on this bridge.
    To(Way<'w>),
    Ended,
}

/// Whether IP's hooks are asked there about a frame. One with a tag is not IP's (`bridge-nf-filter-vlan-tagged`).
pub(super) fn asks(
    space: &Space<'_>,
    bridge: &Bridge,
    frame: &Frame,
    packet: &Packet,
) -> Result<bool, Unknown> {
    let settings = space.settings()?;
    let calls = match packet.is_ipv6() {
        true => settings.bridge_calls_ip6tables || bridge.nf_call_ip6tables,
        false => settings.bridge_calls_iptables || bridge.nf_call_iptables,
    };
    Ok(calls && frame.vlan.is_none())
}

impl<'w> Walker<'w> {
    /// What the chains before routing say of what came in by a port (`br_nf_pre_routing`), and where it leads that got
    /// another address there.
    pub(super) fn before_bridging(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        bridge: &'w Device,
        packet: &mut Packet,
    ) -> Result<Led<'w>, Unknown> {
        let destination = packet.destination;
        packet.iif = Some(bridge.index);
        (packet.gathered, packet.met) = (false, true);
        let place = Place::entering(Hook::Prerouting, bridge);
        if self.at_hook(walk, space, &place, packet)?.is_some() {
            return Ok(Led::Ended);
        }
        if packet.destination == destination || self.prepared.is(Wrong::BridgedNotRouted) {
            return Ok(Led::On);
        }
        space.knows_ports(packet)?;
        let decision = match packet.is_ipv6() {
            true => space.route_in6(packet, bridge)?,
            false => space.route_in(packet, bridge)?,
        };
        match decision {
            Decision::No(no) => match is_lost(&no, packet.is_ipv6())? {
                true => self.refuse(walk, space, no, *packet).map(|_| Led::Ended),
                false => Ok(Led::Up),
            },
            Decision::Local(_) | Decision::Looped { .. } => Ok(Led::Up),
            Decision::Onward { hops, .. } => {
                let here = |way: &&Way<'w>| way.device.index == bridge.index;
                match (hops.iter().filter(here).count(), hops.as_slice()) {
                    (0, _) => {
                        packet.turned = hops.first().map(|way| way.device.index);
                        Ok(Led::Up)
                    }
                    (_, [way]) => Ok(Led::To(*way)),
                    _ => Err(Unknown::NotModelled(
                        "one of several next hops at a bridge".into(),
                    )),
                }
            }
        }
    }

    /// To a neighbour's address, by `then`, with the sender that its frame had (`br_nf_pre_routing_finish_bridge`). What
    /// waited for an answer was sent by the bridge itself first, and so is what goes to a neighbour whose header is not kept
    /// yet (`neigh->hh`), which nobody can see. Whose frame was not for this host hears of no error.
    pub(super) fn to_bridged_neighbour(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, way): (&'w Device, &Way<'w>),
        (packet, to): (Packet, To),
        then: &dyn Fn(&mut Walk<'w>, Mac) -> Going<'w>,
    ) -> Going<'w> {
        if bridge.flags.no_arp {
            return Err(Unknown::NotModelled("a bridge without ARP".into()));
        }
        let step = |does| Step {
            netns: space.netns,
            station: Station::Bridge,
            by: Some(Subject::Device(bridge)),
            does,
            packet,
        };
        let by_itself = |walk: &mut Walk<'w>, mac| {
            let sends = Does::Sends {
                device: bridge.index,
                to: Some(mac),
            };
            self.push(walk, step(sends))?;
            then(walk, mac)
        };
        let packet = (packet, to == To::Host);
        self.by_address(walk, space, way, packet, &|walk, mac, asked| {
            if asked {
                return by_itself(walk, mac);
            }
            let mut branches = Vec::new();
            for kept in [true, false] {
                let mut branch = walk.branch();
                let next = match kept {
                    true => then(&mut branch, mac),
                    false => by_itself(&mut branch, mac),
                };
                let gone = self.goes_on(&mut branch, next);
                self.ends_alone(walk, &mut branch, gone)?;
                branches.push((Share::of(2), branch));
            }
            self.ends(walk, step(Does::Chooses(branches)))
        })
    }

    /// What the chains say of what leaves by a port (`br_nf_forward_ip`, `br_nf_post_routing`); copies are of one
    /// connection, whatever the first of them made of it. Nothing where it goes on.
    pub(super) fn between_ports(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (bridge, port): (&'w Device, &'w Device),
        packet: &mut Packet,
        shared: &Cell<Tracked>,
    ) -> Result<Option<Next<'w>>, Unknown> {
        packet.tracked = shared.get();
        // It is at that device by then.
        packet.iif = Some(port.index);
        let forward = Place {
            input: Some(bridge),
            ..Place::leaving(Hook::Forward, bridge)
        };
        let postrouting = Place::leaving(Hook::Postrouting, bridge);
        for place in [forward, postrouting] {
            let ended = self.at_hook(walk, space, &place, packet);
            shared.set(packet.tracked);
            if let Some(ended) = ended? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }
}

/// As what it goes on to this host (`br_nf_local_in`): what came because the bridge takes everything is of no connection
/// any more. What is not for this host has its connection kept there, where nothing finds it answers of its own.
pub(super) fn tracked_up(
    learned: &Learned,
    space: &Space<'_>,
    (takes_all, to): (bool, To),
    packet: &Packet,
) -> Result<Tracked, Unknown> {
    match packet.tracked {
        _ if takes_all => Ok(Tracked::No),
        Tracked::Is {
            state: Tracking::New,
            of,
            ..
        } if to == To::OtherHost => {
            let same = |other: &Connection| {
                (other.answers == of.answers) && (other.original != of.original)
            };
            let mut known = learned.connections(space.netns);
            match known.any(|(other, _)| same(&other)) {
                true => Err(Unknown::NotModelled(
                    "two connections with one answer".into(),
                )),
                false => Ok(packet.tracked),
            }
        }
        tracked => Ok(tracked),
    }
}

/// As which frame it goes to this host.
pub(super) fn up(bridge: &Device, frame: Frame) -> Result<(Frame, To), Unknown> {
    let own = bridge.mac;
    let to = own.ok_or_else(|| Unknown::NotModelled("a bridge without an address".into()))?;
    Ok((Frame { to, ..frame }, To::Host))
}

/// Whether nobody hears of it: only what has no route at all goes up to IP, which tells its sender.
fn is_lost(no: &No<'_>, ipv6: bool) -> Result<bool, Unknown> {
    let martian = matches!(
        no.how,
        How::MartianSource | How::MartianDestination | How::ReversePath | How::NoIp
    );
    match (ipv6, no.station) {
        (true, Station::Forward) => Err(Unknown::NotModelled(
            "a bridge's packet where nothing is led on".into(),
        )),
        (true, _) => Ok(true),
        (false, _) => Ok(martian),
    }
}

/// Why it has no room by a port, if it has not. What was put together is cut again as it came, what is larger than the
/// port to what the bridge takes, and over IPv6 it is lost; nobody is told (`br_nf_dev_queue_xmit`, `br_nf_ip_fragment`,
/// `br_ip6_fragment`).
pub(super) fn cut(
    bridge: &Device,
    port: &Device,
    packet: &mut Packet,
) -> Result<Option<How>, Unknown> {
    if std::mem::take(&mut packet.gathered) {
        let most = if packet.is_ipv6() {
            port.mtu
        } else {
            bridge.mtu
        };
        let lost = packet.pieces.is_some_and(|pieces| pieces > most);
        return Ok(lost.then_some(How::TooBig(most)));
    }
    let whole = packet.segment.is_none() || packet.pieces.is_some();
    if !whole || packet.largest() <= port.mtu {
        return Ok(None);
    }
    if packet.pieces.is_some() {
        return Err(Unknown::NotModelled("a fragment that is cut again".into()));
    }
    if packet.is_ipv6() || packet.df {
        return Ok(Some(How::TooBig(bridge.mtu)));
    }
    if packet.size > bridge.mtu {
        packet.pieces = Some(piece(IPV4, bridge.mtu));
    }
    Ok(None)
}
