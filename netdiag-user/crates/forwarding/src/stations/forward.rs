//! Forwarding (net/ipv4/ip_forward.c): time to live, size, and on to the next hop.
use netdiag_model::world::{
    address::Scope,
    device::Device,
    ipsec::Direction,
    route::{Metrics, Route},
    ruleset::Hook,
};

use super::{
    Going, Next, Walker,
    hook::{Passed, Place, Turned},
};
use crate::{
    learned::Learned,
    packet::{Decided, Packet},
    prepared::{Space, Wrong},
    route::decision::{No, Way},
    way::{Does, Flow, How, Share, Station, Step, Subject, Unknown, Walk},
};

pub(super) const IPV4: u32 = 20;
/// RFC 8200, 5.
const LEAST6: u32 = 1280;

/// A route, where there is one, and the next hops that it can take.
pub(super) type Onward<'a, 'w> = (Option<&'w Route>, &'a [Way<'w>]);

/// Where it leaves, and by which device it came in if it is led on.
type Coming<'w> = (&'w Space<'w>, Option<&'w Device>);

/// Why it does not fit, or the fragments that it goes in.
type Sized<'w> = (Option<No<'w>>, Option<u32>);

impl<'w> Walker<'w> {
    pub(super) fn forwarded(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        onward: Onward<'_, 'w>,
        mut packet: Packet,
    ) -> Going<'w> {
        space.without_ipsec(&packet, Direction::Forward)?;
        if packet.ttl <= 1 {
            let no = No {
                station: Station::Ttl,
                how: How::TtlExceeded,
                by: None,
            };
            return self.refuses(walk, space, no, packet);
        }
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: Station::Forward,
                by: onward.0.map(Subject::Route),
                does: Does::Passes,
                packet,
            },
        )?;
        packet.ttl -= 1;
        self.leaves(walk, space, onward, packet, true)
    }

    /// By one of its next hops.
    pub(super) fn leaves(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (route, ways): Onward<'_, 'w>,
        packet: Packet,
        forwarded: bool,
    ) -> Going<'w> {
        self.choose(walk, space, (route, ways), packet, |walk, way| {
            self.by(walk, space, route, way, packet, forwarded)
        })
    }

    /// Goes on by each of them: it takes one.
    pub(super) fn choose(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (route, ways): Onward<'_, 'w>,
        packet: Packet,
        by: impl Fn(&mut Walk<'w>, &Way<'w>) -> Going<'w>,
    ) -> Going<'w> {
        let many = match ways {
            [] => return Err(Unknown::NotModelled("a route that leads nowhere".into())),
            [way] => return by(walk, way),
            many => many,
        };
        let flow = route.zip(flow(space, &packet)?);
        let taken = flow.and_then(|(route, flow)| walk.taken(space.netns, route, flow));
        if let Some(way) = taken.and_then(|at| many.get(at)) {
            return by(walk, way);
        }
        let whole: u32 = many.iter().map(weight).sum();
        let mut branches = Vec::new();
        for (at, way) in many.iter().enumerate() {
            let mut branch = walk.branch();
            if let Some((route, flow)) = flow {
                branch.take(space.netns, route, (flow, at));
            }
            let next = by(&mut branch, way);
            let gone = self.goes_on(&mut branch, next);
            self.ends_alone(walk, &mut branch, gone)?;
            branches.push((Share((weight(way) << 16) / whole.max(1)), branch));
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station: Station::Route,
                by: route.map(Subject::Route),
                does: Does::Chooses(branches),
                packet,
            },
        )
    }

    pub(super) fn by(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        way: &Way<'w>,
        mut packet: Packet,
        forwarded: bool,
    ) -> Going<'w> {
        if way.martian {
            let no = No::by_device(Station::Route, How::MartianSource, way.device);
            return self.refuse(walk, space, no, packet);
        }
        packet.source = way.source.unwrap_or(packet.source);
        packet.decided = match (forwarded, packet.decided) {
            (true, _) => Decided::Forwarded,
            (false, Decided::Shared) => Decided::Shared,
            (false, _) => Decided::Sent,
        };
        space.without_ipsec(&packet, Direction::Out)?;
        packet.df |= self.prepared.is(Wrong::NeverCut);
        if forwarded && self.prepared.is(Wrong::SourceChosenAnew) && !packet.is_ipv6() {
            let scope = route.map_or(Scope::LINK, |route| route.scope);
            packet.source = space.select_source(way.device, way.gateway, scope)?;
        }
        let learns = self.prepared.is(Wrong::LearnedWhenLedOn) && !packet.is_ipv6();
        let counts = forwarded && !learns;
        let whole = packet.pieces;
        let no = too_big(&walk.learned, space, (route, way), &mut packet, counts)?;
        let carried = packet.carries.and_then(|at| walk.carried.get(at));
        if no.is_some() && carried.is_some_and(|it| it.packet.is_cut()) {
            let what = "pieces of a packet of which a tunnel takes the last alone";
            return Err(Unknown::NotModelled(what.into()));
        }
        if let Some(no) = no
            && is_before_hooks(space, (route, way), &packet, forwarded)?
        {
            return self.refuses(walk, space, no, packet);
        }
        let size = (no, std::mem::replace(&mut packet.pieces, whole));
        let input = match packet.iif.filter(|_| forwarded) {
            Some(index) => Some(space.device(index)?),
            None => None,
        };
        let hook = match forwarded {
            true => Hook::Forward,
            false => Hook::Output,
        };
        let place = Place {
            input,
            ..Place::leaving(hook, way.device)
        };
        self.outward(walk, (space, input), (route, way), (&place, packet), size)
    }

    /// What IPVS leads on, as if this namespace sent it (`ip_vs_nat_send_or_cont`): it came in by that device, if it came.
    pub(super) fn led(
        &self,
        walk: &mut Walk<'w>,
        (space, input): Coming<'w>,
        (route, ways): Turned<'w>,
        mut packet: Packet,
    ) -> Going<'w> {
        packet.decided = Decided::Sent;
        self.choose(walk, space, (route, &ways), packet, |walk, way| {
            let size = sized(&walk.learned, space, (route, way), packet)?;
            let place = Place::leaving(Hook::Output, way.device);
            self.outward(walk, (space, input), (route, way), (&place, packet), size)
        })
    }

    /// By the hook on its way out, and on.
    fn outward(
        &self,
        walk: &mut Walk<'w>,
        (space, input): Coming<'w>,
        (route, way): (Option<&'w Route>, &Way<'w>),
        (place, mut packet): (&Place<'w>, Packet),
        size: Sized<'w>,
    ) -> Going<'w> {
        match self.passes(walk, space, place, &mut packet)? {
            Passed::On => self.leaves_by(walk, (space, input), (route, way), packet, size),
            Passed::Ended => Ok(Next::Ended),
            Passed::Led(onward) => self.led(walk, (space, input), onward, packet),
            Passed::Turned((route, ways)) => {
                packet.decided = Decided::Turned;
                space.knows_ports(&packet)?;
                self.choose(walk, space, (route, &ways), packet, |walk, way| {
                    let size = sized(&walk.learned, space, (route, way), packet)?;
                    self.leaves_by(walk, (space, input), (route, way), packet, size)
                })
            }
        }
    }

    /// What is left of the way out, with how its size was found.
    fn leaves_by(
        &self,
        walk: &mut Walk<'w>,
        (space, input): Coming<'w>,
        (route, way): (Option<&'w Route>, &Way<'w>),
        mut packet: Packet,
        (no, pieces): Sized<'w>,
    ) -> Going<'w> {
        let forwarded = packet.decided == Decided::Forwarded;
        let place = Place {
            input,
            gateway: way.gateway,
            ..Place::leaving(Hook::Postrouting, way.device)
        };
        if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
            return Ok(ended);
        }
        // What was translated is asked for again (`nf_xfrm_me_harder`).
        space.without_ipsec(&packet, Direction::Out)?;
        if let Some(no) = no {
            return self.refuses(walk, space, no, packet);
        }
        packet.pieces = pieces;
        match way.device.flags.loopback {
            true => self.by_loopback(walk, space, (route, way), packet, forwarded),
            false => self.to_neighbour(walk, space, way, packet),
        }
    }

    /// What a route sends out by loopback comes in there with the decision that was made: what is forwarded
    /// is forwarded again while it lives, what this namespace sends is its own (`__mkroute_output`).
    fn by_loopback(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (route, way): (Option<&'w Route>, &Way<'w>),
        mut packet: Packet,
        forwarded: bool,
    ) -> Going<'w> {
        let step = |station, does| Step {
            netns: space.netns,
            station,
            by: Some(route.map_or(Subject::Device(way.device), Subject::Route)),
            does,
            packet,
        };
        let device = way.device.index;
        if !way.device.flags.up {
            let down = Does::Refuses(How::DeviceDown);
            return self.ends(walk, step(Station::Queue, down));
        }
        let out = Does::Sends { device, to: None };
        self.push(walk, step(Station::Link, out))?;
        self.push(walk, step(Station::Link, Does::Comes { device }))?;
        walk.waited();
        let destination = packet.destination;
        packet.turned = Some(device);
        let place = Place::entering(Hook::Prerouting, way.device);
        if let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
            return Ok(ended);
        }
        packet.iif = Some(device);
        if packet.destination != destination {
            return self.routed(walk, space, way.device, packet);
        }
        if !forwarded {
            return self.delivered(walk, space, route, packet);
        }
        Ok(Next::Loops {
            space,
            route,
            way: *way,
            packet,
        })
    }
}

/// By what the kernel chooses among several next hops (`fib_multipath_hash`, `rt6_multipath_hash`): what comes round in a
/// circle goes the same way again. Of a tunnel's packet nobody knows the port, and what a neighbour's state turns may
/// turn again.
fn flow(space: &Space<'_>, packet: &Packet) -> Result<Option<Flow>, Unknown> {
    let settings = space.settings()?;
    let policy = match packet.is_ipv6() {
        true => settings.multipath_policy6,
        false => settings.multipath_policy4,
    };
    let by_neighbour = settings.multipath_use_neigh && !packet.is_ipv6();
    let known = policy == 0 || (packet.carries.is_none() && packet.chosen.is_none());
    // Who sends over IPv6 chooses before the packet has its flow label (`rt6_multipath_hash`).
    let labelled = packet.is_ipv6() && policy == 0 && packet.iif.is_some();
    Ok((known && !by_neighbour).then_some((
        (packet.source, packet.destination),
        packet.protocol,
        (packet.sport, packet.dport),
        labelled,
    )))
}

fn weight(way: &Way<'_>) -> u32 {
    way.hop.map_or(1, |hop| u32::from(hop.weight))
}

/// Bytes of the largest fragment: what it carries is a multiple of eight (`ip_do_fragment`, `ip6_fragment`).
pub(super) fn piece(headers: u32, mtu: u32) -> u32 {
    headers + (mtu.saturating_sub(headers) & !7)
}

/// Whether what is too big is refused before the hooks on the way out are asked. A tunnel's packet has no socket that
/// would be told at once; over IPv6 what is led on is held against the link alone (`ip6_dst_mtu_maybe_forward`), against
/// its route behind them (`ip6_fragment`).
fn is_before_hooks(
    space: &Space<'_>,
    (route, way): (Option<&Route>, &Way<'_>),
    packet: &Packet,
    forwarded: bool,
) -> Result<bool, Unknown> {
    if !forwarded || !packet.is_ipv6() {
        return Ok(forwarded || packet.carries.is_none());
    }
    let link = link6(space, way)?.max(LEAST6);
    let locked = route.is_some_and(|route| route.metrics.mtu_locked);
    Ok(locked || packet.largest() > link)
}

/// What a link takes of IPv6 at once.
fn link6(space: &Space<'_>, way: &Way<'_>) -> Result<u32, Unknown> {
    let conf = space.conf6(way.device)?;
    Ok(conf.map_or(LEAST6, |conf| conf.device.mtu))
}

/// How this namespace's own packet fits a way.
fn sized<'w>(
    learned: &Learned,
    space: &Space<'w>,
    way: (Option<&'w Route>, &Way<'w>),
    mut packet: Packet,
) -> Result<Sized<'w>, Unknown> {
    let no = too_big(learned, space, way, &mut packet, false)?;
    Ok((no, packet.pieces))
}

/// Why it may not leave there; what may be cut into fragments is.
pub(super) fn too_big<'w>(
    learned: &Learned,
    space: &Space<'w>,
    (route, way): (Option<&'w Route>, &Way<'w>),
    packet: &mut Packet,
    forwarded: bool,
) -> Result<Option<No<'w>>, Unknown> {
    let mtu = mtu(learned, space, (route, way), packet, forwarded)?;
    if packet.largest() <= mtu {
        return Ok(None);
    }
    if !packet.df && !packet.is_ipv6() {
        packet.pieces = Some(piece(IPV4, mtu));
        return Ok(None);
    }
    Ok(Some(No {
        station: Station::Size,
        how: How::TooBig(mtu),
        by: Some(route.map_or(Subject::Device(way.device), Subject::Route)),
    }))
}

/// What may leave there at once (`ip_dst_mtu_maybe_forward`): what was learned of the path counts for
/// forwarded packets only where a setting or a lock says so, the route's own metric always.
pub(super) fn mtu(
    known: &Learned,
    space: &Space<'_>,
    (route, way): (Option<&Route>, &Way<'_>),
    packet: &Packet,
    forwarded: bool,
) -> Result<u32, Unknown> {
    if packet.is_ipv6() {
        return mtu6(known, space, (route, way), packet, forwarded);
    }
    /// What a locked route without an MTU takes through a gateway (RFC 791).
    const LOCKED_GATEWAY: u32 = 576;
    let metrics = route.map_or_else(Metrics::default, |route| route.metrics);
    let counts = !forwarded || space.settings()?.forward_use_pmtu || metrics.mtu_locked;
    if counts && let Some(mtu) = learned(known, space, (route, way), packet)? {
        return Ok(mtu);
    }
    if let Some(mtu) = metrics.mtu {
        return Ok(mtu);
    }
    Ok(match metrics.mtu_locked && way.gateway.is_some() {
        true => way.device.mtu.min(LOCKED_GATEWAY),
        false => way.device.mtu,
    })
}

/// The same of IPv6: what was learned, the route's own metric, and else what the device has for IPv6 alone.
fn mtu6(
    known: &Learned,
    space: &Space<'_>,
    (route, way): (Option<&Route>, &Way<'_>),
    packet: &Packet,
    forwarded: bool,
) -> Result<u32, Unknown> {
    let metrics = route.map_or_else(Metrics::default, |route| route.metrics);
    let own = link6(space, way)?;
    let learned = learned(known, space, (route, way), packet)?;
    let mtu = learned.or(metrics.mtu).unwrap_or(own);
    Ok(if forwarded { mtu.max(LEAST6) } else { mtu })
}

fn learned(
    known: &Learned,
    space: &Space<'_>,
    (route, way): (Option<&Route>, &Way<'_>),
    packet: &Packet,
) -> Result<Option<u32>, Unknown> {
    let table = route.map(|route| route.table);
    // Nothing is learned of a route whose MTU is locked.
    let locked = route.is_some_and(|route| route.metrics.mtu_locked);
    let told = known.size(space.end(way.device), packet.destination, table);
    if let Some(mtu) = told.filter(|_| !locked) {
        return Ok(Some(mtu));
    }
    let learned = space.stack.exceptions.whole();
    let learned = learned.map_err(|why| Unknown::NotRead("learned routes", why.clone()))?;
    let of = |e: &&netdiag_model::world::route::Exception| {
        let by = (e.to, e.device) == (packet.destination, way.device.index);
        by && (e.table.is_none() || e.table == table)
    };
    Ok(learned.iter().find(of).and_then(|e| e.mtu))
}
